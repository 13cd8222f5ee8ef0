"""The base: errors, files, geometry, progress and the record of a run."""

from eosin.core.config import fit_value, load_config
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
    raising,
)
from eosin.core.extras import require_extra
from eosin.core.files import (
    atomic_path,
    fingerprint_file,
    hash_file,
    hash_files,
    hash_object,
    read_json,
    require_free_space,
    to_file_name,
    write_csv,
    write_json,
    write_text,
)
from eosin.core.geometry import Box
from eosin.core.model_files import (
    AGGREGATOR_SUFFIX,
    ENCODER_HASH,
    HEAD,
    PROJECTION_SUFFIX,
)
from eosin.core.progress import Progress, Task
from eosin.core.runs import (
    RunRecord,
    SlideFailure,
    find_versions,
    open_run,
    read_record,
)
from eosin.core.showing import Showable
from eosin.core.shown_progress import WATCHED, TerminalProgress
from eosin.core.tables import Column, TableSchema, read_parquet
from eosin.core.version import __version__
from eosin.core.words import find_nearest, plural, suggest
from eosin.core.work import Items

__all__ = [
    "AGGREGATOR_SUFFIX",
    "ENCODER_HASH",
    "HEAD",
    "PROJECTION_SUFFIX",
    "WATCHED",
    "AnnotationError",
    "Box",
    "CohortError",
    "Column",
    "ConfigError",
    "EosinError",
    "Items",
    "ManifestError",
    "MissingExtraError",
    "ModelError",
    "Progress",
    "RunError",
    "RunRecord",
    "Showable",
    "SlideError",
    "SlideFailure",
    "TableSchema",
    "Task",
    "TerminalProgress",
    "__version__",
    "atomic_path",
    "find_nearest",
    "find_versions",
    "fingerprint_file",
    "fit_value",
    "hash_file",
    "hash_files",
    "hash_object",
    "load_config",
    "open_run",
    "plural",
    "raising",
    "read_json",
    "read_parquet",
    "read_record",
    "require_extra",
    "require_free_space",
    "suggest",
    "to_file_name",
    "write_csv",
    "write_json",
    "write_text",
]
