"""Words in messages: plurals, and what was probably meant by an unknown name."""

import difflib
from collections.abc import Iterable


def find_nearest(name: str, known: Iterable[str]) -> str | None:
    """Find the known name that is most like another, whatever their case, if any."""
    by_lower = {text.casefold(): text for text in known}
    close = difflib.get_close_matches(name.casefold(), by_lower, n=1)
    return by_lower[close[0]] if close else None


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; is 'x' meant?` for the end of a message, or nothing."""
    nearest = find_nearest(name, known)
    return "" if nearest is None else f"; is '{nearest}' meant?"


def plural(noun: str) -> str:
    """Write a noun for several: slides, patches, classes."""
    return f"{noun}es" if noun.endswith(("ss", "tch")) else f"{noun}s"
