"""Predictions, their metrics and intervals, and what is chosen on validation."""

from eosin.evaluation.aggregation import SlideAggregation, aggregate_predictions
from eosin.evaluation.auc_planning import plan_auc
from eosin.evaluation.bag_ceiling import find_bag_ceiling, find_log_ratios
from eosin.evaluation.baselines import COLOUR_COLUMNS, fit_colour_baseline
from eosin.evaluation.calibration import compute_probabilities, fit_temperature
from eosin.evaluation.choices import ValidationChoices, choose_on_validation
from eosin.evaluation.detection_limit import (
    DetectionLimit,
    bootstrap_limit,
    compute_instance_auc,
    draw_means,
    find_sensitivity,
    interpolate_limit,
)
from eosin.evaluation.evaluate import evaluate_predictions
from eosin.evaluation.metrics import METRICS, Metric
from eosin.evaluation.predictions import (
    PREDICTION_SCHEMA,
    SPLITS,
    UNITS,
    Unit,
    build_predictions,
    groups_of,
    labels_of,
    read_predictions,
    select_level,
    write_predictions,
)
from eosin.evaluation.ranking import CURVE_GRID, Curve, compute_roc_auc
from eosin.evaluation.results import (
    EvaluationResult,
    LevelResult,
    MetricResult,
    format_ends,
)
from eosin.evaluation.targets import Classes, Threshold
from eosin.evaluation.thresholds import ThresholdChoice, Thresholds, choose_threshold

__all__ = [
    "COLOUR_COLUMNS",
    "CURVE_GRID",
    "METRICS",
    "PREDICTION_SCHEMA",
    "SPLITS",
    "UNITS",
    "Classes",
    "Curve",
    "DetectionLimit",
    "EvaluationResult",
    "LevelResult",
    "Metric",
    "MetricResult",
    "SlideAggregation",
    "Threshold",
    "ThresholdChoice",
    "Thresholds",
    "Unit",
    "ValidationChoices",
    "aggregate_predictions",
    "bootstrap_limit",
    "build_predictions",
    "choose_on_validation",
    "choose_threshold",
    "compute_instance_auc",
    "compute_probabilities",
    "compute_roc_auc",
    "draw_means",
    "evaluate_predictions",
    "find_bag_ceiling",
    "find_log_ratios",
    "find_sensitivity",
    "fit_colour_baseline",
    "fit_temperature",
    "format_ends",
    "groups_of",
    "interpolate_limit",
    "labels_of",
    "plan_auc",
    "read_predictions",
    "select_level",
    "write_predictions",
]
