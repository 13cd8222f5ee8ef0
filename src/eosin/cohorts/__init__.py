"""Cohorts: the slide table, and who trains, validates and tests."""

from eosin.cohorts.class_folders import FolderRules, read_class_folders
from eosin.cohorts.columns import COLUMNS
from eosin.cohorts.folds import DEFAULT_FRACTIONS, fold_patients, split_patients
from eosin.cohorts.kaggle import read_kaggle
from eosin.cohorts.near_duplicates import (
    DEFAULT_SIMILARITY,
    Looks,
    describe_looks,
    group_near_duplicates,
)
from eosin.cohorts.patch_sets import (
    IMAGE_SUFFIXES,
    Listing,
    PatchSet,
    fill_with_none,
    iter_images,
    raise_problems,
    read_patch_csv,
    say_examples,
    strip_suffix,
)
from eosin.cohorts.pcam import (
    PCAM_ADDRESS,
    PCAM_MD5,
    PcamFiles,
    find_pcam_files,
    read_pcam,
)
from eosin.cohorts.table import (
    SPLITS,
    Cohort,
    find_patient,
    read_cohort,
    require_labels,
    say_unknown_patients,
)

__all__ = [
    "COLUMNS",
    "DEFAULT_FRACTIONS",
    "DEFAULT_SIMILARITY",
    "IMAGE_SUFFIXES",
    "PCAM_ADDRESS",
    "PCAM_MD5",
    "SPLITS",
    "Cohort",
    "FolderRules",
    "Listing",
    "Looks",
    "PatchSet",
    "PcamFiles",
    "describe_looks",
    "fill_with_none",
    "find_patient",
    "find_pcam_files",
    "fold_patients",
    "group_near_duplicates",
    "iter_images",
    "raise_problems",
    "read_class_folders",
    "read_cohort",
    "read_kaggle",
    "read_patch_csv",
    "read_pcam",
    "require_labels",
    "say_examples",
    "say_unknown_patients",
    "split_patients",
    "strip_suffix",
]
