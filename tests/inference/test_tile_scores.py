import threading
import time

import numpy as np
import pytest

from eosin.core import ModelError, SlideError, Task
from eosin.inference import open_session, score_tiles
from eosin.tiles import apply_view


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Counter(Task):
    def __init__(self):
        self.n = 0

    def advance(self, n=1, note=""):
        del note
        self.n += n


def read_except(tiles, bad):
    def read(rows):
        if set(rows.tolist()) & set(bad):
            raise SlideError("damaged")
        return tiles[rows]

    return read


def test_probabilities_are_those_of_arithmetic(session, tiles, true_features):
    task = Counter()
    scores = score_tiles(
        lambda rows: tiles[rows], 150, [session], temperature=0.5, batch=32, task=task
    )
    logits = 2 * true_features[:, 0] - 1
    np.testing.assert_allclose(scores.logits[:, 0], logits, atol=1e-6)
    np.testing.assert_allclose(
        scores.probabilities[:, 1], sigmoid(logits / 0.5), atol=1e-6
    )
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1)
    assert (scores.n_unreadable, task.n) == (0, 150)


def test_several_classes_get_a_softmax(write_model, tmp_path, tiles, true_features):
    session = open_session(write_model(tmp_path / "m.onnx", n=3, gain=4.0))
    scores = score_tiles(lambda rows: tiles[rows], 20, [session])
    weights = np.exp(4 * true_features[:20])
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-6)


def test_huge_logits_give_no_nan(write_model, tmp_path, tiles):
    session = open_session(write_model(tmp_path / "m.onnx", gain=0.0, bias=-5000.0))
    scores = score_tiles(lambda rows: tiles[rows], 4, [session])
    np.testing.assert_array_equal(scores.probabilities, [[1, 0]] * 4)


def test_an_ensemble_averages_probabilities_not_logits(write_model, tmp_path, tiles):
    models = [
        open_session(write_model(tmp_path / f"{bias}.onnx", gain=0.0, bias=bias))
        for bias in (-4.0, 1.0)
    ]
    scores = score_tiles(lambda rows: tiles[rows], 3, models)
    expected = (sigmoid(-4.0) + sigmoid(1.0)) / 2
    np.testing.assert_allclose(scores.probabilities[:, 1], expected)
    np.testing.assert_allclose(scores.logits, -1.5)


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_each_view_is_scored_once(session, tiles, views, monkeypatch):
    seen = []
    run = session.run

    def watch(part, *, batch):
        seen.append(part)
        return run(part, batch=batch)

    monkeypatch.setattr(session, "run", watch)
    score_tiles(lambda rows: tiles[rows], 5, [session], views=views)
    assert len(seen) == len({part.tobytes() for part in seen}) == views
    every = {apply_view(tiles[:5], view).tobytes() for view in range(8)}
    assert {part.tobytes() for part in seen} <= every


@pytest.mark.parametrize("bad", [{0}, {64}, {3, 4, 5, 6}, {0, 1, 2, 3, 33, 64}])
def test_a_bad_tile_costs_itself_only(session, tiles, true_features, bad):
    # Row 64 is alone in its batch, and a batch of four may be all bad.
    scores = score_tiles(read_except(tiles, bad), 65, [session], batch=4)
    is_bad = np.isin(np.arange(65), list(bad))
    np.testing.assert_array_equal(np.isnan(scores.probabilities).all(axis=1), is_bad)
    np.testing.assert_array_equal(np.isnan(scores.logits).all(axis=1), is_bad)
    expected = 2 * true_features[:65, 0] - 1
    np.testing.assert_allclose(scores.logits[~is_bad, 0], expected[~is_bad], atol=1e-6)
    assert scores.n_unreadable == len(bad)


def test_a_slide_without_one_readable_tile_is_an_error(session, tiles):
    with pytest.raises(SlideError, match="damaged"):
        score_tiles(read_except(tiles, range(9)), 9, [session], batch=4)


def test_nan_from_the_model_is_not_an_unreadable_tile(write_model, tmp_path, tiles):
    session = open_session(write_model(tmp_path / "m.onnx", bias=np.nan))
    scores = score_tiles(lambda rows: tiles[rows], 4, [session])
    assert np.isnan(scores.logits).all()
    assert scores.n_unreadable == 0


def test_another_error_is_not_swallowed(session):
    def read(rows):
        raise OSError(len(rows))

    with pytest.raises(OSError, match="3"):
        score_tiles(read, 3, [session])


def test_no_tiles_give_empty_scores(session, tiles):
    scores = score_tiles(lambda rows: tiles[rows], 0, [session])
    assert scores.logits.shape == (0, 1)
    assert scores.probabilities.shape == (0, 2)
    assert scores.n_unreadable == 0


def test_wrong_calls_are_refused(session, tiles, write_model, tmp_path, monkeypatch):
    def read(rows):
        return tiles[rows]

    with pytest.raises(ValueError, match="got none"):
        score_tiles(read, 3, [])
    with pytest.raises(ValueError, match="1, 2, 4 or 8, got 3"):
        score_tiles(read, 3, [session], views=3)
    other = open_session(write_model(tmp_path / "m.onnx"))
    monkeypatch.setattr(other, "outputs", {"features": (3,)})
    with pytest.raises(ModelError, match="'logits'; this one gives features"):
        score_tiles(read, 3, [session, other])


@pytest.mark.parametrize("other", [{"n": 3}, {"px": 8}])
def test_models_that_do_not_fit_together_are_refused(
    session, tiles, write_model, tmp_path, other
):
    second = open_session(write_model(tmp_path / "m.onnx", **other))
    for models in ([session, second], [second, session]):
        with pytest.raises(ModelError, match="one size and the same classes"):
            score_tiles(lambda rows: tiles[rows], 3, models)


def test_a_reader_that_gives_too_few_tiles_is_an_error(session, tiles):
    with pytest.raises(ValueError, match="32 rows must give as many tiles, got 1"):
        score_tiles(lambda rows: tiles[rows[:1]], 40, [session])


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


def test_several_readers_read_at_once(session, tiles):
    meeting = threading.Barrier(3, timeout=5)

    def read(rows):
        if rows[0] < 30:
            meeting.wait()
        return tiles[rows]

    scores = score_tiles(read, 60, [session], batch=10, readers=3)
    assert np.isfinite(scores.logits).all()
