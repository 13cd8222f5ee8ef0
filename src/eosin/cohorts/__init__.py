"""Cohorts: the slide table, and who trains, validates and tests."""

from eosin.cohorts.class_folders import read_class_folders
from eosin.cohorts.downloading import download_file
from eosin.cohorts.folds import fold_patients, split_patients
from eosin.cohorts.kaggle import read_kaggle
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
from eosin.cohorts.patients import (
    find_patient,
    find_patient_key,
    is_missing,
    match_patients,
    name_patient,
    tidy_text,
)
from eosin.cohorts.pcam import PCAM_ADDRESS, PCAM_MD5, find_pcam_files, read_pcam
from eosin.cohorts.phantom_cohort import PhantomCohort, make_phantom_cohort
from eosin.cohorts.slide_listing import (
    SLIDE_SUFFIXES,
    fingerprint_readable,
    hash_readable,
    iter_rows,
    list_files,
    list_slides,
)
from eosin.cohorts.table import (
    SPLITS,
    Cohort,
    find_divided,
    read_cohort,
    require_labels,
)

__all__ = [
    "IMAGE_SUFFIXES",
    "PCAM_ADDRESS",
    "PCAM_MD5",
    "SLIDE_SUFFIXES",
    "SPLITS",
    "Cohort",
    "Listing",
    "PatchSet",
    "PhantomCohort",
    "download_file",
    "fill_with_none",
    "find_divided",
    "find_patient",
    "find_patient_key",
    "find_pcam_files",
    "fingerprint_readable",
    "fold_patients",
    "hash_readable",
    "is_missing",
    "iter_images",
    "iter_rows",
    "list_files",
    "list_slides",
    "make_phantom_cohort",
    "match_patients",
    "name_patient",
    "raise_problems",
    "read_class_folders",
    "read_cohort",
    "read_kaggle",
    "read_patch_csv",
    "read_pcam",
    "require_labels",
    "say_examples",
    "split_patients",
    "strip_suffix",
    "tidy_text",
]
