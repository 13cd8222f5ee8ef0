"""Bags of instances: one slide's or one patient's features, made, stored and padded."""

from eosin.bags.bag import Bag, BagScores, FeatureArray, check_bags, require_features
from eosin.bags.batching import (
    FeatureScale,
    InstanceSampling,
    PaddedBatch,
    plan_batches,
    read_batch,
    require_size,
)
from eosin.bags.clinical import (
    ClinicalColumn,
    ClinicalEncoding,
    ClinicalValues,
    ColumnKind,
    caution_clinical,
    find_kinds,
    fit_clinical,
    read_clinical,
)
from eosin.bags.dialects import find_feature_files, open_features
from eosin.bags.features import FeatureFile, FeatureInfo, read_key, write_features
from eosin.bags.joined_features import DrawnFeatures, JoinedFeatures
from eosin.bags.making import (
    BAG_SCHEMA,
    BAG_TABLE,
    BagTableInfo,
    draw_bags,
    find_witnesses,
    read_bag_table,
    write_bag_table,
)
from eosin.bags.provenance import read_attributes, read_provenance
from eosin.bags.reading import join_patients, read_bags, read_slide_bag, share_drawn
from eosin.bags.tile_features import read_tile_features

__all__ = [
    "BAG_SCHEMA",
    "BAG_TABLE",
    "Bag",
    "BagScores",
    "BagTableInfo",
    "ClinicalColumn",
    "ClinicalEncoding",
    "ClinicalValues",
    "ColumnKind",
    "DrawnFeatures",
    "FeatureArray",
    "FeatureFile",
    "FeatureInfo",
    "FeatureScale",
    "InstanceSampling",
    "JoinedFeatures",
    "PaddedBatch",
    "caution_clinical",
    "check_bags",
    "draw_bags",
    "find_feature_files",
    "find_kinds",
    "find_witnesses",
    "fit_clinical",
    "join_patients",
    "open_features",
    "plan_batches",
    "read_attributes",
    "read_bag_table",
    "read_bags",
    "read_batch",
    "read_clinical",
    "read_key",
    "read_provenance",
    "read_slide_bag",
    "read_tile_features",
    "require_features",
    "require_size",
    "share_drawn",
    "write_bag_table",
    "write_features",
]
