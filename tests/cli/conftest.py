"""A small made study, for commands that need one."""

from pathlib import Path

import pytest

from eosin.workflows.demo import PhantomCohort, make_phantom_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> PhantomCohort:
    folder = tmp_path_factory.mktemp("cohort")
    return make_phantom_cohort(folder, n_patients=10, n_new=2, size_px=(1024, 896))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("commands")
