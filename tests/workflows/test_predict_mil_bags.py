import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from eosin.bags import read_bag_table
from eosin.core import ManifestError, ModelError
from eosin.evaluation import compute_probabilities
from eosin.tiles import read_manifest, write_manifest
from eosin.workflows import predict_mil_bags as module
from eosin.workflows.make_bags import MakeBagsConfig, make_bags
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import open_mil_run
from eosin.workflows.predict_mil_bags import predict_mil_bags


@pytest.fixture(scope="module")
def words(pixel_study, tile_folder):
    return (
        pixel_study / "run",
        tile_folder,
        pixel_study / "bags",
        MILPredictConfig(),
        pixel_study / "out of bags",
    )


@pytest.fixture(scope="module")
def predicted(words):
    return predict_mil_bags(*words)


@pytest.fixture
def others(tile_folder, tmp_path):
    """Bags of another size, drawn from the same tiles."""
    config = MakeBagsConfig(n_bags=10, size=4, witnesses=(4,), seed=3)
    make_bags(tile_folder, config, tmp_path / "bags")
    return tmp_path / "bags"


def test_held_out_bags_are_scored_as_in_training(predicted, pixel_study):
    run = open_mil_run(pixel_study / "run")
    bags = predicted.bags.set_index("bag_id")
    assert len(bags) == 60
    held = run.held_out[run.held_out["split"] == "test"]
    logits = held[["logit_0"]].to_numpy()
    expected = compute_probabilities(logits, run.temperature)[:, 1]
    found = bags.loc[held["bag_id"], "probability_tumor"]
    assert found.to_numpy() == pytest.approx(expected, abs=1e-4)
    assert (bags["true_label"] == "tumor").tolist() == (
        (bags["witnesses"] == 3).tolist()
    )
    # The side `test` holds patients that no model has seen.
    assert bags["seen_in_training"].tolist() == (bags["split"] != "test").tolist()


def test_each_tile_has_its_attention_and_witnesses_are_told(predicted, pixel_study):
    tiles = pd.read_csv(predicted.folder / "tiles.csv")
    table, _ = read_bag_table(pixel_study / "bags" / "bags.parquet")
    assert tiles["tile_id"].tolist() == table["tile_id"].tolist()
    sums = tiles.groupby("bag_id")["attention"].sum()
    assert sums.to_numpy() == pytest.approx(np.full(60, 6), abs=1e-4)
    bags = predicted.bags.set_index("bag_id")
    own = tiles[tiles["bag_id"] == "test-00001"]
    auc = roc_auc_score(own["is_witness"], own["attention"])
    assert bags.loc["test-00001", "witness_auc"] == pytest.approx(auc)
    # A negative bag has none.
    assert np.isnan(bags.loc["test-00000", "witness_auc"])


def test_bags_have_galleries_and_slides_have_maps(predicted):
    out = predicted.folder
    for name in predicted.bags["bag_id"]:
        assert (out / f"{name}.gallery.png").exists()
    tiles = pd.read_csv(out / "tiles.csv")
    for name in tiles["slide_id"].unique():
        for suffix in ("geojson", "heatmap.tif", "heatmap-colour.tif", "overlay.jpg"):
            assert (out / f"{name}.{suffix}").exists()
    text = (out / "attention.html").read_text()
    assert "rests on neither" in text
    assert "(witness)" in text
    assert "The models learnt from drawn bags" not in text


def test_a_second_call_does_only_what_failed(words, predicted, monkeypatch):
    parts = sorted((predicted.folder / "parts").glob("*.json"))
    before = {path: path.stat().st_mtime_ns for path in parts}
    parts[5].unlink()
    again = predict_mil_bags(*words)
    after = {path: path.stat().st_mtime_ns for path in parts}
    assert [path for path in parts if after[path] != before[path]] == [parts[5]]
    monkeypatch.setattr(module, "MILEnsemble", None)
    third = predict_mil_bags(*words)
    for found in (again, third):
        assert found.cautions == predicted.cautions
        assert found.bags["probability_tumor"].tolist() == pytest.approx(
            predicted.bags["probability_tumor"].tolist()
        )


def test_bags_that_fail_are_listed(words, others, tmp_path, monkeypatch):
    def fail(_self, job):
        raise ManifestError(f"{job.bag_id} is not liked")

    monkeypatch.setattr(module.DrawnBagPredictor, "predict", fail)
    path = others / "bags.parquet"
    result = predict_mil_bags(*words[:2], path, words[3], tmp_path / "out")
    assert (result.bags["status"] == "failed").all()
    failures = pd.read_csv(tmp_path / "out" / "failures.csv")
    assert len(failures) == len(result.failures) == 10
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "incomplete"


def test_bags_of_another_size_are_told(words, others, tmp_path):
    config = MILPredictConfig(gallery_tiles=0)
    result = predict_mil_bags(*words[:2], others, config, tmp_path / "out")
    assert "learnt from drawn bags of 6 tiles" in result.cautions[0]
    assert "bags hold tiles of patients that training has seen" in result.cautions[1]
    # All of a positive bag's tiles are witnesses: there is nothing to be told apart.
    assert result.bags["witness_auc"].isna().all()
    assert not list((tmp_path / "out").glob("*.gallery.png"))


def test_other_tiles_and_classes_are_refused(words, others, tile_folder, tmp_path):
    run, _, bags, config, _ = words
    table, info = read_manifest(tile_folder / "tiles.parquet")
    other = tmp_path / "tiles"
    shutil.copytree(tile_folder, other)
    write_manifest(other / "tiles.parquet", table.iloc[:-1], info)
    with pytest.raises(ManifestError, match="drawn from other tiles than those in"):
        predict_mil_bags(run, other, bags, config, tmp_path / "out")
    shutil.copytree(run, tmp_path / "run")
    card = json.loads((run / "card.json").read_text())
    for change, message in (
        ({"tile_px": 32}, "tile_px 32, the tiles have 64"),
        ({"context": 2.0}, "context 2, the tiles have 1"),
        ({"mpp": 0.5}, "mpp 0.5, the tiles have 1"),
        ({"class_names": ["a", "b"]}, "classes a, b, the bags have normal, tumor"),
    ):
        content = json.dumps(card | change)
        (tmp_path / "run" / "card.json").write_text(content)
        if "class_names" in change:
            splits = pd.read_csv(run / "splits.csv").assign(label="a")
            splits.to_csv(tmp_path / "run" / "splits.csv", index=False)
        with pytest.raises(ModelError, match=message):
            predict_mil_bags(
                tmp_path / "run", tile_folder, bags, config, tmp_path / "out"
            )
