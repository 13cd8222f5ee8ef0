import numpy as np
from scipy.special import softmax

from eosin.models.aggregators.self_attention import (
    ClassTokenAttention,
    LandmarkSelfAttention,
)

HEADS, WIDTH = 2, 3


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
