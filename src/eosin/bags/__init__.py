"""Bags of instances: one slide's or one patient's features, made, stored and padded."""

from eosin.bags.bag import Bag, FeatureArray, check_bags
from eosin.bags.batching import (
    FeatureScale,
    InstanceSampling,
    PaddedBatch,
    plan_batches,
    read_batch,
)
from eosin.bags.features import FeatureFile, FeatureInfo, read_key, write_features
from eosin.bags.reading import (
    find_feature_files,
    join_patients,
    read_bags,
    read_slide_bag,
)

__all__ = [
    "Bag",
    "FeatureArray",
    "FeatureFile",
    "FeatureInfo",
    "FeatureScale",
    "InstanceSampling",
    "PaddedBatch",
    "check_bags",
    "find_feature_files",
    "join_patients",
    "plan_batches",
    "read_bags",
    "read_batch",
    "read_key",
    "read_slide_bag",
    "write_features",
]
