"""Made slides that many tests share, and the real ones where there are any."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from eosin.slides import Phantom, make_phantom

# A busy machine is no fault of the code; where time is the claim, a test says so.
settings.register_profile("eosin", deadline=None)
settings.load_profile("eosin")

_DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real slides; tests that need it are skipped without."""
    folder = Path(os.environ.get("EOSIN_DATA", _DEFAULT_DATA))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; name the folder by EOSIN_DATA")
    return folder


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    return make_phantom(seed=1, size_px=(768, 640))


@pytest.fixture(scope="session")
def phantom_path(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "slide with ä.tif"
    phantom.write(path)
    return path
