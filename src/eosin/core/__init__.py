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
from eosin.core.progress import Progress, Task
from eosin.core.runs import RunRecord, open_run

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
    "fingerprint_file",
    "hash_file",
    "hash_object",
    "load_config",
    "open_run",
    "read_json",
    "require_free_space",
    "to_file_name",
    "write_json",
    "write_text",
]
