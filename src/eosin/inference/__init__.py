"""Finished models: run by ONNX Runtime, without Keras."""

from eosin.inference.encoder_graphs import Head, hash_encoder
from eosin.inference.encoding import (
    VIEW_SETS,
    AugmentTiles,
    TileModel,
    encode_tiles,
    find_views,
    read_encoded,
)
from eosin.inference.model_card import (
    CARD_FILE,
    ModelCard,
    hash_models,
    read_card,
)
from eosin.inference.read_ahead import ReadTiles, iter_read_ahead
from eosin.inference.sessions import Device, Session, open_session
from eosin.inference.tile_scores import TileScores, score_tiles

__all__ = [
    "CARD_FILE",
    "VIEW_SETS",
    "AugmentTiles",
    "Device",
    "Head",
    "ModelCard",
    "ReadTiles",
    "Session",
    "TileModel",
    "TileScores",
    "encode_tiles",
    "find_views",
    "hash_encoder",
    "hash_models",
    "iter_read_ahead",
    "open_session",
    "read_card",
    "read_encoded",
    "score_tiles",
]
