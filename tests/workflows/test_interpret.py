import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from tests.workflows.patch_sets import make_kaggle

from eosin.core import (
    ManifestError,
    MissingExtraError,
    ModelError,
    RunError,
    SlideError,
)
from eosin.settings import (
    CleanSettings,
    ImportSettings,
    InterpretSettings,
    TileTraining,
)
from eosin.tiles import TileReader
from eosin.workflows import interpret as module
from eosin.workflows.clean import clean_tiles
from eosin.workflows.evaluate import evaluate
from eosin.workflows.import_patches import import_patches
from eosin.workflows.interpret import interpret
from eosin.workflows.train import train


@pytest.fixture(scope="module")
def interpreted(run_folder, evaluation_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("interpreted")
    return interpret(run_folder, out, InterpretSettings(shown=3))


def test_a_page_and_the_tables_behind_it_are_written(interpreted):
    folder = interpreted.folder
    assert interpreted.failures == ()
    assert interpreted.n_clusters >= 2
    page = (folder / "report.html").read_text()
    assert "tiles that training held out, the model called" in page
    maps = pd.read_csv(folder / "maps" / "maps.csv")
    assert len(maps) == interpreted.n_maps
    assert all((folder / "maps" / name).exists() for name in maps["file"])
    tiles = pd.read_csv(folder / "tiles.csv")
    assert len(tiles) == interpreted.n_tiles
    clusters = pd.read_csv(folder / "clusters.csv")
    assert clusters["tiles"].sum() == interpreted.n_tiles
    own = tiles[tiles["cluster"] == 1].dropna(subset="class_name")
    error_rate = (own["class_name"] != own["called"]).mean()
    assert clusters["error_rate"][0] == pytest.approx(error_rate, abs=1e-6)
    suspects = pd.read_csv(folder / "label_errors.csv")
    assert len(suspects) == interpreted.n_suspects
    assert {"feature-map.png", "cluster-1.csv"} <= {
        path.name for path in (folder / "figures").iterdir()
    }
    assert not (folder / "state").exists()


def test_a_second_call_finds_the_work_done(interpreted, run_folder, monkeypatch):
    monkeypatch.setattr(module, "map_classes", None)
    config = InterpretSettings(shown=3)
    assert interpret(run_folder, interpreted.folder, config) == interpreted
    other = InterpretSettings(shown=3, method="gradcam++")
    with pytest.raises(RunError, match="method was gradcam, is gradcam"):
        interpret(run_folder, interpreted.folder, other)


def test_without_predictions_there_are_clusters_only(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "evaluation", ignore_errors=True)
    result = interpret(tmp_path / "run", tmp_path / "out", InterpretSettings())
    assert (result.n_maps, result.n_suspects) == (0, 0)
    assert result.n_clusters >= 2
    assert "There are no held-out predictions" in result.cautions[0]
    assert "without predictions" in result.headline[0]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Without held-out predictions no label can be doubted" in page
    assert "makes the held-out predictions" in page
    suspects = pd.read_csv(tmp_path / "out" / "label_errors.csv")
    assert suspects.empty
    config = InterpretSettings(evaluation=str(tmp_path))
    with pytest.raises(ManifestError, match="name a folder of 'eosin evaluate'"):
        interpret(tmp_path / "run", tmp_path / "other", config)


def test_an_unknown_layer_is_refused(run_folder, evaluation_folder, tmp_path):
    config = InterpretSettings(layer="nonsense")
    with pytest.raises(ModelError, match="has no layer 'nonsense'"):
        interpret(run_folder, tmp_path / "out", config)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "failed"


@pytest.fixture(scope="module")
def centre_study(tmp_path_factory):
    """A small study of patches in Kaggle's layout, one of them labelled wrong."""
    root = tmp_path_factory.mktemp("centre")
    rng = np.random.default_rng(0)
    pixels = rng.normal(200, 12, (60, 96, 96, 3))
    pixels[1::2, 32:64, 32:64] -= 120
    make_kaggle(root / "set", np.clip(pixels, 0, 255).astype(np.uint8))
    import_patches(root / "set", root / "tiles", ImportSettings(layout="kaggle"))
    tune = {"tune_epochs": 4, "tune_learning_rate": 3e-3, "tune_batch": 8}
    config = TileTraining(encoder="smallcnn", weights="none", folds=2, **tune)
    train(root / "tiles", root / "run", config)
    evaluate(root / "run", n_bootstrap=20)
    return root


def test_folds_and_patches_whose_centre_counts(centre_study, tmp_path):
    config = InterpretSettings(shown=2, clusters=2, sample=40)
    result = interpret(centre_study / "run", tmp_path / "out", config)
    assert result.n_tiles == 60
    maps = pd.read_csv(tmp_path / "out" / "maps" / "maps.csv")
    assert set(maps["model"]) == {0, 1}
    assert maps["source"].str.endswith(".tif").all()
    assert "centre_share" in maps
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The label is that of the central 32 px (framed)" in page
    assert "Every fold has trained an encoder of its own" in page
    suspects = tmp_path / "out" / "label_errors.csv"
    config = CleanSettings(rules=("unreadable",), drop=str(suspects))
    cleaned = clean_tiles(centre_study / "tiles", tmp_path / "cleaned", config)
    assert cleaned.n_by_rule["listed"] == result.n_suspects


def test_tiles_that_cannot_be_read_are_named_once(
    run_folder, evaluation_folder, tmp_path, monkeypatch
):
    real = TileReader.read

    def read(self, rows):
        if 0 in rows.tolist():
            raise SlideError("damaged")
        return real(self, rows)

    monkeypatch.setattr(TileReader, "read", read)
    config = InterpretSettings(shown=40, per_slide=0)
    result = interpret(run_folder, tmp_path / "out", config)
    assert len(result.failures) == 1
    assert any("1 tiles or models could not be read" in c for c in result.cautions)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "incomplete"
    assert {"callers", "threads", "batch"} < record["notes"]["model_calls"].keys()


def test_other_features_are_another_interpretation(
    run_folder, evaluation_folder, tile_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "write_page", lambda *_: None)
    n = len(pd.read_parquet(tile_folder / "tiles.parquet"))
    features = np.random.default_rng(0).normal(size=(n, 4))
    np.save(tmp_path / "f.npy", features)
    config = InterpretSettings(features=str(tmp_path / "f.npy"), shown=1)
    interpret(run_folder, tmp_path / "out", config)
    np.save(tmp_path / "f.npy", features + 1)
    with pytest.raises(RunError, match="input features changed"):
        interpret(run_folder, tmp_path / "out", config)


def test_what_it_cannot_do_is_said_before_any_work(slides_run, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=r"'eosin predict' shows what .* attend to"):
        interpret(slides_run.path, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match="UMAP needs umap-learn"):
        interpret(tmp_path, tmp_path / "out", InterpretSettings(map="umap"))
    assert not (tmp_path / "out").exists()
