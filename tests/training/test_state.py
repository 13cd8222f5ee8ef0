import contextlib

import numpy as np
import pytest

from eosin.core import RunError
from eosin.models.keras_backend import keras
from eosin.training import EpochMetrics
from eosin.training.state import (
    Checkpoint,
    WeightAverage,
    put_arrays,
    read_checkpoint,
    reset_dropout,
    take_arrays,
    write_checkpoint,
)


@pytest.fixture
def checkpoint():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 2)).astype("float32"), np.array(7, "int64")]
    rows = (EpochMetrics("head", 1, 1e-3, 1 / 3, 0.1 + 0.2, None, 1.5),)
    return Checkpoint(rows, {"weights": arrays, "best": arrays[:1]})


def test_a_checkpoint_comes_back_bit_for_bit(checkpoint, tmp_path):
    path = tmp_path / "été" / "head.checkpoint.npz"
    write_checkpoint(path, checkpoint, "abc")
    loaded = read_checkpoint(path, "abc")
    assert loaded.epochs == checkpoint.epochs
    assert loaded.arrays.keys() == checkpoint.arrays.keys()
    for group, held in checkpoint.arrays.items():
        for actual, expected in zip(loaded.arrays[group], held, strict=True):
            assert actual.dtype == expected.dtype
            np.testing.assert_array_equal(actual, expected)


def test_no_file_is_no_checkpoint(tmp_path):
    assert read_checkpoint(tmp_path / "none.npz", "abc") is None


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "c.npz"
    path.write_bytes(content)
    with pytest.raises(RunError, match="delete it to start this stage anew"):
        read_checkpoint(path, "abc")


def test_a_failed_write_leaves_the_older_checkpoint(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "c.npz"
    write_checkpoint(path, checkpoint, "abc")

    def fail(stream, **arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(RunError, match="No space left on device"):
        write_checkpoint(path, checkpoint, "abc")
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


@pytest.fixture
def weight():
    return keras.Variable(np.array([10.0, -4.0], "float32"))


def _read(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


def _follow(average, weight, values):
    for value in values:
        weight.assign(np.array(value, "float32"))
        average.follow()


def test_the_average_is_that_of_the_hand(weight):
    average = WeightAverage([weight], 0.5)
    # It keeps 1/10, then 2/11, 3/12, ... and never more than a half: 9/18.
    expected, values = np.array([10.0, -4.0]), np.arange(24.0).reshape(12, 2)
    for n, value in enumerate(values, start=1):
        kept = min(0.5, n / (n + 9))
        expected = kept * expected + (1 - kept) * value
    assert 9 / 18 == 0.5 > 8 / 17
    _follow(average, weight, values)
    with average.swapped_in():
        np.testing.assert_allclose(_read(weight), expected, rtol=1e-5)
    np.testing.assert_array_equal(_read(weight), values[-1])


def test_the_weights_come_back_after_an_error(weight):
    average = WeightAverage([weight], 0.9)
    _follow(average, weight, [[1.0, 1.0], [2.0, 2.0]])
    with contextlib.suppress(KeyError), average.swapped_in():
        assert not np.array_equal(_read(weight), [2.0, 2.0])
        raise KeyError
    np.testing.assert_array_equal(_read(weight), [2.0, 2.0])


def test_an_average_goes_on_from_its_state_exactly(weight):
    values = np.random.default_rng(0).normal(size=(9, 2))
    unbroken, first = (WeightAverage([weight], 0.7) for _ in range(2))
    _follow(unbroken, weight, values)
    _follow(first, weight, values[:4])
    # Another start: all that counts must come from the state.
    second = WeightAverage([weight], 0.7)
    second.put_state(first.take_state())
    _follow(second, weight, values[4:])
    for a, b in zip(second.take_state(), unbroken.take_state(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_statistics_are_averaged_with_the_rest(make_classifier):
    classifier = make_classifier()
    average = WeightAverage(classifier.weights, 0.9)
    for variable in classifier.weights:
        variable.assign(variable + 1.0)
    average.follow()
    after = classifier.get_layer("block1_norm").get_weights()
    with average.swapped_in():
        # The first step keeps a tenth.
        for shown, array in zip(
            classifier.get_layer("block1_norm").get_weights(), after, strict=True
        ):
            np.testing.assert_allclose(shown, array - 0.1, atol=1e-6)
