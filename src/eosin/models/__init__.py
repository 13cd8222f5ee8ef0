"""Encoders, tile classifiers and their export; Keras is imported here."""

from eosin.models.encoders import build_encoder
from eosin.models.keras_backend import has_gpu
from eosin.models.onnx_export import ExportedModel, export_onnx
from eosin.models.preprocessing import Preprocessing
from eosin.models.registry import ENCODERS, EncoderSpec, find_encoder
from eosin.models.splitting import Depth, build_stem, hash_weights, split_model
from eosin.models.tile_classifiers import (
    build_classifier,
    load_classifier,
    save_classifier,
)

__all__ = [
    "ENCODERS",
    "Depth",
    "EncoderSpec",
    "ExportedModel",
    "Preprocessing",
    "build_classifier",
    "build_encoder",
    "build_stem",
    "export_onnx",
    "find_encoder",
    "has_gpu",
    "hash_weights",
    "load_classifier",
    "save_classifier",
    "split_model",
]
