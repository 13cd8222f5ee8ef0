"""Packages that only some work needs, and how they are had."""

import importlib.util
from collections.abc import Sequence

from eosin.core.errors import MissingExtraError


def require_extra(extra: str, *, modules: Sequence[str], purpose: str) -> None:
    """Stop where packages of an extra are not installed; nothing is imported.

    `purpose` begins the message, such as `training`; `modules` are what the extra
    brings, by the names under which it is imported.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{purpose} needs {' and '.join(missing)}, which "
            f"{'are' if len(missing) > 1 else 'is'} not installed: "
            f"pip install 'eosin[{extra}]'"
        )
