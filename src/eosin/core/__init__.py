"""The base: errors, files, geometry, progress and the record of a run."""

from eosin.core.config import load_config
from eosin.core.errors import (
    AnnotationError,
    CohortError,
    ConfigError,
    EosinError,
    ManifestError,
    MissingExtraError,
    ModelError,
    RunError,
    SlideError,
)
from eosin.core.failures import SlideFailure
from eosin.core.files import (
    atomic_path,
    fingerprint_file,
    hash_file,
    hash_object,
    read_json,
    require_free_space,
    to_file_name,
    write_json,
    write_text,
)
from eosin.core.geometry import Box
from eosin.core.parquet import read_parquet, write_parquet
from eosin.core.progress import Progress, Task
from eosin.core.runs import RunRecord, open_run
from eosin.core.suggestions import find_nearest, suggest

__all__ = [
    "AnnotationError",
    "Box",
    "CohortError",
    "ConfigError",
    "EosinError",
    "ManifestError",
    "MissingExtraError",
    "ModelError",
    "Progress",
    "RunError",
    "RunRecord",
    "SlideError",
    "SlideFailure",
    "Task",
    "atomic_path",
    "find_nearest",
    "fingerprint_file",
    "hash_file",
    "hash_object",
    "load_config",
    "open_run",
    "read_json",
    "read_parquet",
    "require_free_space",
    "suggest",
    "to_file_name",
    "write_json",
    "write_parquet",
    "write_text",
]
