import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.bags import Bag, read_bag_table, read_slide_bag
from eosin.core import ModelError
from eosin.evaluation import compute_probabilities
from eosin.models import load_mil_model, predict_bags
from eosin.workflows.mil_run import (
    FoldChoice,
    MILEnsemble,
    list_fold_cautions,
    open_mil_run,
    tabulate_slides,
)


@pytest.fixture(scope="module")
def run(mil_study):
    return open_mil_run(mil_study / "run")


def test_a_run_is_read_as_it_was_written(mil_study, run):
    assert run.class_names == ("normal", "tumor")
    assert run.models == tuple((f"fold_{i}/model_0.keras",) for i in range(3))
    assert run.made_from == {"encoder": "made", "mpp": 1, "tile_px": 64}
    assert run.features == (mil_study / "features").resolve()
    held = run.held_out
    # Every bag is tested once, and labelled by its patient's number.
    assert sorted(held.loc[held["split"] == "test", "bag_id"]) == sorted(
        f"M{i}" for i in range(14)
    )
    assert (held["patient_id"].str[1:].astype(int) % 2 == held["label"]).all()


def test_a_fold_chooses_on_its_own_validation_alone(run):
    """Nothing that is said of test bags or in other folds moves a choice."""
    first = run.choose_by_fold()
    held = run.held_out.copy()
    others = (held["split"] == "test") | (held["fold"] != 1)
    held.loc[others, "logit_0"] = 77.0
    changed = replace(run, held_out=held).choose_by_fold()
    assert changed[1] == first[1]
    assert len(first) == 3
    assert all(0 <= choice.threshold <= 1.0001 for choice in first)


def test_the_ensemble_is_the_mean_of_folds(mil_study, run):
    bag = read_slide_bag(mil_study / "features" / "M1.h5")
    found = MILEnsemble(run).predict([bag])[0]
    told = [
        predict_bags(load_mil_model(run.path / names[0]), [bag])[0]
        for names in run.models
    ]
    each = [compute_probabilities(p.logits[None], run.temperature)[0] for p in told]
    assert found.probabilities == pytest.approx(np.mean(each, axis=0), abs=1e-6)
    assert found.by_fold == pytest.approx(np.array(each), abs=1e-6)
    assert found.attention == pytest.approx(
        np.mean([p.attention for p in told], axis=0), abs=1e-6
    )
    assert found.attention.sum() == pytest.approx(1, abs=1e-5)
    assert found.instance_probabilities.shape == (len(bag), 2)


def test_slides_are_tabulated_with_what_is_known(mil_study):
    bag = read_slide_bag(mil_study / "features" / "M1.h5")
    table = tabulate_slides([bag], np.array([[0.25, 0.75]]), ("a", "b"), split="val")
    row = table.iloc[0]
    assert (row["id"], row["probability_b"], row["split"]) == ("M1", 0.75, "val")
    assert table["label"].isna().all()


def test_cautions_of_folds_are_told_once():
    folds = [
        FoldChoice(1, 0.5, ("too few",)),
        FoldChoice(1, 0.5, ()),
        FoldChoice(1, 0.5, ("too few", "odd")),
    ]
    assert list_fold_cautions(folds) == ["Folds 0, 2, too few.", "Fold 2, odd."]


def test_what_is_no_finished_run_is_refused(mil_study, tmp_path):
    with pytest.raises(ModelError, match=r"has no card\.json"):
        open_mil_run(tmp_path)
    out = tmp_path / "run"
    shutil.copytree(mil_study / "run", out)
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    with pytest.raises(ModelError, match="interrupted, not done"):
        open_mil_run(out)
    (out / "run.json").write_text(json.dumps(record))
    (out / "fold_1" / "model_0.keras").unlink()
    with pytest.raises(ModelError, match=r"fold_1/model_0\.keras is missing"):
        open_mil_run(out)
    (out / "card.json").write_text('{"format": 1}')
    with pytest.raises(ModelError, match="describes no MIL model"):
        open_mil_run(out)


def test_seen_is_who_was_trained_on(run, pixel_study, tmp_path, monkeypatch):
    assert run.is_seen("M1", patients=("nobody",))
    assert run.is_seen("new", patients=("P1",))
    assert not run.is_seen("new", patients=("nobody",), slides=("M1",))
    assert not run.takes_pixels
    drawn = open_mil_run(pixel_study / "run")
    assert drawn.takes_pixels
    sources = pd.read_csv(pixel_study / "run" / "sources.csv")
    table, _ = read_bag_table(pixel_study / "bags" / "bags.parquet")
    assert set(sources["slide_id"]) == set(table["slide_id"])
    first = sources.groupby("split").first()
    # Bags of other tables have the same names.
    assert not drawn.is_seen("train-00000", patients=("nobody",))
    for split, is_seen in (("train", True), ("val", True), ("test", False)):
        own = first.loc[split]
        assert drawn.is_seen("x", patients=(own["patient_id"],)) == is_seen
        assert drawn.is_seen("x", patients=(), slides=(own["slide_id"],)) == is_seen
    bare = tmp_path / "run"
    shutil.copytree(pixel_study / "run", bare)
    (bare / "sources.csv").unlink()
    with pytest.raises(ModelError, match=r"has no sources\.csv"):
        open_mil_run(bare).is_seen("x", patients=("P",))
    # It is read once, not for each bag.
    monkeypatch.setattr(pd, "read_csv", lambda *_, **__: pytest.fail("read again"))
    assert not drawn.is_seen("x", patients=("nobody",))


def test_an_ensemble_of_pixels_is_the_mean_of_its_models(pixel_study):
    drawn = open_mil_run(pixel_study / "run")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64 * 64 * 3))
    bag = Bag(bag_id="B", features=pixels)
    (found,) = MILEnsemble(drawn).predict([bag])
    models = [load_mil_model(drawn.path / name) for name in drawn.models[0]]
    logits = np.mean([predict_bags(m, [bag])[0].logits for m in models], axis=0)
    expected = compute_probabilities(logits[None], drawn.temperature)
    # One fold of two seeds: their logits are averaged, as in training.
    assert found.by_fold == pytest.approx(expected, abs=1e-5)
