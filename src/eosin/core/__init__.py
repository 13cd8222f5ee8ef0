"""The base: errors, files, geometry, progress and the record of a run."""

from eosin.core.config import fit_value, load_config
from eosin.core.csv_files import CSVText, read_csv_text, say_lines
from eosin.core.csv_tables import caution_formulas, read_csv, restore_text, write_csv
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
from eosin.core.extras import require_extra, require_keras
from eosin.core.files import (
    atomic_path,
    fingerprint_file,
    from_file_name,
    hash_file,
    hash_files,
    hash_object,
    match_file_name,
    read_json,
    require_free_space,
    require_other_file,
    require_own_files,
    require_regular,
    to_file_name,
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
from eosin.core.run_folder import read_record
from eosin.core.runs import (
    RunRecord,
    SlideFailure,
    find_versions,
    open_run,
)
from eosin.core.showing import Showable
from eosin.core.shown_progress import WATCHED, TerminalProgress
from eosin.core.tables import Column, TableSchema, read_parquet
from eosin.core.version import __version__
from eosin.core.words import find_nearest, plural, suggest
from eosin.core.work import Items, Stop, count_cores, find_stop

__all__ = [
    "AGGREGATOR_SUFFIX",
    "ENCODER_HASH",
    "HEAD",
    "PROJECTION_SUFFIX",
    "WATCHED",
    "AnnotationError",
    "Box",
    "CSVText",
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
    "Stop",
    "TableSchema",
    "Task",
    "TerminalProgress",
    "__version__",
    "atomic_path",
    "caution_formulas",
    "count_cores",
    "find_nearest",
    "find_stop",
    "find_versions",
    "fingerprint_file",
    "fit_value",
    "from_file_name",
    "hash_file",
    "hash_files",
    "hash_object",
    "load_config",
    "match_file_name",
    "open_run",
    "plural",
    "raising",
    "read_csv",
    "read_csv_text",
    "read_json",
    "read_parquet",
    "read_record",
    "require_extra",
    "require_free_space",
    "require_keras",
    "require_other_file",
    "require_own_files",
    "require_regular",
    "restore_text",
    "say_lines",
    "suggest",
    "to_file_name",
    "write_csv",
    "write_json",
    "write_text",
]
