"""Pages and figures: what a pathologist reads."""

from eosin.reports.attention import AttendedSlide, make_attention_page
from eosin.reports.evaluation import make_evaluation_page
from eosin.reports.exploration import make_exploration_page
from eosin.reports.facts import EvaluationFacts
from eosin.reports.interpretation import make_interpretation_page
from eosin.reports.limit import make_limit_page
from eosin.reports.page import Page, Section, render_page, write_page
from eosin.reports.style import render_png
from eosin.reports.training_curves import draw_history, draw_learning_rates
from eosin.reports.words import Nouns

__all__ = [
    "AttendedSlide",
    "EvaluationFacts",
    "Nouns",
    "Page",
    "Section",
    "draw_history",
    "draw_learning_rates",
    "make_attention_page",
    "make_evaluation_page",
    "make_exploration_page",
    "make_interpretation_page",
    "make_limit_page",
    "render_page",
    "render_png",
    "write_page",
]
