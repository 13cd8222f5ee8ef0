"""Encoders, tile classifiers and their export; Keras is imported here."""

from eosin.models.aggregators.registry import AGGREGATORS, find_aggregator
from eosin.models.encoders import build_encoder
from eosin.models.grad_cam import Variant, find_map, grad_cam
from eosin.models.keras_backend import has_gpu
from eosin.models.keras_files import save_model
from eosin.models.mil_export import check_mil_export, export_mil_model
from eosin.models.mil_models import (
    MILModel,
    build_mil_model,
    build_pixel_mil_model,
    load_mil_model,
)
from eosin.models.mil_prediction import predict_bags
from eosin.models.onnx_export import ExportedModel, export_onnx
from eosin.models.registry import ENCODERS, find_encoder
from eosin.models.splitting import Depth, build_stem, hash_weights, split_model
from eosin.models.tile_classifiers import (
    DROPOUT_LAYER,
    LOGITS_LAYER,
    build_classifier,
    load_classifier,
)
from eosin.models.torch_encoders import (
    TORCH_ENCODERS,
    TorchEncoder,
    TorchEncoderSpec,
    open_torch_encoder,
)

__all__ = [
    "AGGREGATORS",
    "DROPOUT_LAYER",
    "ENCODERS",
    "LOGITS_LAYER",
    "TORCH_ENCODERS",
    "Depth",
    "ExportedModel",
    "MILModel",
    "TorchEncoder",
    "TorchEncoderSpec",
    "Variant",
    "build_classifier",
    "build_encoder",
    "build_mil_model",
    "build_pixel_mil_model",
    "build_stem",
    "check_mil_export",
    "export_mil_model",
    "export_onnx",
    "find_aggregator",
    "find_encoder",
    "find_map",
    "grad_cam",
    "has_gpu",
    "hash_weights",
    "load_classifier",
    "load_mil_model",
    "open_torch_encoder",
    "predict_bags",
    "save_model",
    "split_model",
]
