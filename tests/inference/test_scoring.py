import shutil

import numpy as np
import pytest

from eosin.core import SlideError
from eosin.evaluation import compute_probabilities
from eosin.inference import Session, open_session, scoring
from eosin.inference.scoring import score_by_features, score_rows
from eosin.inference.store import find_encoded, open_encoded
from eosin.models import build_classifier, build_encoder, export_onnx
from eosin.tiles import TileReader
from eosin.tiles.folder import open_tile_folder


@pytest.fixture
def folder(tile_folder, tmp_path):
    """Tiles of which none was encoded before."""
    ignored = shutil.ignore_patterns("cache")
    return open_tile_folder(
        shutil.copytree(tile_folder, tmp_path / "tiles", ignore=ignored)
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two heads on one encoder, and one on another, as exported."""
    place = tmp_path_factory.mktemp("models")
    encoders = [
        build_encoder("smallcnn", tile_px=64, weights="none", seed=seed)
        for seed in (1, 2)
    ]
    paths = []
    for name, encoder in (("a", encoders[0]), ("b", encoders[0]), ("c", encoders[1])):
        head = build_classifier(encoder, n_classes=2, dropout=0.5, seed=len(paths))
        paths.append(place / f"{name}.onnx")
        export_onnx(head, paths[-1])
    return paths


@pytest.fixture
def seen(monkeypatch):
    """How many tiles went through each model."""
    counts = {}
    real = Session.run

    def run(self, tiles, **options):
        counts[self._path.name] = counts.get(self._path.name, 0) + len(tiles)
        return real(self, tiles, **options)

    monkeypatch.setattr(Session, "run", run)
    return counts


def require_same(found, expected):
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-6)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
    assert list(found.tiles["tile_id"]) == list(expected.tiles["tile_id"])
    assert found.n_unreadable == expected.n_unreadable


def test_scores_are_those_of_the_model_on_the_very_tiles(run_folder, tile_folder):
    folder = open_tile_folder(tile_folder)
    rows = folder.tiles.iloc[[5, 2, 9]]
    session = open_session(run_folder / "model.onnx")
    scored = score_rows(folder, rows, [session], temperature=2.0)
    with folder.open_reader() as reader:
        logits = session.run(reader.read(np.array([5, 2, 9])))["logits"]
    np.testing.assert_allclose(scored.logits, logits, rtol=1e-5)
    np.testing.assert_allclose(
        scored.probabilities, compute_probabilities(logits, 2.0), rtol=1e-5
    )
    assert list(scored.tiles["tile_id"]) == list(rows["tile_id"])
    assert scored.n_unreadable == 0


def test_an_ensemble_on_one_encoder_runs_it_once(folder, models, seen, monkeypatch):
    monkeypatch.setattr(scoring, "_BLOCK", 8)
    tiles = folder.tiles.iloc[[9, 3, *range(20, 50)]]
    found = score_by_features(folder, tiles, models[:2], views=2, temperature=2.0)
    assert seen == {"a.onnx": 2 * len(tiles)}
    sessions = [open_session(path) for path in models[:2]]
    require_same(found, score_rows(folder, tiles, sessions, views=2, temperature=2.0))


def test_models_of_several_encoders_are_run_as_they_are(folder, models, seen):
    tiles = folder.tiles.iloc[:20]
    found = score_by_features(folder, tiles, models)
    assert seen == {"a.onnx": 20, "b.onnx": 20, "c.onnx": 20}
    require_same(found, score_rows(folder, tiles, [open_session(p) for p in models]))
    # Neither is one model whose encoder nobody ran before.
    score_by_features(folder, tiles, models[:1])
    assert not (folder.path / "cache").exists()


def test_a_tile_that_cannot_be_read_costs_itself_only(folder, models, monkeypatch):
    tiles = folder.tiles.iloc[:12]
    damaged = set(tiles["tile_id"].iloc[[4, 7]])
    real = TileReader.read

    def read(self, rows):
        if damaged & set(self._ids[np.asarray(rows)]):
            raise SlideError("damaged")
        return real(self, rows)

    def listen(self, tiles, *arguments, **options):
        real_init(self, tiles, *arguments, **options)
        self._ids = tiles["tile_id"].to_numpy()

    real_init = TileReader.__init__
    monkeypatch.setattr(TileReader, "__init__", listen)
    monkeypatch.setattr(TileReader, "read", read)
    sessions = [open_session(path) for path in models[:2]]
    expected = score_rows(folder, tiles, sessions)
    assert expected.n_unreadable == 2
    require_same(score_by_features(folder, tiles, models[:2]), expected)
    # Also where some of them are known already.
    known = np.array([0, 1, 4])
    encoded = find_encoded(folder, graph=open_session(models[0]).encoder_hash)
    with folder.open_reader() as reader:
        monkeypatch.setattr(TileReader, "read", real)
        features = sessions[0].run(reader.read(known))["features"]
        monkeypatch.setattr(TileReader, "read", read)
    encoded.put(known, 1, features[None])
    found = score_by_features(folder, tiles, models[:2])
    assert found.n_unreadable == 1
    assert len(found.tiles) == 11


@pytest.mark.parametrize("is_known", [False, True])
def test_a_folder_that_cannot_be_written_to_is_scored_all_the_same(
    folder, models, monkeypatch, is_known
):
    tiles = folder.tiles.iloc[:10]
    if is_known:
        score_by_features(folder, tiles.iloc[:4], models[:2])
        monkeypatch.setattr("os.access", lambda *a: False)
    else:

        def refuse(*arguments, **options):
            raise PermissionError

        monkeypatch.setattr(scoring, "open_encoded", refuse)
    found = score_by_features(folder, tiles, models[:2])
    sessions = [open_session(path) for path in models[:2]]
    require_same(found, score_rows(folder, tiles, sessions))


def test_features_that_are_there_are_taken(folder, models, seen):
    graph = open_session(models[0]).encoder_hash
    n_features = open_session(models[0]).outputs["features"][0]
    encoded = open_encoded(folder, encoder="made", graph=graph, dimension=n_features)
    tiles = folder.tiles.iloc[:6]
    encoded.put(np.arange(6), 1, np.zeros((1, 6, n_features), np.float32))
    # Of no features the logit is the bias, which starts from 0.
    found = score_by_features(folder, tiles, models[:1])
    np.testing.assert_array_equal(found.logits, 0)
    np.testing.assert_array_equal(found.probabilities, 0.5)
    assert seen == {}
