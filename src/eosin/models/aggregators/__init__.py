"""From the instances of a bag to its logits, one method per file."""

from eosin.models.aggregators.aggregator import Aggregator
from eosin.models.aggregators.registry import (
    AGGREGATORS,
    AggregatorSpec,
    find_aggregator,
)

__all__ = [
    "AGGREGATORS",
    "Aggregator",
    "AggregatorSpec",
    "find_aggregator",
]
