"""Cohorts: the slide table, and who trains, validates and tests."""

from eosin.cohorts.folds import DEFAULT_FRACTIONS, fold_patients, split_patients
from eosin.cohorts.table import COLUMNS, SPLITS, Cohort, find_patient, read_cohort

__all__ = [
    "COLUMNS",
    "DEFAULT_FRACTIONS",
    "SPLITS",
    "Cohort",
    "find_patient",
    "fold_patients",
    "read_cohort",
    "split_patients",
]
