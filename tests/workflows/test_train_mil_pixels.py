import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.bags import read_bag_table
from eosin.core import ConfigError, ManifestError, Progress, RunError
from eosin.evaluation import read_predictions
from eosin.models import load_mil_model, predict_bags
from eosin.tiles import read_manifest, write_manifest
from eosin.workflows import train_mil_pixels as module
from eosin.workflows.make_bags import MakeBagsConfig, make_bags
from eosin.workflows.tile_folder import open_tile_folder
from eosin.workflows.train_mil_pixels import (
    PixelMILConfig,
    divide_bags,
    read_pixel_bags,
    train_pixel_mil,
)

BAGS = MakeBagsConfig(n_bags=120, size=6, witnesses=(3,))
CONFIG = PixelMILConfig(epochs=8, learning_rate=3e-3, n_bootstrap=20, patience=3)


def find_accuracy(folder):
    table, _ = read_predictions(folder / "predictions.parquet")
    slides = table[table["level"] == "slide"]
    return ((slides["probability_tumor"] > 0.5) == (slides["label"] == 1)).mean()


@pytest.fixture(scope="module")
def bags(tile_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("pixels") / "bags"
    make_bags(tile_folder, BAGS, out)
    return out


@pytest.fixture(scope="module")
def trained(tile_folder, bags, tmp_path_factory):
    out = tmp_path_factory.mktemp("pixels") / "run"
    return train_pixel_mil(tile_folder, bags, CONFIG, out), out


def test_tumour_is_found_from_pixels_in_patients_never_seen(trained):
    result, out = trained
    assert result.metrics["slide"]["roc_auc"]["value"] > 0.95
    assert find_accuracy(out) > 0.9
    sources = pd.read_csv(out / "sources.csv")
    n = sources.loc[sources["split"] == "test", "patient_id"].nunique()
    (text,) = (text for text in result.cautions if "Bags share patients" in text)
    assert f"the 24 that were held out are of {n} patients" in text
    assert not any("were scored" in text for text in result.cautions)


def test_attention_from_pixels_points_at_the_witnesses(trained, bags):
    table, _ = read_bag_table(bags / "bags.parquet")
    hits = []
    for path in (trained[1] / "attention").glob("*.csv"):
        own = table[table["bag_id"] == path.stem]
        if own["label"].iloc[0]:
            best = pd.read_csv(path)["instance"].iloc[0]
            hits.append(own["is_witness"].to_numpy()[best])
    # By chance it would be half of them.
    assert np.mean(hits) > 0.75


def test_shuffled_labels_of_tiles_teach_nothing(tile_folder, tmp_path):
    tiles = tmp_path / "tiles"
    shutil.copytree(tile_folder, tiles)
    table, info = read_manifest(tiles / "tiles.parquet")
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(table["label"].notna())
    labels = table["label"].to_numpy(copy=True)
    labels[rows] = rng.permutation(labels[rows])
    shuffled = table.assign(label=pd.array(labels, "Int8"))
    write_manifest(tiles / "tiles.parquet", shuffled, info)
    make_bags(tiles, BAGS, tmp_path / "bags")
    config = replace(CONFIG, epochs=3)
    train_pixel_mil(tiles, tmp_path / "bags", config, tmp_path / "run")
    assert find_accuracy(tmp_path / "run") < 0.8


def test_the_run_has_the_files_of_a_study(trained, bags):
    _, out = trained
    card = json.loads((out / "card.json").read_text())
    assert (card["format"], card["encoder"], card["weights"], card["tile_px"]) == (
        "mil 2",
        "smallcnn",
        "none",
        64,
    )
    # New slides are tiled as these were.
    cut = {"mpp": 1.0, "overlap_px": 0, "context": 1.0, "tissue": "saturation"}
    drawn = {"min_tissue": 0.25, "bag_size": 6, "witnesses": [3]}
    assert {**cut, **drawn}.items() <= card.items()
    splits = pd.read_csv(out / "splits.csv")
    table, _ = read_bag_table(bags / "bags.parquet")
    sides = table.drop_duplicates("bag_id").set_index("bag_id")["split"]
    assert (splits.set_index("bag_id")["split"] == sides).all()
    sources = pd.read_csv(out / "sources.csv")
    own = table[table["split"] == "test"]
    assert set(sources.loc[sources["split"] == "test", "patient_id"]) == (
        set(own["patient_id"])
    )
    # The copy of the tiles is not kept.
    assert not (out / "state" / "tiles.npy").exists()
    assert {"held_out.csv", "history.csv", "metrics.json", "validation.parquet"} <= {
        path.name for path in out.iterdir()
    }


def test_bags_hold_the_pixels_of_their_tiles(tile_folder, bags, trained, tmp_path):
    folder = open_tile_folder(tile_folder)
    table, _ = read_bag_table(bags / "bags.parquet")
    table = table[table["bag_id"].isin(["test-00000", "val-00001"])]
    found = read_pixel_bags(table, folder, tmp_path / "t.npy", Progress())
    assert [bag.bag_id for bag in found] == ["val-00001", "test-00000"]
    rows = table.loc[table["bag_id"] == "test-00000", "tile_id"]
    place = folder.tiles.reset_index().set_index("tile_id")["index"]
    with folder.open_reader() as reader:
        pixels = reader.read(place[rows].to_numpy())
    np.testing.assert_array_equal(found[1].read(), pixels.reshape(6, -1))
    # A finished model takes them as they are.
    model = load_mil_model(trained[1] / "fold_0" / "model_0.keras")
    held = pd.read_csv(trained[1] / "held_out.csv").set_index("bag_id")["logit_0"]
    for bag, prediction in zip(found, predict_bags(model, found), strict=True):
        assert prediction.logits[0] == pytest.approx(held[bag.bag_id], abs=1e-4)


def test_a_cut_training_from_pixels_ends_like_an_unbroken_one(
    tile_folder, bags, tmp_path, monkeypatch
):
    config = replace(CONFIG, epochs=1, n_bootstrap=0)
    whole = train_pixel_mil(tile_folder, bags, config, tmp_path / "whole")
    run = module.run_training

    def stop(*_):
        raise KeyboardInterrupt

    words = (tile_folder, bags, config, tmp_path / "cut")
    monkeypatch.setattr(module, "run_training", stop)
    with pytest.raises(KeyboardInterrupt):
        train_pixel_mil(*words)
    monkeypatch.setattr(module, "run_training", run)
    assert train_pixel_mil(*words).metrics == whole.metrics
    # A third call trains nothing.
    monkeypatch.setattr(module, "run_training", stop)
    assert train_pixel_mil(*words).metrics == whole.metrics


def test_bags_of_other_tiles_and_settings_are_refused(tile_folder, bags, trained):
    table, info = read_manifest(tile_folder / "tiles.parquet")
    other = bags.parent / "other"
    shutil.copytree(tile_folder, other)
    write_manifest(other / "tiles.parquet", table.iloc[:-1], info)
    with pytest.raises(ManifestError, match="drawn from other tiles than those in"):
        train_pixel_mil(other, bags, CONFIG, bags.parent / "x")
    with pytest.raises(RunError, match="epochs was 8, is 9"):
        train_pixel_mil(tile_folder, bags, replace(CONFIG, epochs=9), trained[1])
    with pytest.raises(ConfigError, match="encoder must be one of"):
        PixelMILConfig(encoder="nothing")


def make_sides(*names):
    bags = [f"b{i}" for i in range(len(names))]
    return pd.DataFrame({"bag_id": np.repeat(bags, 2), "split": np.repeat(names, 2)})


def test_sides_are_a_split_or_folds():
    (split,) = divide_bags(make_sides("train", "test", "val"), where="x")
    assert split.tolist() == ["train", "test", "val"]
    folds = divide_bags(make_sides(*[f"fold_{i}" for i in range(11)]), where="x")
    assert len(folds) == 11
    # Each is held out once, and the next one validates, the last one's is the first.
    assert [fold.tolist().index("test") for fold in folds] == list(range(11))
    assert [fold.tolist().index("val") for fold in folds] == [*range(1, 11), 0]
    for names in (("train", "test"), ("fold_0", "fold_1"), ("train", "a", "b")):
        with pytest.raises(ManifestError, match="x: bags of train, val and test"):
            divide_bags(make_sides(*names), where="x")


def test_settings_follow_from_the_first_weights(tmp_path):
    new, known = PixelMILConfig(), PixelMILConfig(encoder="mobilenetv2")
    assert (new.first_weights, known.first_weights) == ("none", "imagenet")
    assert (new.training.batch_norm, known.training.batch_norm) == ("trained", "frozen")
    assert (new.training.learning_rate, known.training.learning_rate) == (1e-3, 1e-4)
    assert (new.training.depth, known.training.depth) == ("all", "last")
    assert PixelMILConfig(fine_tune="last").training.depth == "last"
    assert PixelMILConfig(weights="own.h5").training.batch_norm == "frozen"
