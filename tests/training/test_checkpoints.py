import numpy as np
import pytest

from eosin.core import RunError
from eosin.models.keras_backend import keras
from eosin.training.checkpoints import (
    Checkpoint,
    put_arrays,
    read_checkpoint,
    reset_dropout,
    take_arrays,
    write_checkpoint,
)
from eosin.training.history import EpochMetrics


@pytest.fixture
def checkpoint():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 2)).astype("float32"), np.array(7, "int64")]
    rows = (EpochMetrics("head", 1, 1e-3, 1 / 3, 0.1 + 0.2, None, 1.5),)
    return Checkpoint("abc", rows, arrays, arrays[::-1], arrays[:1])


def test_a_checkpoint_comes_back_bit_for_bit(checkpoint, tmp_path):
    path = tmp_path / "été" / "head.checkpoint.npz"
    write_checkpoint(path, checkpoint)
    loaded = read_checkpoint(path, "abc")
    assert loaded.epochs == checkpoint.epochs
    for group in ("weights", "optimiser", "best"):
        pairs = zip(getattr(loaded, group), getattr(checkpoint, group), strict=True)
        for actual, expected in pairs:
            assert actual.dtype == expected.dtype
            np.testing.assert_array_equal(actual, expected)


def test_no_file_is_no_checkpoint(tmp_path):
    assert read_checkpoint(tmp_path / "none.npz", "abc") is None


def test_the_checkpoint_of_another_training_is_refused(checkpoint, tmp_path):
    path = tmp_path / "c.npz"
    write_checkpoint(path, checkpoint)
    with pytest.raises(RunError, match="other settings"):
        read_checkpoint(path, "other")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "c.npz"
    path.write_bytes(content)
    with pytest.raises(RunError, match="delete it to start this stage anew"):
        read_checkpoint(path, "abc")


def test_a_failed_write_leaves_the_older_checkpoint(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    write_checkpoint(path, checkpoint)

    def fail(stream, **arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(RunError, match="No space left on device"):
        write_checkpoint(path, checkpoint)
    assert read_checkpoint(path, "abc") is not None
    assert [p.name for p in tmp_path.iterdir()] == ["c.npz"]


def test_taken_arrays_do_not_follow_their_variables(make_classifier):
    weights = make_classifier().weights
    taken = take_arrays(weights)
    kept = [array.copy() for array in taken]
    for variable in weights:
        variable.assign(variable + 1.0)
    for a, b in zip(taken, kept, strict=True):
        np.testing.assert_array_equal(a, b)
    put_arrays(weights, taken)
    for a, b in zip(take_arrays(weights), kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_depends_on_the_seed_and_the_epoch_alone():
    inputs = keras.Input((50,))
    model = keras.Model(inputs, keras.layers.Dropout(0.5, seed=3)(inputs))
    ones = np.ones((1, 50), "float32")

    def drop(seed, epoch):
        reset_dropout(model, seed=seed, epoch=epoch)
        return keras.ops.convert_to_numpy(model(ones, training=True)).tolist()

    assert drop(1, 2) == drop(1, 2)
    assert drop(1, 2) != drop(1, 3)
    assert drop(1, 2) != drop(2, 2)
