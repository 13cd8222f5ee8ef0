"""Names that need Keras to be looked up, in tables that need none.

What is registered in `eosin.models` must stand here, and the other way round; a test
holds both against each other.
"""

from collections.abc import Mapping
from types import MappingProxyType

KNOWN_ENCODERS: Mapping[str, bool] = MappingProxyType(
    {
        "xception": True,
        "mobilenetv2": True,
        "densenet121": True,
        "densenet169": True,
        "resnet50": True,
        "efficientnetv2b0": True,
        "convnexttiny": True,
        "smallcnn": False,
        "p4m_densenet": False,
    }
)
"""Of each encoder, whether there are ImageNet weights of it."""

KNOWN_AGGREGATORS: Mapping[str, int | None] = MappingProxyType(
    {
        "linear_probe": None,
        "mean": None,
        "max": None,
        "top_k_mean": None,
        "log_sum_exp": None,
        "noisy_or": None,
        "likelihood_ratio": None,
        "attention": None,
        "gated_attention": None,
        "additive_attention": None,
        "clam_sb": None,
        "clam_mb": None,
        "dsmil": None,
        "transmil": None,
        "concat40": 40,
    }
)
"""Of each aggregator, the only size of a bag that it takes; None takes any."""
