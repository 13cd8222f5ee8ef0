"""Encoders: from raw tiles to a feature map."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eosin.core import ConfigError, ModelError
from eosin.models.keras_backend import keras
from eosin.models.preprocessing import preprocess
from eosin.models.registry import EncoderSpec, find_encoder
from eosin.models.weights import load_weights


def build_encoder(
    name: str, *, tile_px: int, weights: str | Path = "imagenet", seed: int = 0
) -> Any:
    """Build an encoder that takes raw RGB and does its own preprocessing.

    Args:
        name: One of `ENCODERS`.
        tile_px: Width and height of the tiles, in pixels.
        weights: `imagenet` (downloaded once by Keras), `none` (random), or the
            path of a file.
        seed: Seed of the random weights.

    Returns:
        A `keras.Model` with the encoder's name, from `(batch, tile_px, tile_px,
        3)` in 0..255 (uint8 or float32) to the feature map `(batch, height,
        width, dimension)`.

    Raises:
        ConfigError: The encoder is unknown, or the tiles are too small for it.
        ModelError: The weights cannot be had or do not fit. Random weights
            never stand in for them.
    """
    spec = find_encoder(name)
    if tile_px < spec.min_tile_px:
        raise ConfigError(
            f"{name} needs tiles of at least {spec.min_tile_px} px, got {tile_px} px"
        )
    tiles = keras.Input((tile_px, tile_px, 3), name="tiles", dtype="float32")
    preprocessed = preprocess(tiles, spec.preprocessing)
    with _seeded_initialisers(seed):
        if weights == "imagenet":
            feature_map = _build_pretrained(spec, preprocessed)
        elif spec.imagenet_licence is None:
            feature_map = spec.build(preprocessed)
        else:
            feature_map = spec.build(preprocessed, None)
    encoder = keras.Model(tiles, feature_map, name=spec.name)
    if weights not in ("imagenet", "none"):
        load_weights(encoder, spec, Path(weights))
    return encoder


def _build_pretrained(spec: EncoderSpec, preprocessed: Any) -> Any:
    if spec.imagenet_licence is None:
        raise ModelError(
            f"nobody has published ImageNet weights of {spec.name}; use "
            "--weights none or another encoder"
        )
    try:
        return spec.build(preprocessed, "imagenet")
    except Exception as error:
        # Keras raises a bare Exception where a download fails.
        raise ModelError(
            f"the ImageNet weights of {spec.name} could not be downloaded ({error}); "
            "fetch its file without top (_notop.h5 or _no_top.h5) on a machine with "
            "network (Keras names its address above) and give it by --weights FILE, or "
            "train from scratch by --weights none"
        ) from error


@contextmanager
def _seeded_initialisers(seed: int) -> Iterator[None]:
    """Make initialisers and dropouts without a seed depend on `seed` only.

    They draw their seeds from Python's `random` when they are made. Its state
    is put back, so that nothing outside this block changes.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
