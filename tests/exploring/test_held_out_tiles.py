import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.core import ManifestError, ModelError
from eosin.evaluation import Classes, read_predictions, write_predictions
from eosin.exploring.held_out_tiles import EVERY_FOLD, open_held_out_tiles
from eosin.runs.card import FoldCard
from eosin.workflows.evaluate import evaluate


@pytest.fixture
def run(run_folder, evaluation_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    return tmp_path / "run"


def test_held_out_tiles_have_the_predictions_of_the_evaluation(
    run_folder, evaluation_folder, tile_folder
):
    found = open_held_out_tiles(run_folder)
    table, target = read_predictions(evaluation_folder / "predictions.parquet")
    table = table[table["level"] == "tile"].set_index("id")
    assert found.class_names == target.class_names
    assert set(found.tiles["tile_id"]) == set(table.index)
    own = table.loc[found.tiles["tile_id"]]
    np.testing.assert_array_equal(found.probabilities[:, 1], own[target.columns[1]])
    np.testing.assert_array_equal(found.labels, own["label"].fillna(-1))
    threshold = found.card.together.tile_threshold
    np.testing.assert_array_equal(found.called, found.probabilities[:, 1] >= threshold)
    assert (found.folds == 0).all()
    assert not found.is_external
    splits = pd.read_csv(run_folder / "splits.csv", dtype=str)
    test = set(splits.loc[splits["split"] == "test", "slide_id"])
    assert set(found.tiles["slide_id"]) <= test
    assert found.names["class_name"].isna().sum() == (found.labels < 0).sum()
    assert set(found.names["called"]) <= set(target.class_names)


def test_without_predictions_the_tiles_are_those_of_the_split(run):
    scored = open_held_out_tiles(run)
    shutil.rmtree(run / "evaluation")
    found = open_held_out_tiles(run)
    np.testing.assert_array_equal(found.rows, scored.rows)
    assert found.probabilities is None
    assert (found.called == -1).all()
    assert np.isnan(found.confidence).all()
    assert found.names["called"].isna().all()
    with pytest.raises(ManifestError, match=r"has no predictions\.parquet"):
        open_held_out_tiles(run, evaluation=run / "evaluation")


def test_each_tile_is_called_at_the_threshold_of_its_fold(run):
    found = open_held_out_tiles(run)
    folds = np.arange(len(found.rows)) % 2
    own = tuple(FoldCard(tile_threshold=value) for value in (0.0, 1.1))
    model = replace(found.model, card=replace(found.card, folds=own))
    changed = replace(found, model=model, folds=folds)
    np.testing.assert_array_equal(changed.called, 1 - folds)


def test_tiles_that_have_moved_are_named(run, tile_folder, tmp_path):
    record = json.loads((run / "run.json").read_text())
    record["notes"]["tiles"] = str(tmp_path / "gone")
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(ManifestError, match="its tiles are no longer in"):
        open_held_out_tiles(run)
    assert len(open_held_out_tiles(run, tiles=tile_folder).rows)


def test_other_tiles_and_other_models_are_refused(run, odd_patches):
    with pytest.raises(ManifestError, match="are not those that were scored"):
        open_held_out_tiles(run, tiles=odd_patches)
    with (run / "model.onnx").open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(ModelError, match="was scored by another model"):
        open_held_out_tiles(run)
    shutil.rmtree(run / "evaluation")
    splits = pd.read_csv(run / "splits.csv", dtype=str)
    splits.assign(split="train").to_csv(run / "splits.csv", index=False)
    with pytest.raises(ManifestError, match=r"holds no tile that .* held out"):
        open_held_out_tiles(run)


def test_predictions_of_other_classes_are_refused(run):
    path = run / "evaluation" / "predictions.parquet"
    table, target = read_predictions(path)
    others = Classes(("a", "b"))
    table = table.rename(columns=dict(zip(target.columns, others.columns, strict=True)))
    write_predictions(path, table, others)
    with pytest.raises(ModelError, match="is of the classes a, b"):
        open_held_out_tiles(run)


def test_another_cohort_is_held_out_by_every_fold(run, tmp_path):
    from eosin.cohorts import make_phantom_cohort
    from eosin.settings import TilingSettings
    from eosin.workflows.tile import tile_cohort

    other = make_phantom_cohort(
        tmp_path / "other", seed=9, n_patients=2, n_new=0, size_px=(512, 512)
    )
    table = pd.read_csv(other.table)
    for name in ("slide_id", "patient_id"):
        if name in table:
            table[name] = "other-" + table[name].astype(str)
    table.to_csv(other.table, index=False)
    tile_cohort(other.table, tmp_path / "tiles", TilingSettings(mpp=1.0, tile_px=64))
    evaluate(run, on=tmp_path / "tiles", out=tmp_path / "external", n_bootstrap=20)
    found = open_held_out_tiles(run, evaluation=tmp_path / "external")
    assert found.is_external
    assert (found.folds == EVERY_FOLD).all()
    assert found.folder.path == tmp_path / "tiles"
    assert found.called.shape == found.labels.shape
