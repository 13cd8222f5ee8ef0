"""Names that Keras would be needed to look up.

What is registered in `eosin.models` must stand here, and the other way round; a test
holds both against each other.
"""

from collections.abc import Mapping
from types import MappingProxyType

_PRETRAINED = (
    *("xception", "mobilenetv2", "densenet121", "densenet169", "resnet50"),
    *("efficientnetv2b0", "convnexttiny"),
)
KNOWN_ENCODERS: Mapping[str, bool] = MappingProxyType(
    {**dict.fromkeys(_PRETRAINED, True), "smallcnn": False, "p4m_densenet": False}
)
"""Of each encoder, whether there are ImageNet weights of it."""

_OF_ANY_BAG = (
    *("linear_probe", "mean", "max", "top_k_mean", "log_sum_exp", "noisy_or"),
    *("likelihood_ratio", "attention", "gated_attention", "additive_attention"),
    *("clam_sb", "clam_mb", "dsmil", "transmil"),
)
KNOWN_AGGREGATORS: Mapping[str, int | None] = MappingProxyType(
    {**dict.fromkeys(_OF_ANY_BAG), "concat40": 40}
)
"""Of each aggregator, the only size of a bag that it takes; None takes any."""
