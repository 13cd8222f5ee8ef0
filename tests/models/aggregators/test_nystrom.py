import numpy as np
import pytest
from scipy.special import softmax

from eosin.models.aggregators.nystrom import (
    assign_landmarks,
    attend_by_landmarks,
    invert,
)
from eosin.models.keras_backend import keras

ops = keras.ops


def _draw(rng, *shape, scale=1.0):
    return (scale * rng.normal(size=shape)).astype(np.float32)


def test_with_a_landmark_for_every_token_attention_is_exact(rng):
    queries, keys = (_draw(rng, 2, 3, 6, 4, scale=1.5) for _ in range(2))
    values = _draw(rng, 2, 3, 6, 4)
    mask = np.array([[True] * 6, [True] * 4 + [False] * 2])
    assignment = assign_landmarks(_draw(rng, 2, 6), mask, 8)
    found = np.asarray(
        attend_by_landmarks(
            queries, keys, values, assignment, ops.convert_to_tensor(mask), n_steps=40
        )
    )
    for row, size in enumerate((6, 4)):
        real = np.s_[row, :, :size]
        scores = queries[real] @ keys[real].swapaxes(-1, -2)
        expected = softmax(scores, axis=-1) @ values[real]
        np.testing.assert_allclose(found[real], expected, atol=2e-3)


def test_with_few_landmarks_attention_is_near(rng):
    queries, keys = (_draw(rng, 1, 1, 200, 4, scale=0.3) for _ in range(2))
    values = _draw(rng, 1, 1, 200, 4)
    mask = np.ones((1, 200), bool)
    found = attend_by_landmarks(
        queries,
        keys,
        values,
        assign_landmarks(keys[:, 0, :, 0], mask, 16),
        ops.convert_to_tensor(mask),
        n_steps=6,
    )
    expected = softmax(queries @ keys.swapaxes(-1, -2), axis=-1) @ values
    # Attention is flat here, so all outputs lie near the mean of the values.
    assert np.abs(np.asarray(found) - expected).max() < 0.05


def test_inversion_gives_numpys_pseudo_inverse(rng):
    matrices = softmax(_draw(rng, 2, 5, 5, scale=2.0), axis=-1)
    matrices[1, 4:] = matrices[1, :, 4:] = 0
    found = np.asarray(invert(ops.convert_to_tensor(matrices), 30))
    expected = np.linalg.pinv(matrices.astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("n_landmarks", [2, 3, 8])
def test_landmarks_take_runs_of_like_tokens(n_landmarks):
    similarity = np.array([[0.1, 0.9, 0.5, 0.7, 0.3, 5.0]], np.float32)
    mask = np.array([[True] * 5 + [False]])
    found = np.asarray(assign_landmarks(similarity, mask, n_landmarks))
    assert found.shape == (1, 6, n_landmarks)
    assert (found[0, 5] == 0).all()
    owner = found[0, :5].argmax(axis=1)
    # Ranks from the highest: 4, 0, 2, 1, 3.
    ranks = np.array([4, 0, 2, 1, 3])
    np.testing.assert_array_equal(owner, ranks * min(5, n_landmarks) // 5)
    np.testing.assert_array_equal(found[0, :5].sum(axis=1), 1)
