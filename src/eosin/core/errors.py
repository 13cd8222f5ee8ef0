"""Every error that eosin raises on purpose.

EosinError
├── SlideError              a slide cannot be opened or read as asked
├── RunError                an output folder holds other work, or cannot be written
├── AnnotationError         an annotation file cannot be understood
├── CohortError             the slide table contradicts itself or its files
├── ManifestError           a tile table is not what its schema says
├── ConfigError             a setting is unknown or out of range
├── ModelError              a model, its weights or its card do not fit
└── MissingExtraError       an optional package is not installed

A caller's mistake in Python is a plain `ValueError` or `TypeError`.
"""


class EosinError(Exception):
    """The root of every error that eosin raises on purpose."""


class SlideError(EosinError):
    """A slide cannot be opened, or not read as asked."""


class RunError(EosinError):
    """An output folder holds other work, is in use, or cannot be written."""


class AnnotationError(EosinError, ValueError):
    """An annotation file cannot be understood."""


class CohortError(EosinError, ValueError):
    """A slide table contradicts itself or the files that it names."""


class ManifestError(EosinError, ValueError):
    """A tile table or a prediction table does not hold to its schema."""


class ConfigError(EosinError, ValueError):
    """A setting is unknown, out of range, or contradicts another."""


class ModelError(EosinError, ValueError):
    """A model, its weights or its card do not fit what is asked of them."""


class MissingExtraError(EosinError, ImportError):
    """An optional package is needed and not installed."""
