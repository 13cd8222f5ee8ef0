"""Whose a slide is: which ids name one patient, which name none, and which might."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_SHOWN = 5

# A patient at the beginning of an id, of TCGA or CPTAC.
_PATIENT = re.compile(
    r"(TCGA)[-_. ]([A-Z0-9]{2})[-_. ]([A-Z0-9]{4})"
    r"|(C3[LN])[-_. ](\d{5})(?=[-_. ]|$)",
    re.IGNORECASE,
)
# What a spreadsheet makes of a whole number.
_WHOLE = re.compile(r"(\d+)[.,]0+")
# Dashes that Unicode does not count among the dashes: soft hyphen, modifier, minus.
_MORE_DASHES = "\xad\u02d7\u2043\u2212"

# What tables write where they know nothing, without brackets and quotes around it.
_MISSING = frozenset(
    {
        *("", "na", "n/a", "n.a", "nan", "nat", "none", "null", "nil", "unk"),
        *("unknown", "missing", "not available", "not reported", "not applicable"),
        *("not evaluated", "not known", "not recorded", "not stated", "pending"),
        *("not reported/unknown", "not allowed to collect", "discrepancy"),
        *("no data", "unbekannt", "inconnu", "desconocido"),
        *("#n/a", "#null!", "#value!", "#ref!", "#name?", "#num!", "#div/0!"),
    }
)


def is_missing(text: str) -> bool:
    """Say whether a cell of a table says that nothing is known.

    Empty ones, `NA`, `nan`, `unknown`, TCGA's `[Not Available]` and `'--`, `?`, `.`,
    and the errors of spreadsheets.
    """
    bare = tidy_text(text).casefold().strip("[]()<>{}'\"`").rstrip(".").strip()
    return bare.replace("_", " ") in _MISSING or not re.sub(r"[-?._/ ]", "", bare)


def tidy_text(text: str) -> str:
    """Write a text with plain letters, dashes and blanks, and no invisible ones."""
    plain = "".join(
        "-" if char in _MORE_DASHES or unicodedata.category(char) == "Pd" else char
        for char in text
    )
    plain = unicodedata.normalize("NFKC", plain)
    plain = "".join(char for char in plain if unicodedata.category(char) != "Cf")
    return " ".join(plain.split())


def find_patient(slide_id: str) -> str:
    """Take the patient out of a TCGA or CPTAC slide id; else the id itself."""
    return _find_known(slide_id) or slide_id


def _find_known(text: str) -> str | None:
    match = _PATIENT.match(tidy_text(text))
    return match and "-".join(filter(None, match.groups())).upper()


def name_patient(text: str) -> str:
    """Write a patient's id in the one way in which it is surely meant.

    Sample barcodes of TCGA and CPTAC become their patient in capitals, `101.0` becomes
    `101`, and dashes, blanks and composed letters become plain ones.
    """
    plain = tidy_text(text)
    if match := _WHOLE.fullmatch(plain):
        return match[1]
    return find_patient(plain)


def find_patient_key(text: str) -> tuple[str, ...]:
    """Return what is left of a patient's id without case, zeros and separators.

    Ids of one key may be one patient: `P-007` and `p7`.
    """
    name = name_patient(text).casefold()
    parts = re.findall(r"\d+|[^\W\d_]+", name)
    return tuple(part.lstrip("0") or part[:1] for part in parts) or (name,)


@dataclass(frozen=True)
class PatientNames:
    """What the patient ids of a table or of file names come to.

    Attributes:
        names: The patient of each spelling; None where it says nothing.
        remarks: Which spellings were joined, as a sentence.
        problems: Which might be one patient's, as a sentence.
    """

    names: Mapping[str, str | None]
    remarks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def match_patients(texts: Iterable[str]) -> PatientNames:
    """Find which spellings are one patient's, and which only might be."""
    names = {
        text: None if is_missing(text) else name_patient(text)
        for text in sorted(set(texts))
    }
    spellings: dict[str, list[str]] = defaultdict(list)
    for text, name in names.items():
        if name is not None:
            spellings[name].append(text)
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in spellings:
        alike[find_patient_key(name)].append(name)
    joined = [" and ".join(s) for s in spellings.values() if len(s) > 1]
    unclear = [" and ".join(map(repr, sorted(s))) for s in alike.values() if len(s) > 1]
    return PatientNames(names, tuple(_say_joined(joined)), tuple(_ask(unclear)))


def _say_joined(joined: list[str]) -> Iterator[str]:
    if joined:
        yield (
            f"{len(joined)} patient(s) are written in more than one way, and count as "
            f"one each: {_shorten(joined)}"
        )


def _ask(unclear: list[str]) -> Iterator[str]:
    if unclear:
        yield (
            f"{len(unclear)} patient id(s) differ only in case, zeros or separators: "
            f"{_shorten(unclear)}; write the id of one person in one way everywhere, "
            "and give different people ids that differ in more, such as A-7 and B-7"
        )


def _shorten(texts: list[str]) -> str:
    more = f" and {len(texts) - _SHOWN:,} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def say_unknown_patients(
    slide_ids: Iterable[str], patients: Iterable[str | None], *, has_column: bool
) -> str | None:
    """Say which slides count as patients, since nobody said whose they are.

    `patients` are those that the table names, None where it does not.
    """
    pairs = list(zip(slide_ids, patients, strict=True))
    unknown = [
        slide_id
        for slide_id, patient in pairs
        if patient is None and _find_known(slide_id) is None
    ]
    if not unknown or len(pairs) < 2:
        return None
    if len(unknown) == len(pairs):
        state = "holds nothing in its" if has_column else "has no"
        verb = "fill it in" if has_column else "add it"
        return (
            f"the table {state} column patient_id, so each slide counts as a patient "
            f"of its own; if slides share patients, {verb}, or one patient is trained "
            "and tested on"
        )
    return (
        f"patient_id is missing for {len(unknown)} of {len(pairs)} slides "
        f"({_shorten(unknown)}), and each of them counts as a patient of its own; fill "
        "it in, or one patient may be trained and tested on"
    )
