"""What comes behind the scaling in a MIL model: projection, aggregator, columns."""

from collections.abc import Mapping
from typing import Any, Literal

from eosin.bags import ClinicalEncoding
from eosin.models.aggregators import find_aggregator
from eosin.models.attention import seed_dense
from eosin.models.clinical_head import ClinicalHead
from eosin.models.dense import Dense
from eosin.models.dropout import SeededDropout
from eosin.models.encoders import build_encoder
from eosin.models.keras_backend import keras
from eosin.models.tile_encoding import TileEncoding

MILPrecision = Literal["float32", "mixed_bfloat16", "mixed_float16"]

TILE_ENCODING = "tile_encoding"
# Of the places for seeds, the aggregator takes the first.
_PROJECTION_PLACE = 1000


def make_inputs(n_instances: int | None, dimension: int) -> tuple[Any, Any]:
    """Make the inputs of features and of their mask."""
    features = keras.Input((n_instances, dimension), name="features")
    return features, keras.Input((n_instances,), dtype="bool", name="mask")


def build_body(config: Mapping[str, Any]) -> Any:
    """Build what comes behind the scaling."""
    dimension, seed = config["dimension"], config["seed"]
    spec = find_aggregator(config["aggregator"])
    n_outputs = 1 if config["n_classes"] == 2 else config["n_classes"]
    layer = spec.layer(
        n_outputs,
        seed=seed,
        dtype=config["precision"],
        name="aggregator",
        **config["options"],
    )
    projection = _build_projection(config)
    scaled, mask = make_inputs(spec.n_instances, dimension)
    inputs, outputs = (
        {"features": scaled, "mask": mask},
        layer(projection(scaled), mask=mask),
    )
    if "clinical" in config:
        width = ClinicalEncoding.from_config(config["clinical"]).width
        inputs["clinical"] = keras.Input((width,), name="clinical")
        told = ClinicalHead(n_outputs, name="clinical_head")(inputs["clinical"])
        outputs = {**outputs, "logits": outputs["logits"] + told}
    return keras.Model(inputs, outputs, name="body")


def _build_projection(config: Mapping[str, Any]) -> Any:
    """Build what sees each instance by itself."""
    precision, seed = config["precision"], config["seed"]
    layers = []
    if encoder := config.get("encoder"):
        layers.append(
            TileEncoding(
                build_encoder(
                    encoder["name"],
                    tile_px=encoder["tile_px"],
                    weights="none",
                    seed=seed,
                ),
                name=TILE_ENCODING,
            )
        )
    layers += [
        Dense(
            width,
            "relu",
            dtype=precision,
            name=f"dense_{i}",
            **seed_dense(seed, _PROJECTION_PLACE + i),
        )
        for i, width in enumerate(config["widths"])
    ]
    if config["dropout"]:
        layers.append(
            SeededDropout(config["dropout"], seed=seed, dtype=precision, name="dropout")
        )
    inputs = keras.Input((None, config["dimension"]), name="instances")
    x = inputs
    for layer in layers or [keras.layers.Identity(dtype=precision)]:
        x = layer(x)
    return keras.Model(inputs, x, name="projection")
