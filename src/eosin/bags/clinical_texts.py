"""What the cells of clinical columns say: numbers, categories, or nothing."""

import math
import re

from eosin.cohorts import is_missing, tidy_text

# Decimal commas; three digits behind one may be thousands, unless it begins with 0.
_COMMA = re.compile(r"[+-]?(0,\d+|\d+,(\d{1,2}|\d{4,}))")
# A number with what makes it none: a comparison, thousands, a unit.
_ALMOST_NUMBER = re.compile(
    r"[<>≤≥~=≈]*\s*[+-]?\d[\d.,' ]*\s*"
    r"(%|y|yo|yrs?|years?|mo|mos|months?|w|wks?|weeks?|d|days?|mm|cm|µm|um|kg|mg|g|ml)?"
    r"( old)?\.?"
)
# What people call the same, each list one thing.
_SAME = {
    name: names[0]
    for names in (
        ("male", "m", "man", "männlich", "homme"),
        ("female", "f", "w", "woman", "weiblich", "femme"),
        ("yes", "y", "true", "ja", "oui"),
        ("no", "n", "false", "nein", "non"),
        ("positive", "pos", "+"),
        ("negative", "neg"),
    )
    for name in names
}


def tidy_value(value: object) -> str | None:
    """Bring a text to lower case without blanks around; None where it says nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value).strip().lower()
    return None if is_missing(text) else text


def fold_category(value: object) -> str | None:
    """Write a category in the one way that all its spellings share."""
    if (text := tidy_value(value)) is None:
        return None
    text = re.sub(r"(?<=\w)[\s_.-]+(?=\w)", " ", tidy_text(text).casefold()).strip()
    text = re.sub(r"(?<=[^\W\d]) (?=\d)", "", text)
    return _SAME.get(text, text)


def is_almost_number(value: str) -> bool:
    """Say whether a text is a number but for a comparison, thousands or a unit."""
    text = tidy_text(value).lower()
    return parse_number(value) is None and _ALMOST_NUMBER.fullmatch(text) is not None


def parse_number(value: object) -> float | None:
    """Read a finite number, also with a decimal comma; None where it is none."""
    text = tidy_value(value)
    if text is not None and _COMMA.fullmatch(text):
        text = text.replace(",", ".")
    try:
        # Python takes 4_5 for 45.
        number = float(text) if text and "_" not in text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
