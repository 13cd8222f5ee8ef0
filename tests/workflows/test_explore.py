import json
import shutil

import numpy as np
import pandas as pd
import pytest

from eosin.core import ConfigError, ManifestError, RunError
from eosin.exploring.copies import CopyCount
from eosin.settings import ExploreSettings, ImportSettings
from eosin.tiles import read_manifest, write_manifest
from eosin.tiles.folder import open_tile_folder
from eosin.workflows import explore as module
from eosin.workflows.explore import explore_tiles
from eosin.workflows.import_patches import import_patches


def read_all(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def explored(odd_patches, tmp_path_factory):
    before = read_all(odd_patches)
    out = tmp_path_factory.mktemp("explored")
    result = explore_tiles(odd_patches, out, ExploreSettings())
    assert read_all(odd_patches) == before
    return result


def test_what_is_odd_and_what_is_there_twice_is_found(explored):
    assert (explored.n_tiles, explored.n_measured) == (15, 15)
    kinds = ("blank", "black", "saturated", "blurred")
    assert explored.n_outliers == dict.fromkeys(kinds, 1)
    # 0 and its copy; 1 and its conflict. The turned one looks like 2, and blank and
    # black are both flat.
    assert explored.copies == (
        CopyCount("exact", 2, 4, 2, 2, 0),
        CopyCount("near", 2, 4, 2, 0, 0),
    )
    assert explored.failures == ()
    odd = pd.read_csv(explored.folder / "outliers.csv").set_index("tile_id")
    for kind in kinds:
        own = odd.index[odd[kind] == 1]
        assert [name.rpartition("/")[2] for name in own] == [kind]
    copies = pd.read_csv(explored.folder / "duplicates.csv")
    assert copies.loc[copies["is_conflicting"], "tile_id"].tolist() == [
        "normal/1",
        "tumor/conflict",
    ]
    measures = pd.read_csv(explored.folder / "measures.csv")
    assert len(measures) == 15
    assert measures["eosin"].notna().all()


def test_the_page_and_its_figures_are_written(explored):
    page = (explored.folder / "report.html").read_text()
    assert "15 patches in 11 groups of look-alikes" in page
    assert "Identical, with different labels" in page
    names = {path.name for path in (explored.folder / "figures").iterdir()}
    slides = pd.read_csv(explored.folder / "figures" / "slides.csv")
    assert slides["tiles"].is_monotonic_decreasing
    assert slides[["normal", "tumor"]].sum(axis=1).equals(slides["tiles"])
    assert slides["tiles"].sum() == 15
    assert {"colour-map.csv", "samples-tumor.png"} <= names
    assert {"outliers-blurred.png", "duplicates-exact-conflicting.csv"} <= names


def test_a_second_call_finds_the_work_done(explored, odd_patches, monkeypatch):
    before = read_all(explored.folder)
    monkeypatch.setattr(module, "scan_tiles", None)
    assert explore_tiles(odd_patches, explored.folder, ExploreSettings()) == explored
    assert read_all(explored.folder) == before
    with pytest.raises(RunError, match="shown was 24, is 5"):
        explore_tiles(odd_patches, explored.folder, ExploreSettings(shown=5))


@pytest.fixture
def without_figures(monkeypatch):
    """Draw nothing; what is written has been looked at above."""
    monkeypatch.setattr(module, "write_page", lambda *_: None)


@pytest.mark.usefixtures("without_figures")
def test_a_sample_is_measured_and_copies_are_sought_in_all(odd_patches, tmp_path):
    chosen = []
    for i, seed in enumerate((3, 3, 4)):
        config = ExploreSettings(sample=6, seed=seed, near_duplicates=False)
        result = explore_tiles(odd_patches, tmp_path / str(i), config)
        chosen.append(pd.read_csv(tmp_path / str(i) / "measures.csv")["tile_id"])
        assert (result.n_tiles, result.n_measured) == (15, 6)
        assert [count.n_tiles for count in result.copies] == [4]
        assert any(
            "of 6 of 15 tiles, drawn at random with seed" in c for c in result.cautions
        )
    assert chosen[0].equals(chosen[1])
    assert not chosen[0].equals(chosen[2])


def test_slides_are_explored_as_patches_are(tile_folder, tmp_path):
    # The table has neither hashes nor groups, so all tiles are read for copies.
    result = explore_tiles(tile_folder, tmp_path / "out", ExploreSettings(sample=40))
    n = len(open_tile_folder(tile_folder).tiles)
    assert (result.n_tiles, result.n_measured) == (n, 40)
    assert result.copies[0] == CopyCount("exact", 0, 0, 0, 0, 0)
    assert "slides and 10 patients" in result.headline[0]
    assert "By slide" in (tmp_path / "out" / "report.html").read_text()
    slides = pd.read_csv(tmp_path / "out" / "figures" / "slides.csv")
    classes = slides[["normal", "tumor", "unlabelled"]].sum(axis=1)
    assert classes.equals(slides["tiles"])


def test_isolated_tiles_are_shown_where_there_are_features(odd_patches, tmp_path):
    features = np.random.default_rng(0).normal(size=(15, 4))
    features[7] += 50
    np.save(tmp_path / "f.npy", features)
    config = ExploreSettings(features=str(tmp_path / "f.npy"))
    explore_tiles(odd_patches, tmp_path / "out", config)
    names = open_tile_folder(odd_patches).tiles["tile_id"]
    table = pd.read_csv(tmp_path / "out" / "figures" / "outliers-isolated.csv")
    assert table["tile_id"][0] == names[7]
    measures = pd.read_csv(tmp_path / "out" / "measures.csv")
    assert measures["isolation"].idxmax() == 7
    # Other features are another exploration.
    np.save(tmp_path / "f.npy", features + 1)
    with pytest.raises(RunError, match="input features changed"):
        explore_tiles(odd_patches, tmp_path / "out", config)


@pytest.mark.usefixtures("without_figures")
def test_tiles_that_cannot_be_read_are_named(odd_patches, tmp_path):
    shutil.copytree(odd_patches.parent / "set", tmp_path / "set")
    layout = ImportSettings(layout="folder")
    import_patches(tmp_path / "set", tmp_path / "tiles", layout)
    (tmp_path / "set" / "normal" / "3.png").unlink()
    result = explore_tiles(tmp_path / "tiles", tmp_path / "out", ExploreSettings())
    assert [f.slide_id for f in result.failures] == ["normal/3"]
    assert result.n_measured == 14
    assert any("1 tiles cannot be read" in c for c in result.cautions)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "incomplete"
    for path in (tmp_path / "set").rglob("*.png"):
        path.unlink()
    with pytest.raises(ManifestError, match="not one of 15 tiles can be read"):
        explore_tiles(tmp_path / "tiles", tmp_path / "other", ExploreSettings())


def test_an_empty_table_and_the_tiles_own_folder_are_refused(odd_patches, tmp_path):
    before = read_all(odd_patches)
    with pytest.raises(ConfigError, match="is the tile folder itself"):
        explore_tiles(odd_patches, odd_patches, ExploreSettings(), overwrite=True)
    assert read_all(odd_patches) == before
    tiles, info = read_manifest(odd_patches / "tiles.parquet")
    write_manifest(tmp_path / "tiles" / "tiles.parquet", tiles.iloc[:0], info)
    shutil.copy(odd_patches / "slides.csv", tmp_path / "tiles")
    with pytest.raises(ManifestError, match="the tile table is empty"):
        explore_tiles(tmp_path / "tiles", tmp_path / "out", ExploreSettings())
