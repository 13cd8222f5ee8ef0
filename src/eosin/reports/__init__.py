"""Figures, and the report that a pathologist reads."""

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
from eosin.reports.galleries import Gallery, GalleryTile
from eosin.reports.html import render_report, write_figures, write_report
from eosin.reports.style import render_inline_svg, render_png, render_svg

__all__ = [
    "ExplorationData",
    "Gallery",
    "GalleryTile",
    "ReportData",
    "SplitCount",
    "count_splits",
    "draw_confusion",
    "draw_history",
    "draw_precision_curves",
    "draw_reliability",
    "draw_roc_curves",
    "draw_score_histogram",
    "render_exploration",
    "render_inline_svg",
    "render_png",
    "render_report",
    "render_svg",
    "write_exploration",
    "write_figures",
    "write_report",
]
