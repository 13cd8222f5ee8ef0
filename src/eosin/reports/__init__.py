"""Figures, and the report that a pathologist reads."""

from eosin.reports.attention import AttendedSlide, AttentionData, write_attention
from eosin.reports.data import ReportData, SplitCount, count_splits
from eosin.reports.exploration import (
    ExplorationData,
    render_exploration,
    write_exploration,
)
from eosin.reports.figures import (
    draw_confusion,
    draw_history,
    draw_precision_curves,
    draw_reliability,
    draw_roc_curves,
    draw_score_histogram,
)
from eosin.reports.galleries import Gallery, GalleryTile, draw_sheet
from eosin.reports.html import render_report, write_figures, write_report
from eosin.reports.interpretation import (
    FeatureSpaceData,
    InterpretationData,
    render_interpretation,
    write_interpretation,
)
from eosin.reports.learning_rates import LearningRatePanel, draw_learning_rates
from eosin.reports.limit import (
    LimitReport,
    render_limit_report,
    write_limit_report,
)
from eosin.reports.limit_figures import draw_by_rate
from eosin.reports.style import render_inline_svg, render_png, render_svg

__all__ = [
    "AttendedSlide",
    "AttentionData",
    "ExplorationData",
    "FeatureSpaceData",
    "Gallery",
    "GalleryTile",
    "InterpretationData",
    "LearningRatePanel",
    "LimitReport",
    "ReportData",
    "SplitCount",
    "count_splits",
    "draw_by_rate",
    "draw_confusion",
    "draw_history",
    "draw_learning_rates",
    "draw_precision_curves",
    "draw_reliability",
    "draw_roc_curves",
    "draw_score_histogram",
    "draw_sheet",
    "render_exploration",
    "render_inline_svg",
    "render_interpretation",
    "render_limit_report",
    "render_png",
    "render_report",
    "render_svg",
    "write_attention",
    "write_exploration",
    "write_figures",
    "write_interpretation",
    "write_limit_report",
    "write_report",
]
