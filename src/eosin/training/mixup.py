"""Mixup: tiles and labels blended in pairs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def mix_batch(
    inputs: NDArray[Any],
    targets: Floats,
    weights: Floats,
    *,
    alpha: float,
    rng: np.random.Generator,
) -> tuple[Floats, Floats, Floats]:
    """Blend every tile of a batch with another of it (Zhang et al., 2018).

    Each tile's share of its blend is drawn from Beta(alpha, alpha): nearly all or
    nearly nothing for small values, anything alike for 1. The loss of a blend is
    that of its two parts, each by its share and its weight; this is exact for a
    cross entropy, which is linear in the target.

    Args:
        inputs: Tiles or features, `(tiles, ...)`.
        targets: As the loss takes them, `(tiles, outputs)`.
        weights: Each tile's factor in the loss, `(tiles,)`, above 0.
        alpha: Above 0.
        rng: Draws the pairs and the shares.

    Returns:
        Inputs, targets and weights, of the same shapes, float32.
    """
    n = len(inputs)
    partners = rng.permutation(n)
    shares: Floats = rng.beta(alpha, alpha, n).astype(np.float32)
    mine: Floats = shares * weights
    mixed_weights: Floats = mine + (1 - shares) * weights[partners]
    kept: Floats = (mine / mixed_weights)[:, None]
    return (
        _blend(inputs, partners, shares),
        kept * targets + (1 - kept) * targets[partners],
        mixed_weights,
    )


def _blend(inputs: NDArray[Any], partners: NDArray[np.int64], shares: Floats) -> Floats:
    values = inputs.astype(np.float32)
    column: Floats = shares.reshape(-1, *[1] * (inputs.ndim - 1))
    return column * values + (1 - column) * values[partners]
