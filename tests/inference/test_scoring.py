import time

import numpy as np
import pytest

from eosin.core import ModelError, RunError, SlideError, Task
from eosin.inference import open_session, score_tiles, scoring
from eosin.inference.scoring import score_by_features, score_rows
from eosin.inference.store import EncodedTiles, find_encoded, open_encoded
from eosin.models import build_classifier, build_encoder, export_onnx
from eosin.tiles import TileReader, apply_view
from eosin.tiles.folder import open_tile_folder


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Counter(Task):
    def __init__(self):
        self.n = 0

    def advance(self, n=1, note=""):
        del note
        self.n += n


@pytest.fixture
def score(tiles):
    """Score some tiles, of which some may be bad."""

    def go(n, *sessions, bad=(), **options):
        def read(rows):
            if set(rows.tolist()) & set(bad):
                raise SlideError("damaged")
            return tiles[rows]

        return score_tiles(read, n, sessions, **options)

    return go


def test_probabilities_are_those_of_arithmetic(score, session, true_features):
    task = Counter()
    scores = score(150, session, temperature=0.5, batch=32, task=task)
    logits = 2 * true_features[:, 0] - 1
    np.testing.assert_allclose(scores.logits[:, 0], logits, atol=1e-6)
    np.testing.assert_allclose(
        scores.probabilities[:, 1], sigmoid(logits / 0.5), atol=1e-6
    )
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1)
    assert (scores.n_unreadable, task.n) == (0, 150)


def test_several_classes_get_a_softmax(score, open_model, true_features):
    scores = score(20, open_model(n=3, gain=4.0))
    weights = np.exp(4 * true_features[:20])
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-6)


def test_huge_logits_give_no_nan_and_nan_is_no_unreadable_tile(score, open_model):
    scores = score(4, open_model(gain=0.0, bias=-5000.0))
    np.testing.assert_array_equal(scores.probabilities, [[1, 0]] * 4)
    scores = score(4, open_model(bias=np.nan))
    assert np.isnan(scores.logits).all()
    assert scores.n_unreadable == 0


def test_an_ensemble_averages_probabilities_not_logits(score, open_model):
    models = [open_model(gain=0.0, bias=bias) for bias in (-4.0, 1.0)]
    scores = score(3, *models)
    expected = (sigmoid(-4.0) + sigmoid(1.0)) / 2
    np.testing.assert_allclose(scores.probabilities[:, 1], expected)
    np.testing.assert_allclose(scores.logits, -1.5)


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_each_view_is_scored_once(score, session, tiles, views, monkeypatch):
    seen = []
    run = session.run

    def watch(part, *, batch):
        seen.append(part)
        return run(part, batch=batch)

    monkeypatch.setattr(session, "run", watch)
    score(5, session, views=views)
    assert len(seen) == len({part.tobytes() for part in seen}) == views
    every = {apply_view(tiles[:5], view).tobytes() for view in range(8)}
    assert {part.tobytes() for part in seen} <= every


@pytest.mark.parametrize("bad", [{0}, {64}, {3, 4, 5, 6}, {0, 1, 2, 3, 33, 64}])
def test_a_bad_tile_costs_itself_only(score, session, true_features, bad):
    # Row 64 is alone in its batch, and a batch of four may be all bad.
    scores = score(65, session, bad=bad, batch=4)
    is_bad = np.isin(np.arange(65), list(bad))
    np.testing.assert_array_equal(np.isnan(scores.probabilities).all(axis=1), is_bad)
    np.testing.assert_array_equal(np.isnan(scores.logits).all(axis=1), is_bad)
    expected = 2 * true_features[:65, 0] - 1
    np.testing.assert_allclose(scores.logits[~is_bad, 0], expected[~is_bad], atol=1e-6)
    assert scores.n_unreadable == len(bad)


def test_a_slide_without_one_readable_tile_and_other_errors_are_told(score, session):
    with pytest.raises(SlideError, match="damaged"):
        score(9, session, bad=range(9), batch=4)

    def read(rows):
        raise OSError(len(rows))

    with pytest.raises(OSError, match="3"):
        score_tiles(read, 3, [session])


def test_no_tiles_give_empty_scores(score, session):
    scores = score(0, session)
    assert scores.logits.shape == (0, 1)
    assert scores.probabilities.shape == (0, 2)
    assert scores.n_unreadable == 0


def test_wrong_calls_are_refused(score, session, tiles, open_model, monkeypatch):
    with pytest.raises(ValueError, match="got none"):
        score(3)
    with pytest.raises(ValueError, match="1, 2, 4 or 8, got 3"):
        score(3, session, views=3)
    with pytest.raises(ValueError, match="40 rows must give as many tiles, got 1"):
        score_tiles(lambda rows: tiles[rows[:1]], 40, [session])
    for options in ({"n": 3}, {"px": 8}):
        other = open_model(**options)
        for models in ([session, other], [other, session]):
            with pytest.raises(ModelError, match="one size and the same classes"):
                score(3, *models)
    monkeypatch.setattr(other, "outputs", {"features": (3,)})
    with pytest.raises(ModelError, match="'logits'; this one gives features"):
        score(3, session, other)


def test_reading_and_the_model_overlap(session, tiles, monkeypatch):
    """Sleeping stands for work, so that the machine's load does not matter."""
    run = session.run

    def slow_run(part, *, batch):
        time.sleep(0.03)
        return run(part, batch=batch)

    def slow_read(rows):
        time.sleep(0.03)
        return tiles[rows]

    monkeypatch.setattr(session, "run", slow_run)
    started = time.monotonic()
    score_tiles(slow_read, 150, [session], batch=10)
    # One after the other would take 15 * 0.06 = 0.9 s at the least.
    assert time.monotonic() - started < 0.8


# Tiles of a folder, by features that are known


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
def folder(own_tiles):
    return open_tile_folder(own_tiles)


@pytest.fixture
def seen(counting):
    """How many tiles went through each model."""
    with counting() as counts:
        yield counts


def require_same(folder, tiles, models, **options):
    """Require that features give what the models give of every tile as it is."""
    found = score_by_features(folder, tiles, models, **options)
    expected = score_rows(folder, tiles, [open_session(p) for p in models], **options)
    is_read = np.isfinite(expected.logits[:, 0])
    np.testing.assert_allclose(found.logits, expected.logits[is_read], atol=1e-6)
    np.testing.assert_allclose(
        found.probabilities, expected.probabilities[is_read], atol=1e-6
    )
    assert found.tiles["tile_id"].tolist() == tiles["tile_id"][is_read].tolist()
    assert found.n_unreadable == expected.n_unreadable


def test_an_ensemble_on_one_encoder_runs_it_once(folder, models, seen, monkeypatch):
    monkeypatch.setattr(scoring, "_BLOCK", 8)
    tiles = folder.tiles.iloc[[9, 3, *range(20, 50)]]
    score_by_features(folder, tiles, models[:2], views=2)
    assert seen == {"a.onnx": 2 * len(tiles)}
    require_same(folder, tiles, models[:2], views=2, temperature=2.0)


def test_models_of_several_encoders_are_run_as_they_are(folder, models, seen):
    tiles = folder.tiles.iloc[:20]
    score_by_features(folder, tiles, models)
    assert seen == {"a.onnx": 20, "b.onnx": 20, "c.onnx": 20}
    require_same(folder, tiles, models)
    # Neither is one model whose encoder nobody ran before.
    found = score_by_features(folder, tiles, models[:1])
    assert not (folder.path / "cache").exists()
    with folder.open_reader() as reader:
        logits = open_session(models[0]).run(reader.read(np.arange(20)))["logits"]
    np.testing.assert_allclose(found.logits, logits, rtol=1e-5)


def test_a_tile_that_cannot_be_read_costs_itself_only(folder, models, monkeypatch):
    tiles = folder.tiles.iloc[:12]
    damaged = set(tiles["tile_id"].iloc[[4, 7]])
    real, real_init = TileReader.read, TileReader.__init__

    def read(self, rows):
        if damaged & set(self._ids[np.asarray(rows)]):
            raise SlideError("damaged")
        return real(self, rows)

    def listen(self, tiles, *arguments, **options):
        real_init(self, tiles, *arguments, **options)
        self._ids = tiles["tile_id"].to_numpy()

    monkeypatch.setattr(TileReader, "__init__", listen)
    monkeypatch.setattr(TileReader, "read", read)
    require_same(folder, tiles, models[:2])
    # Also where some of them are known already, or all others are bad.
    session = open_session(models[0])
    encoded = find_encoded(folder, graph=session.encoder_hash)
    features = session.run(np.zeros((3, 64, 64, 3), np.uint8))["features"]
    encoded.put(np.array([0, 1, 4]), 1, features[None])
    for rows, n_bad in ((range(12), 1), ([0, 7], 1), ([0, 4], 0)):
        found = score_by_features(folder, tiles.iloc[rows], models[:2])
        assert (found.n_unreadable, len(found.tiles)) == (n_bad, len(rows) - n_bad)


@pytest.mark.parametrize("what", ["folder", "store", "features"])
def test_what_cannot_be_written_or_is_gone_costs_time_only(
    folder, models, monkeypatch, what
):
    def refuse(*arguments, **options):
        raise (RunError("deleted") if what == "features" else PermissionError)

    tiles = folder.tiles.iloc[:10]
    if what == "folder":
        monkeypatch.setattr(scoring, "open_encoded", refuse)
    else:
        score_by_features(folder, tiles.iloc[:4], models[:2])
    if what == "store":
        monkeypatch.setattr("os.access", lambda *a: False)
    if what == "features":
        monkeypatch.setattr(EncodedTiles, "read", refuse)
    require_same(folder, tiles, models[:2])


def test_features_that_are_there_are_taken(folder, models, seen):
    session = open_session(models[0])
    (n_features,) = session.outputs["features"]
    encoded = open_encoded(
        folder, encoder="made", graph=session.encoder_hash, dimension=n_features
    )
    encoded.put(np.arange(6), 1, np.zeros((1, 6, n_features), np.float32))
    # Of no features the logit is the bias, which starts from 0.
    found = score_by_features(folder, folder.tiles.iloc[:6], models[:1])
    np.testing.assert_array_equal(found.logits, 0)
    np.testing.assert_array_equal(found.probabilities, 0.5)
    assert seen == {}
