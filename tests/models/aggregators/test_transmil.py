import numpy as np
import pytest
from scipy.special import softmax

from eosin.models.aggregators.transmil import (
    ClassTokenAttention,
    LandmarkSelfAttention,
    TransMIL,
    assign_landmarks,
    attend_by_landmarks,
    invert,
)
from eosin.models.keras_backend import keras

ops = keras.ops

HEADS, WIDTH = 2, 3


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


def _project(layer, tokens):
    """Queries, keys and values of each head, by NumPy."""
    for dense in (layer.query, layer.key, layer.value):
        flat = tokens @ dense.get_weights()[0]
        yield flat.reshape(*flat.shape[:2], HEADS, WIDTH).swapaxes(1, 2)


def test_the_class_token_attends_exactly(rng, run):
    tokens = rng.normal(size=(2, 5, 4)).astype(np.float32)
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    layer = ClassTokenAttention(HEADS * WIDTH, heads=HEADS, seed=1)
    pooled, shown = run(layer, tokens, mask)
    queries, keys, values = _project(layer, tokens)
    scores = np.einsum("bhw,bhtw->bht", queries[:, :, 0], keys) / np.sqrt(WIDTH)
    attention = softmax(np.where(mask[:, None], scores, -np.inf), axis=-1)
    merged = np.einsum("bht,bhtw->bhw", attention, values).reshape(2, -1)
    kernel, bias = layer.out.get_weights()
    np.testing.assert_allclose(pooled, merged @ kernel + bias, atol=1e-5)
    others = attention.mean(axis=1)[:, 1:]
    expected = others / others.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shown, expected, atol=1e-6)


def test_tokens_attend_to_one_another_by_landmarks(rng, run):
    tokens = (2 * rng.normal(size=(2, 40, 4))).astype(np.float32)
    layer = LandmarkSelfAttention(HEADS * WIDTH, heads=HEADS, landmarks=20, seed=1)
    found = run(layer, tokens, np.ones((2, 40), bool))
    queries, keys, values = _project(layer, tokens)
    scores = queries @ keys.swapaxes(-1, -2) / np.sqrt(WIDTH)
    attended = softmax(scores, axis=-1) @ values
    kernel, bias = layer.out.get_weights()
    expected = attended.swapaxes(1, 2).reshape(2, 40, -1) @ kernel + bias
    assert found.shape == (2, 40, 4)
    # An approximation: alike from token to token, not equal.
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9


def test_bags_larger_than_the_landmarks_do_not_mind_the_order(rng, run):
    features = rng.normal(size=(2, 150, 8)).astype(np.float32)
    mask = np.arange(150) < np.array([150, 120])[:, None]
    layer = TransMIL(1, units=16, heads=4, landmarks=8)
    expected = run(layer, features, mask)
    order = rng.permutation(150)
    found = run(layer, features[:, order], mask[:, order])
    np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-5)
    np.testing.assert_allclose(
        found["attention"], expected["attention"][:, order], atol=1e-5
    )


def test_instances_are_seen_together(bags, run):
    """A mean of instances' logits would not do this."""
    features, _ = bags
    layer = TransMIL(1, units=8, heads=2, landmarks=4)
    pair = np.stack([features[0, :2], features[0, 1:3], features[0, [0, 2]]])
    both = run(layer, pair)["logits"][:, 0]
    alone = run(layer, features[0, :3, None])["logits"][:, 0]
    means = (alone[[0, 1, 0]] + alone[[1, 2, 2]]) / 2
    assert np.abs(both - means).max() > 1e-3
