import json
import shutil

import pandas as pd
import pytest

from eosin.core import ConfigError, ManifestError, RunError
from eosin.tiles import read_manifest, write_manifest
from eosin.workflows import clean as module
from eosin.workflows.clean import clean_tiles
from eosin.workflows.cleaning_rules import CleanConfig
from eosin.workflows.explore import ExploreConfig, explore_tiles
from eosin.workflows.import_patches import ImportConfig, import_patches
from eosin.workflows.tile_folder import open_tile_folder, read_tile_settings
from eosin.workflows.train_tiles import TrainConfig, train_classifier

ALL = ("blank", "unreadable", "conflicting", "duplicates", "black")
ALL += ("saturated", "blurred")


def read_all(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def cleaned(odd_patches, tmp_path_factory):
    out = tmp_path_factory.mktemp("cleaned")
    return clean_tiles(odd_patches, CleanConfig(), out)


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
        for row, source in enumerate(is_left.to_numpy().nonzero()[0]):
            assert (new.read(pd.array([row])) == old.read(pd.array([source]))).all()
    assert after.slides["n_tiles"].sum() == 12
    assert set(after.slides["slide_id"]) == set(after.tiles["slide_id"])


def test_every_dropped_tile_is_listed_with_its_reason(cleaned):
    log = pd.read_csv(cleaned.folder / "dropped.csv").set_index("tile_id")
    assert set(log.index) == {"normal/blank", "normal/1", "tumor/conflict"}
    row = log.loc["normal/1"]
    assert (row["rules"], row["class_name"]) == ("conflicting", "normal")
    assert row["reason"] == "copy of tumor/conflict, which is tumor"
    assert row["source"] == "normal/1.png"


def test_what_is_no_longer_true_is_no_longer_said(cleaned, odd_patches):
    before = read_manifest(odd_patches / "tiles.parquet")[1]
    after = read_manifest(cleaned.folder / "tiles.parquet")[1]
    assert any("copy with another label" in c for c in before.cautions)
    assert not any("copy with another label" in c for c in after.cautions)
    assert any(c.startswith("That no patient is on two") for c in after.cautions)
    assert after.cautions[-1].startswith(
        "3 of 15 tiles were dropped by rules (1 blank, 2 conflicting)"
    )


def test_look_alikes_of_another_label_stay_and_are_counted(
    odd_patches, cleaned, tmp_path
):
    def clean(name, **settings):
        return clean_tiles(tmp_path / "odd", CleanConfig(**settings), tmp_path / name)

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
    found = clean("a")
    assert found.n_after == 12
    (said,) = (text for text in found.warnings if "look like" in text)
    assert said.startswith("2 tiles that are left look like one of another label")
    assert "normal/2" in said
    assert "--set near=true" in said
    asked = clean("b", near=True)
    assert asked.n_after == 10
    assert not any("look like" in text for text in asked.warnings)
    assert clean("c", rules=("blank",)).warnings == ()


def test_settings_of_the_tiles_are_passed_on(cleaned, odd_patches):
    # Who asks how the tiles came about finds it in the cleaned folder as well.
    settings = read_tile_settings(cleaned.folder)
    assert settings["layout"] == "folder"
    assert settings["rules"] == ["blank", "unreadable", "conflicting"]
    assert settings["tiles"] == str(odd_patches.resolve())


def test_a_second_call_finds_the_work_done(cleaned, odd_patches, monkeypatch):
    before = read_all(cleaned.folder)
    monkeypatch.setattr(module, "scan_for_rules", None)
    assert clean_tiles(odd_patches, CleanConfig(), cleaned.folder) == cleaned
    assert read_all(cleaned.folder) == before
    with pytest.raises(RunError, match=r"rules was .*, is .*'black'"):
        clean_tiles(odd_patches, CleanConfig(rules=("black",)), cleaned.folder)


def test_the_tiles_stay_as_they_are(odd_patches, tmp_path):
    before = read_all(odd_patches)
    with pytest.raises(ConfigError, match="is the tile folder itself"):
        clean_tiles(odd_patches, CleanConfig(), odd_patches, overwrite=True)
    result = clean_tiles(odd_patches, CleanConfig(rules=ALL), tmp_path / "out")
    assert read_all(odd_patches) == before
    # Blank, black, saturated, blurred, a copy, and two that contradict each other.
    assert result.n_after == 8
    assert sum(result.n_by_rule.values()) == 7


def test_what_was_cleaned_can_be_explored_cleaned_and_trained_on(
    cleaned, tmp_path, monkeypatch
):
    again = clean_tiles(cleaned.folder, CleanConfig(rules=ALL), tmp_path / "again")
    assert (again.n_before, again.n_after) == (12, 8)
    cautions = read_manifest(again.folder / "tiles.parquet")[1].cautions
    assert sum("were dropped by rules" in c for c in cautions) == 2
    monkeypatch.setattr("eosin.workflows.explore.write_exploration", lambda *_: None)
    explored = explore_tiles(cleaned.folder, ExploreConfig(), tmp_path / "explored")
    assert explored.copies[0].n_conflicting == 0
    config = TrainConfig(encoder="smallcnn", weights="none", tune_epochs=1, batch=4)
    train_classifier(cleaned.folder, config, tmp_path / "run")
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert any("were dropped by rules" in c for c in card["cautions"])


def test_tiles_are_taken_back_by_name(odd_patches, cleaned, tmp_path):
    log = pd.read_csv(cleaned.folder / "dropped.csv")
    log[log["rules"] == "blank"].to_csv(tmp_path / "keep.csv", index=False)
    config = CleanConfig(keep=str(tmp_path / "keep.csv"))
    result = clean_tiles(odd_patches, config, tmp_path / "out")
    assert result.n_by_rule == {"blank": 0, "unreadable": 0, "conflicting": 2}
    assert "normal/blank" in set(open_tile_folder(tmp_path / "out").tiles["tile_id"])
    (tmp_path / "keep.csv").write_text("tile_id\nnobody\n")
    with pytest.raises(ConfigError, match=r"1 tiles to keep are not in .* nobody"):
        clean_tiles(odd_patches, config, tmp_path / "other")
    (tmp_path / "keep.csv").write_text("name\nnobody\n")
    with pytest.raises(ConfigError, match="a CSV with a column tile_id"):
        clean_tiles(odd_patches, config, tmp_path / "other")


def test_tiles_that_cannot_be_read_are_dropped_or_named(odd_patches, tmp_path):
    shutil.copytree(odd_patches.parent / "set", tmp_path / "set")
    import_patches(tmp_path / "set", ImportConfig(layout="folder"), tmp_path / "tiles")
    (tmp_path / "set" / "normal" / "3.png").unlink()
    result = clean_tiles(tmp_path / "tiles", CleanConfig(), tmp_path / "out")
    assert result.n_by_rule["unreadable"] == 1
    assert result.failures == ()
    log = pd.read_csv(tmp_path / "out" / "dropped.csv").set_index("tile_id")
    assert "No such file" in log.loc["normal/3", "reason"]
    config = CleanConfig(rules=("blank",))
    result = clean_tiles(tmp_path / "tiles", config, tmp_path / "other")
    assert [f.slide_id for f in result.failures] == ["normal/3"]


def test_slides_are_cleaned_as_patches_are(tile_folder, tmp_path):
    # One tile lies on a smear beside the tissue.
    config = CleanConfig(rules=("blurred", "blank"), blur_ratio=0.9)
    result = clean_tiles(tile_folder, config, tmp_path / "out")
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


def test_a_folder_without_copies_or_faults_stays_whole(tile_folder, tmp_path):
    config = CleanConfig(rules=("unreadable", "conflicting"))
    result = clean_tiles(tile_folder, config, tmp_path / "out")
    assert result.n_before == result.n_after
    assert pd.read_csv(tmp_path / "out" / "dropped.csv").empty
    before, after = (
        read_manifest(path / "tiles.parquet")
        for path in (tile_folder, tmp_path / "out")
    )
    pd.testing.assert_frame_equal(after[0], before[0])
    assert after[1] == before[1]


def test_a_class_or_all_tiles_gone_are_not_passed_over(odd_patches, tmp_path):
    # Everything is white from this share on, but for black and saturated patches.
    config = CleanConfig(rules=("black", "saturated"), black_share=1e-9)
    result = clean_tiles(odd_patches, config, tmp_path / "out")
    assert result.n_after == 13
    config = CleanConfig(rules=("blank", "blurred", "black"), blur_ratio=1.0)
    assert clean_tiles(odd_patches, config, tmp_path / "some").warnings
    (tmp_path / "tiles").mkdir()
    for name in ("tiles.parquet", "slides.csv"):
        shutil.copy(odd_patches / name, tmp_path / "tiles")
    folder = open_tile_folder(tmp_path / "tiles")
    is_copy = folder.tiles["tile_id"].isin(["normal/1", "tumor/conflict"])
    module.write_manifest(
        tmp_path / "tiles" / "tiles.parquet", folder.tiles[is_copy], folder.info
    )
    with pytest.raises(ManifestError, match="conflicting drop all of 2 tiles"):
        clean_tiles(tmp_path / "tiles", CleanConfig(), tmp_path / "none")
    is_copy &= folder.tiles["label"] == 0
    is_copy |= folder.tiles["tile_id"] == "tumor/blurred"
    module.write_manifest(
        tmp_path / "tiles" / "tiles.parquet", folder.tiles[is_copy], folder.info
    )
    config = CleanConfig(rules=("blurred",), blur_ratio=1.0)
    result = clean_tiles(tmp_path / "tiles", config, tmp_path / "one")
    assert "no tile of class tumor is left" in result.warnings
    assert "1 slides or groups have no tile left" in result.warnings


def test_listed_tiles_are_dropped_beside_the_rules(odd_patches, tmp_path):
    listed = tmp_path / "label_errors.csv"
    listed.write_text("rank,tile_id\n1,tumor/10\n2,normal/blank\n")
    config = CleanConfig(rules=("blank",), drop=str(listed))
    result = clean_tiles(odd_patches, config, tmp_path / "out")
    assert result.n_by_rule == {"blank": 1, "listed": 2}
    assert result.n_before - result.n_after == 2
    log = pd.read_csv(tmp_path / "out" / "dropped.csv").set_index("tile_id")
    assert log.loc["tumor/10", "reason"] == "listed in label_errors.csv"
    assert log.loc["normal/blank", "rules"] == "blank;listed"
    listed.write_text("tile_id\ntumor/11\n")
    with pytest.raises(RunError, match="input drop changed"):
        clean_tiles(odd_patches, config, tmp_path / "out")
    listed.write_text("tile_id\nnobody\n")
    with pytest.raises(ConfigError, match=r"1 tiles to drop are not in .* nobody"):
        clean_tiles(odd_patches, config, tmp_path / "other")
