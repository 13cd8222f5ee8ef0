"""The aggregators that eosin knows, and what must be known of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from eosin.core import ConfigError, suggest
from eosin.models.aggregators.additive_attention import AdditiveAttentionAggregator
from eosin.models.aggregators.aggregator import Aggregator
from eosin.models.aggregators.attention import AttentionAggregator
from eosin.models.aggregators.clam_mb import CLAMMB
from eosin.models.aggregators.clam_sb import CLAMSB
from eosin.models.aggregators.concat40 import Concat40
from eosin.models.aggregators.dsmil import DSMIL
from eosin.models.aggregators.gated_attention import GatedAttentionAggregator
from eosin.models.aggregators.likelihood_ratio import LikelihoodRatioAggregator
from eosin.models.aggregators.linear_probe import LinearProbe
from eosin.models.aggregators.log_sum_exp import LogSumExpAggregator
from eosin.models.aggregators.max import MaxAggregator
from eosin.models.aggregators.mean import MeanAggregator
from eosin.models.aggregators.noisy_or import NoisyOrAggregator
from eosin.models.aggregators.top_k_mean import TopKMeanAggregator
from eosin.models.aggregators.transmil import TransMIL


@dataclass(frozen=True, kw_only=True)
class AggregatorSpec:
    """What one method is.

    Attributes:
        name: Its name on the command line and in cards.
        layer: Its class.
        has_instance_logits: Whether it scores instances.
        has_projection: Whether a layer that learns comes before it.
        is_order_free: Whether the order of the instances plays no part.
        n_instances: The only bag size that it takes. None means any.
    """

    name: str
    layer: type[Aggregator]
    has_instance_logits: bool = True
    has_projection: bool = True
    is_order_free: bool = True
    n_instances: int | None = None


_SPECS = (
    AggregatorSpec(name="linear_probe", layer=LinearProbe, has_projection=False),
    AggregatorSpec(name="mean", layer=MeanAggregator),
    AggregatorSpec(name="max", layer=MaxAggregator),
    AggregatorSpec(name="top_k_mean", layer=TopKMeanAggregator),
    AggregatorSpec(name="log_sum_exp", layer=LogSumExpAggregator),
    AggregatorSpec(name="noisy_or", layer=NoisyOrAggregator),
    AggregatorSpec(name="likelihood_ratio", layer=LikelihoodRatioAggregator),
    AggregatorSpec(name="attention", layer=AttentionAggregator),
    AggregatorSpec(name="gated_attention", layer=GatedAttentionAggregator),
    AggregatorSpec(name="additive_attention", layer=AdditiveAttentionAggregator),
    AggregatorSpec(name="clam_sb", layer=CLAMSB),
    AggregatorSpec(name="clam_mb", layer=CLAMMB),
    AggregatorSpec(name="dsmil", layer=DSMIL),
    AggregatorSpec(name="transmil", layer=TransMIL, has_instance_logits=False),
    AggregatorSpec(
        name="concat40",
        layer=Concat40,
        has_instance_logits=False,
        is_order_free=False,
        n_instances=Concat40.n_instances,
    ),
)

AGGREGATORS: Mapping[str, AggregatorSpec] = MappingProxyType(
    {spec.name: spec for spec in _SPECS}
)
"""Every method by its name; what is added here is tested by the contract test."""


def find_aggregator(name: str) -> AggregatorSpec:
    """Look a method up by its name.

    Raises:
        ConfigError: No method has this name.
    """
    if name not in AGGREGATORS:
        raise ConfigError(
            f"aggregator must be one of {', '.join(AGGREGATORS)}; got '{name}'"
            f"{suggest(name, AGGREGATORS)}"
        )
    return AGGREGATORS[name]
