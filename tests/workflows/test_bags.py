import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.bags import read_bag_table, read_tile_features, share_drawn
from eosin.core import CohortError, ConfigError, ManifestError, RunError, read_json
from eosin.settings import BagSettings, EmbedSettings
from eosin.tiles import read_manifest, write_manifest
from eosin.tiles.folder import open_tile_folder
from eosin.workflows.bags import make_bags
from eosin.workflows.embed import embed_tiles

CONFIG = BagSettings(n_bags=40, size=8, witnesses=(3,))


@pytest.fixture(scope="module")
def made(tile_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "bags"
    return make_bags(tile_folder, out, CONFIG), out


def test_bags_are_of_labelled_tiles_and_half_are_positive(made, tile_folder):
    result, out = made
    table, info = read_bag_table(result.path)
    assert result.path == out / "bags.parquet"
    labels = open_tile_folder(tile_folder).tiles.set_index("tile_id")["label"]
    # Label 1 is tumour: these and only these are witnesses.
    assert (table["is_witness"] == (labels[table["tile_id"]] == 1).to_numpy()).all()
    bags = table.drop_duplicates("bag_id")
    assert bags.groupby("split")["label"].agg(["size", "sum"]).to_dict("index") == {
        "train": {"size": 24, "sum": 12},
        "val": {"size": 8, "sum": 4},
        "test": {"size": 8, "sum": 4},
    }
    assert info.class_names == ("normal", "tumor")
    assert (info.size, info.witnesses, info.grouping) == (8, (3,), "patient_id")


def test_no_patient_is_on_two_sides(made):
    table, _ = read_bag_table(made[0].path)
    for column in ("patient_id", "slide_id", "tile_id"):
        sides = table[[column, "split"]].drop_duplicates()
        assert not sides[column].duplicated().any()


def test_what_was_made_is_counted_and_recorded(made):
    result, out = made
    record = read_json(out / "run.json")
    assert record["status"] == "done"
    assert record["notes"]["counts"] == result.counts.to_dict("records")
    assert result.counts["bags"].tolist() == [24, 8, 8]
    splits = pd.read_csv(out / "splits.csv")
    table, _ = read_bag_table(result.path)
    side = dict(zip(splits["slide_id"], splits["split"], strict=True))
    assert (table["slide_id"].map(side) == table["split"]).all()
    train = table[table["split"] == "train"]
    witnesses = train[train["is_witness"]]["tile_id"].nunique()
    assert result.counts["witness_tiles"][0] == witnesses


def test_the_same_again_is_found_done(made, tile_folder):
    result, out = made
    before = result.path.stat().st_mtime_ns
    again = make_bags(tile_folder, out, CONFIG)
    assert again.path.stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(again.counts, result.counts)
    with pytest.raises(RunError, match="size was 8, is 9"):
        make_bags(tile_folder, out, replace(CONFIG, size=9))


def test_a_seed_gives_the_same_table_anywhere(made, tile_folder, tmp_path):
    table, _ = read_bag_table(made[0].path)
    again = make_bags(tile_folder, tmp_path / "a", CONFIG)
    pd.testing.assert_frame_equal(read_bag_table(again.path)[0], table)
    other = make_bags(tile_folder, tmp_path / "b", replace(CONFIG, seed=1))
    assert not read_bag_table(other.path)[0].equals(table)


def test_folds_are_sides_of_their_own(tile_folder, tmp_path):
    config = replace(CONFIG, folds=3, witnesses=(3, 1))
    result = make_bags(tile_folder, tmp_path / "bags", config)
    assert result.counts["split"].tolist() == ["fold_0", "fold_1", "fold_2"]
    # 20 pairs of bags for three folds.
    assert result.counts["bags"].tolist() == [14, 14, 12]
    assert result.counts["patients"].sum() == 10
    table, _ = read_bag_table(result.path)
    found = table.drop_duplicates("bag_id")["n_witnesses"].tolist()[:8]
    assert found == [0, 3, 0, 1, 0, 3, 0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 4000, "witnesses": (1,)}, "bags of 4000 need 4,000 negative tiles"),
        ({"size": 600, "witnesses": (600,)}, "600 witness tiles, has"),
        ({"reuse": False, "n_bags": 4000}, "ask for fewer bags, or let tiles be"),
    ],
)
def test_too_few_tiles_are_said(tile_folder, tmp_path, changes, message):
    with pytest.raises(ManifestError, match=message):
        make_bags(tile_folder, tmp_path / "bags", replace(CONFIG, **changes))
    assert read_json(tmp_path / "bags" / "run.json")["status"] == "failed"


def test_slides_without_labelled_tiles_take_no_part(tile_folder, tmp_path):
    shutil.copytree(tile_folder, tmp_path / "tiles")
    tiles, info = read_manifest(tmp_path / "tiles" / "tiles.parquet")
    slides = pd.read_csv(tmp_path / "tiles" / "slides.csv")
    bare = slides["slide_id"][:4]
    tiles.loc[tiles["slide_id"].isin(bare), "label"] = pd.NA
    write_manifest(tmp_path / "tiles" / "tiles.parquet", tiles, info)
    result = make_bags(tmp_path / "tiles", tmp_path / "bags", CONFIG)
    # Three patients of each class are left, and one of each is on every side.
    assert result.counts["patients"].tolist() == [2, 2, 2]
    # Were they given a side, it would stay empty.
    slides["split"] = ["test"] * 4 + ["val"] * 2 + ["train"] * 4
    slides.to_csv(tmp_path / "tiles" / "slides.csv", index=False)
    with pytest.raises(CohortError, match="would be in test"):
        make_bags(tmp_path / "tiles", tmp_path / "other", CONFIG)


def test_one_class_of_several_can_be_looked_for(tile_folder, tmp_path):
    shutil.copytree(tile_folder, tmp_path / "tiles")
    path = tmp_path / "tiles" / "tiles.parquet"
    tiles, info = read_manifest(path)
    # Every third normal tile becomes one of a third class.
    tiles.loc[tiles.index[tiles["label"] == 0][::3], "label"] = 2
    names = ("normal", "tumor", "adenoma")
    write_manifest(
        path, tiles.assign(adenoma_fraction=0.0), replace(info, class_names=names)
    )
    config = replace(CONFIG, witness_class="adenoma")
    result = make_bags(tmp_path / "tiles", tmp_path / "one", config)
    table, info = read_bag_table(result.path)
    labels = tiles.set_index("tile_id")["label"]
    found = labels[table["tile_id"]].to_numpy(np.int64)
    # A tumour tile is neither a witness nor a negative tile.
    assert set(found) == {0, 2}
    assert ((found == 2) == table["is_witness"]).all()
    assert info.class_names == ("normal", "adenoma")
    both = make_bags(tmp_path / "tiles", tmp_path / "both", CONFIG)
    assert read_bag_table(both.path)[1].class_names == ("normal", "tumor+adenoma")
    with pytest.raises(ConfigError, match="must be one of tumor, adenoma, got 'x'"):
        make_bags(
            tmp_path / "tiles", tmp_path / "x", replace(CONFIG, witness_class="x")
        )


def test_from_slides_to_bags_that_tell_tumour(made, tile_folder, run_folder, tmp_path):
    """The whole way: a trained encoder's features, drawn into bags."""
    embed_tiles(tile_folder, tmp_path / "f", EmbedSettings(encoder=str(run_folder)))
    table, _ = read_bag_table(made[0].path)
    tiles = table.drop_duplicates("tile_id")
    features = read_tile_features(tmp_path / "f", tiles, np.arange(len(tiles)))
    bags = share_drawn(table, tiles["tile_id"].tolist(), features)
    assert len(bags) == 40
    assert {len(bag) for bag in bags} == {8}
    assert all(bag.instance_labels.sum() == 3 * bag.label for bag in bags)
    # Along the line between the classes' means, witnesses lie apart.
    features = np.concatenate([bag.read() for bag in bags])
    is_witness = np.concatenate([bag.instance_labels for bag in bags]) == 1
    line = features[is_witness].mean(0) - features[~is_witness].mean(0)
    along = features @ line
    middle = (along[is_witness].mean() + along[~is_witness].mean()) / 2
    assert ((along > middle) == is_witness).mean() > 0.8
