"""Bags of instances: one slide's or one patient's features, made, stored and padded."""

from eosin.bags.bag import Bag, FeatureArray, check_bags
from eosin.bags.batching import (
    InstanceSampling,
    PaddedBatch,
    plan_batches,
    read_batch,
)

__all__ = [
    "Bag",
    "FeatureArray",
    "InstanceSampling",
    "PaddedBatch",
    "check_bags",
    "plan_batches",
    "read_batch",
]
