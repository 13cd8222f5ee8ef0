from dataclasses import replace

import pandas as pd
import pytest

from eosin.core import ManifestError, ModelError, read_json, write_json
from eosin.inference import read_card
from eosin.workflows.run_checks import (
    open_training_folder,
    require_same_tiles,
    require_unchanged,
    require_unseen,
)
from eosin.workflows.tile_folder import open_tile_folder


@pytest.fixture
def folder(tile_folder):
    return open_tile_folder(tile_folder)


@pytest.fixture
def card(run_folder):
    return read_card(run_folder)


def test_the_training_tiles_are_found_until_they_are_gone(run_folder, folder, tmp_path):
    assert open_training_folder(run_folder).path == folder.path
    run = read_json(run_folder / "run.json")
    run["notes"]["tiles"] = str(tmp_path / "gone")
    write_json(tmp_path / "run.json", run)
    assert open_training_folder(tmp_path) is None


def test_tiles_cut_anew_are_told(run_folder, card, folder):
    require_unchanged(run_folder, card, folder)
    other = replace(card, training_data=card.training_data | {"tiles_sha256": "0"})
    with pytest.raises(ManifestError, match="no longer those that"):
        require_unchanged(run_folder, other, folder)


def test_tiles_cut_otherwise_are_refused_with_every_difference(card, folder):
    require_same_tiles(card, folder)
    other = replace(
        card, tile_px=96, context=2.0, mpp=0.5, class_names=("normal", "lesion")
    )
    with pytest.raises(ModelError) as told:
        require_same_tiles(other, folder)
    for part in (
        "tile_px 96, the tiles have 64",
        "context 2, the tiles have 1",
        "mpp 0.5, the tiles have 1",
        "classes normal, lesion, the tiles have normal, tumor",
    ):
        assert part in str(told.value)


def test_what_to_do_is_said_by_whoever_knows(card, folder):
    other = replace(card, tile_px=96)
    with pytest.raises(ModelError, match=r"tile again as the model needs it$"):
        require_same_tiles(other, folder)
    with pytest.raises(ModelError, match=r"have 64; import again$"):
        require_same_tiles(other, folder, advice="import again")


def test_a_scanner_s_mpp_may_be_a_tenth_off(card, folder):
    require_same_tiles(replace(card, mpp=1.09), folder)
    require_same_tiles(replace(card, mpp=None), folder)
    with pytest.raises(ModelError, match=r"mpp 1\.12"):
        require_same_tiles(replace(card, mpp=1.12), folder)


def test_classes_may_differ_where_only_features_are_wanted(card, folder):
    other = replace(card, class_names=("a", "b"))
    require_same_tiles(other, folder, compares_classes=False)


@pytest.mark.parametrize("column", ["patient_id", "slide_id"])
def test_an_external_cohort_shares_nobody_with_training(folder, column):
    strangers = pd.DataFrame({"patient_id": ["x"], "slide_id": ["y"]})
    require_unseen(strangers, folder)
    known = str(folder.slides[column].iloc[0])
    with pytest.raises(ManifestError, match=rf"1 {column}.*\({known}\)"):
        require_unseen(strangers.assign(**{column: [known]}), folder)
