"""Finished models: run by ONNX Runtime, without Keras."""

from eosin.inference.encoding import TileModel, encode_tiles, find_views, read_encoded
from eosin.inference.heads import BagHead, score_bag
from eosin.inference.read_ahead import ReadTiles, iter_read_ahead
from eosin.inference.scoring import TileScores, score_by_features, score_tiles
from eosin.inference.sessions import (
    Session,
    count_at_once,
    note_calls,
    open_session,
)
from eosin.inference.store import (
    CACHE_NAME,
    EncodedTiles,
    Part,
    find_encoded,
    list_parts,
    make_room,
    open_encoded,
)

__all__ = [
    "CACHE_NAME",
    "BagHead",
    "EncodedTiles",
    "Part",
    "ReadTiles",
    "Session",
    "TileModel",
    "TileScores",
    "count_at_once",
    "encode_tiles",
    "find_encoded",
    "find_views",
    "iter_read_ahead",
    "list_parts",
    "make_room",
    "note_calls",
    "open_encoded",
    "open_session",
    "read_encoded",
    "score_bag",
    "score_by_features",
    "score_tiles",
]
