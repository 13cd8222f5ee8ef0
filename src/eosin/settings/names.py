"""Names that Keras would be needed to look up, and how negative classes are called.

What is registered in `eosin.models` must stand here, and the other way round; a test
holds both against each other.
"""

from collections.abc import Iterable, Mapping
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

_NEGATIVE_NAMES = frozenset(
    {
        *("0", "benign", "control", "healthy", "negative", "normal"),
        *("non-tumor", "non-tumour", "non_tumor", "non_tumour", "nontumor"),
    }
)


def put_negative_first(class_names: Iterable[str]) -> tuple[str, ...]:
    """Put the class called normal, benign or the like first, whatever its case.

    Where none is called so, the first one is the negative one.
    """
    names = tuple(class_names)
    negative = [
        name for name in names if " ".join(name.split()).casefold() in _NEGATIVE_NAMES
    ]
    return (*negative[:1], *(name for name in names if name not in negative[:1]))
