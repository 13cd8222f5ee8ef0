import json
import shutil
from typing import get_args

import pandas as pd
import pytest

from eosin.core import ConfigError, ManifestError, RunError
from eosin.settings import CleanSettings, ExploreSettings, ImportSettings, TileTraining
from eosin.settings.looking import CleaningRule
from eosin.tiles import read_manifest, write_manifest
from eosin.tiles.folder import open_tile_folder, read_class_spelling, read_tile_settings
from eosin.workflows import clean as module
from eosin.workflows.clean import clean_tiles
from eosin.workflows.explore import explore_tiles
from eosin.workflows.import_patches import import_patches
from eosin.workflows.train import train


def read_all(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def cleaned(odd_patches, tmp_path_factory):
    before = read_all(odd_patches)
    result = clean_tiles(
        odd_patches, tmp_path_factory.mktemp("cleaned"), CleanSettings()
    )
    assert read_all(odd_patches) == before
    return result


def test_what_the_rules_name_is_gone_and_all_else_is_there(cleaned, odd_patches):
    assert (cleaned.n_before, cleaned.n_after) == (15, 12)
    assert cleaned.n_by_rule == {"blank": 1, "unreadable": 0, "conflicting": 2}
    assert cleaned.label_counts == {"normal": 6, "tumor": 6}
    before, after = open_tile_folder(odd_patches), open_tile_folder(cleaned.folder)
    gone = {"normal/blank", "normal/1", "tumor/conflict"}
    is_left = ~before.tiles["tile_id"].isin(gone)
    expected = before.tiles[is_left].reset_index(drop=True)
    pd.testing.assert_frame_equal(after.tiles, expected)
    with before.open_reader() as old, after.open_reader() as new:
        rows = is_left.to_numpy().nonzero()[0]
        assert (new.read(expected.index.to_numpy()) == old.read(rows)).all()
    assert after.slides["n_tiles"].sum() == 12
    assert set(after.slides["slide_id"]) == set(after.tiles["slide_id"])


def test_the_spelling_of_classes_is_handed_on(odd_patches, tmp_path):
    shutil.copytree(odd_patches, tmp_path / "tiles")
    record = json.loads((tmp_path / "tiles" / "run.json").read_text())
    record["notes"]["class_spelling"] = {"tumor": "Tumour"}
    (tmp_path / "tiles" / "run.json").write_text(json.dumps(record))
    clean_tiles(tmp_path / "tiles", tmp_path / "clean", CleanSettings())
    assert read_class_spelling(tmp_path / "clean") == {"tumor": "Tumour"}


def test_every_dropped_tile_is_listed_with_its_reason(cleaned):
    log = pd.read_csv(cleaned.folder / "dropped.csv").set_index("tile_id")
    assert set(log.index) == {"normal/blank", "normal/1", "tumor/conflict"}
    row = log.loc["normal/1"]
    assert (row["rules"], row["class_name"]) == ("conflicting", "normal")
    assert row["reason"] == "copy of tumor/conflict, which is tumor"
    assert row["source"] == "normal/1.png"
    blank = log.loc["normal/blank", "reason"]
    assert blank == "white on 100.0%, contrast 0.0 grey levels"


def test_what_is_no_longer_true_is_no_longer_said(cleaned, odd_patches):
    before = read_manifest(odd_patches / "tiles.parquet")[1]
    after = read_manifest(cleaned.folder / "tiles.parquet")[1]
    assert any("copy with another label" in c for c in before.cautions)
    assert not any("copy with another label" in c for c in after.cautions)
    assert any(c.startswith("That no patient is on two") for c in after.cautions)
    assert after.cautions[-1].startswith(
        "3 of 15 tiles were dropped by rules (1 blank, 2 conflicting)"
    )
    # Who asks how the tiles came about finds it here as well.
    settings = read_tile_settings(cleaned.folder)
    assert settings["layout"] == "folder"
    assert settings["rules"] == ["blank", "unreadable", "conflicting"]
    assert settings["tiles"] == str(odd_patches.resolve())


def test_a_second_call_finds_the_work_done(cleaned, odd_patches, monkeypatch):
    before = read_all(cleaned.folder)
    monkeypatch.setattr(module, "scan_tiles", None)
    assert clean_tiles(odd_patches, cleaned.folder, CleanSettings()) == cleaned
    assert read_all(cleaned.folder) == before
    with pytest.raises(RunError, match=r"rules was .*, is .*'black'"):
        clean_tiles(odd_patches, cleaned.folder, CleanSettings(rules=("black",)))
    with pytest.raises(ConfigError, match="is the tile folder itself"):
        clean_tiles(odd_patches, odd_patches, CleanSettings(), overwrite=True)


@pytest.fixture
def clean(tmp_path):
    """Clean tiles into a folder of one's own."""

    def go(tiles, name="out", **settings):
        return clean_tiles(tiles, tmp_path / name, CleanSettings(**settings))

    return go


def test_look_alikes_of_another_label_stay_and_are_counted(
    odd_patches, cleaned, clean, tmp_path
):
    assert not any("look like" in text for text in cleaned.warnings)
    shutil.copytree(odd_patches, tmp_path / "odd")
    tiles, info = read_manifest(tmp_path / "odd" / "tiles.parquet")
    # Tile 2 stands there turned as well, now with the other label.
    is_turned = (tiles["tile_id"] != "normal/2") & (
        tiles["slide_id"] == tiles.set_index("tile_id")["slide_id"]["normal/2"]
    )
    assert is_turned.sum() == 1
    tiles.loc[is_turned, "label"] = 1
    write_manifest(tmp_path / "odd" / "tiles.parquet", tiles, info)
    result = clean(tmp_path / "odd")
    assert result.n_after == 12
    (text,) = (text for text in result.warnings if "look like" in text)
    assert text.startswith("2 tiles that are left look like one of another label")
    assert "normal/2" in text
    result = clean(tmp_path / "odd", "near", near=True)
    assert result.n_after == 10
    assert not any("look like" in text for text in result.warnings)
    assert clean(tmp_path / "odd", "blank", rules=("blank",)).warnings == ()


def test_what_was_cleaned_can_be_explored_cleaned_and_trained_on(
    cleaned, clean, tmp_path, monkeypatch
):
    again = clean(cleaned.folder, rules=get_args(CleaningRule))
    # Gone are black, saturated, blurred, and a copy.
    assert (again.n_before, again.n_after) == (12, 8)
    assert sum(again.n_by_rule.values()) == 4
    cautions = read_manifest(again.folder / "tiles.parquet")[1].cautions
    assert sum("were dropped by rules" in c for c in cautions) == 2
    monkeypatch.setattr("eosin.workflows.explore.write_page", lambda *_: None)
    explored = explore_tiles(cleaned.folder, tmp_path / "explored", ExploreSettings())
    assert explored.copies[0].n_conflicting == 0
    config = TileTraining(encoder="smallcnn", weights="none", tune_epochs=1, batch=4)
    train(cleaned.folder, tmp_path / "run", config)
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert any("were dropped by rules" in c for c in card["cautions"])


def test_tiles_are_taken_back_and_dropped_by_name(
    odd_patches, cleaned, clean, tmp_path
):
    keep, drop = tmp_path / "keep.csv", tmp_path / "label_errors.csv"
    log = pd.read_csv(cleaned.folder / "dropped.csv")
    log[log["rules"] == "blank"].to_csv(keep, index=False)
    drop.write_text("rank,tile_id\n1,tumor/10\n2,normal/1\n")
    lists = {"keep": str(keep), "drop": str(drop)}
    result = clean(odd_patches, **lists)
    counts = {"blank": 0, "unreadable": 0, "conflicting": 2, "listed": 2}
    assert result.n_by_rule == counts
    assert result.n_before - result.n_after == 3
    assert "normal/blank" in set(open_tile_folder(tmp_path / "out").tiles["tile_id"])
    log = pd.read_csv(tmp_path / "out" / "dropped.csv").set_index("tile_id")
    assert log.loc["tumor/10", "reason"] == "listed in label_errors.csv"
    assert log.loc["normal/1", "rules"] == "conflicting;listed"
    drop.write_text("tile_id\ntumor/11\n")
    with pytest.raises(RunError, match="input drop changed"):
        clean(odd_patches, **lists)
    for path, verb in ((drop, "drop"), (keep, "keep")):
        path.write_text("tile_id\nnobody\n")
        with pytest.raises(ConfigError, match=rf"1 tiles to {verb} are not .*nobody"):
            clean(odd_patches, "other", **lists)
        path.write_text("name\nnobody\n")
        with pytest.raises(ConfigError, match="a CSV with a column tile_id"):
            clean(odd_patches, "other", **lists)
        path.write_text("tile_id\n")


def test_tiles_that_cannot_be_read_are_dropped_or_named(odd_patches, clean, tmp_path):
    shutil.copytree(odd_patches.parent / "set", tmp_path / "set")
    layout = ImportSettings(layout="folder")
    import_patches(tmp_path / "set", tmp_path / "tiles", layout)
    (tmp_path / "set" / "normal" / "3.png").unlink()
    result = clean(tmp_path / "tiles")
    assert result.n_by_rule["unreadable"] == 1
    assert result.failures == ()
    log = pd.read_csv(tmp_path / "out" / "dropped.csv").set_index("tile_id")
    assert "No such file" in log.loc["normal/3", "reason"]
    result = clean(tmp_path / "tiles", "other", rules=("blank",))
    assert [f.slide_id for f in result.failures] == ["normal/3"]


def test_slides_are_cleaned_as_patches_are(tile_folder, clean, tmp_path):
    # One tile lies on a smear beside the tissue.
    result = clean(tile_folder, rules=("blurred", "blank"), blur_ratio=0.9)
    assert 0 < result.n_by_rule["blurred"] < result.n_before / 2
    assert result.n_by_rule["blank"] == 1
    before, after = open_tile_folder(tile_folder), open_tile_folder(tmp_path / "out")
    assert len(after.tiles) == result.n_after
    assert after.slides["path"].tolist() == before.slides["path"].tolist()
    # As many tiles as the rules left on each slide.
    own = after.tiles["slide_id"].value_counts()
    assert after.slides.set_index("slide_id")["n_tiles"].to_dict() == own.to_dict()
    log = pd.read_csv(tmp_path / "out" / "dropped.csv")
    assert "source" not in log
    assert read_tile_settings(tmp_path / "out")["tissue"]


def test_a_folder_without_copies_or_faults_stays_whole(tile_folder, clean):
    result = clean(tile_folder, rules=("unreadable", "conflicting"))
    assert result.n_before == result.n_after
    assert pd.read_csv(result.folder / "dropped.csv").empty
    folders = (tile_folder, result.folder)
    before, after = (read_manifest(path / "tiles.parquet") for path in folders)
    pd.testing.assert_frame_equal(after[0], before[0])
    assert after[1] == before[1]


def test_a_class_or_all_tiles_gone_are_not_passed_over(odd_patches, clean, tmp_path):
    (tmp_path / "tiles").mkdir()
    shutil.copy(odd_patches / "slides.csv", tmp_path / "tiles")
    tiles, info = read_manifest(odd_patches / "tiles.parquet")
    is_copy = tiles["tile_id"].isin(["normal/1", "tumor/conflict"])
    write_manifest(tmp_path / "tiles" / "tiles.parquet", tiles[is_copy], info)
    with pytest.raises(ManifestError, match="conflicting drop all of 2 tiles"):
        clean(tmp_path / "tiles", "none")
    is_copy &= tiles["label"] == 0
    is_copy |= tiles["tile_id"] == "tumor/blurred"
    write_manifest(tmp_path / "tiles" / "tiles.parquet", tiles[is_copy], info)
    result = clean(tmp_path / "tiles", rules=("blurred",), blur_ratio=1.0)
    assert "no tile of class tumor is left" in result.warnings
    assert "1 slides or groups have no tile left" in result.warnings
