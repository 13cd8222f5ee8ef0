"""Predictions, their metrics and intervals, and what is chosen on validation."""

from eosin.evaluation.aggregation import (
    CANDIDATE_SHARES,
    AggregationChoice,
    SlideAggregation,
    aggregate_predictions,
    choose_aggregation,
)
from eosin.evaluation.auc_planning import AUCPlan, find_standard_error, plan_auc
from eosin.evaluation.baselines import (
    COLOUR_COLUMNS,
    ColourBaseline,
    fit_colour_baseline,
)
from eosin.evaluation.calibration import (
    Reliability,
    TemperatureFit,
    compute_probabilities,
    compute_reliability,
    expected_calibration_error,
    fit_temperature,
)
from eosin.evaluation.choices import ValidationChoices, choose_on_validation
from eosin.evaluation.curves import Curve, find_precision_curve, find_roc_curve
from eosin.evaluation.evaluate import evaluate_predictions
from eosin.evaluation.intervals import (
    CURVE_GRID,
    Band,
    Bootstrap,
    Interval,
    bootstrap_metrics,
)
from eosin.evaluation.metrics import (
    METRIC_NAMES,
    Metric,
    call_classes,
    compute_metrics,
    compute_roc_auc,
    count_confusion,
)
from eosin.evaluation.predictions import (
    LEVELS,
    SPLITS,
    Level,
    build_tile_predictions,
    check_predictions,
    labels_of,
    predictions_schema,
    probabilities_of,
    probability_columns,
    read_predictions,
    select_level,
    write_predictions,
)
from eosin.evaluation.results import EvaluationResult, LevelResult, MetricResult
from eosin.evaluation.thresholds import (
    DEFAULT_RULE,
    ThresholdChoice,
    choose_threshold,
    parse_rule,
)

__all__ = [
    "CANDIDATE_SHARES",
    "COLOUR_COLUMNS",
    "CURVE_GRID",
    "DEFAULT_RULE",
    "LEVELS",
    "METRIC_NAMES",
    "SPLITS",
    "AUCPlan",
    "AggregationChoice",
    "Band",
    "Bootstrap",
    "ColourBaseline",
    "Curve",
    "EvaluationResult",
    "Interval",
    "Level",
    "LevelResult",
    "Metric",
    "MetricResult",
    "Reliability",
    "SlideAggregation",
    "TemperatureFit",
    "ThresholdChoice",
    "ValidationChoices",
    "aggregate_predictions",
    "bootstrap_metrics",
    "build_tile_predictions",
    "call_classes",
    "check_predictions",
    "choose_aggregation",
    "choose_on_validation",
    "choose_threshold",
    "compute_metrics",
    "compute_probabilities",
    "compute_reliability",
    "compute_roc_auc",
    "count_confusion",
    "evaluate_predictions",
    "expected_calibration_error",
    "find_precision_curve",
    "find_roc_curve",
    "find_standard_error",
    "fit_colour_baseline",
    "fit_temperature",
    "labels_of",
    "parse_rule",
    "plan_auc",
    "predictions_schema",
    "probabilities_of",
    "probability_columns",
    "read_predictions",
    "select_level",
    "write_predictions",
]
