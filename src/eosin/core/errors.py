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

A caller's mistake in Python is a plain `ValueError` or `TypeError`. Whatever a file
makes a parser raise becomes one of these at the parser's one border, `raising`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

# Libraries put whole files into their messages.
_LONGEST_REASON = 300


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


@contextmanager
def raising(
    kind: type[EosinError], failure: str, *, remedy: str = ""
) -> Iterator[None]:
    """Turn whatever a file makes a parser raise into an error that names the file.

    Errors of eosin pass as they are. Parsers of other people's files fail in more ways
    than can be listed, up to a lack of memory and of stack.

    Args:
        kind: The error to raise instead.
        failure: What failed and where, such as `a.tif: its headers cannot be read`.
        remedy: What to do about it.
    """
    try:
        yield
    except EosinError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
        remedy = remedy and f"; {remedy}"
        raise kind(f"{failure} ({reason}){remedy}") from error
