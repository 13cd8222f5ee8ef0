"""Whose a slide is: which ids name one patient, which name none, and which might."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_SHOWN = 5

# A patient in an id, of TCGA, CPTAC, GTEx or TARGET.
_PATIENT = re.compile(
    r"(?<![A-Z0-9])(?:(TCGA)[-_. ]([A-Z0-9]{2})[-_. ]([A-Z0-9]{4})"
    r"|(?:(C3[LN])[-_. ](\d{5})|(GTEX)[-_. ]([A-Z0-9]{4,5})"
    r"|(TARGET)[-_. ](\d{2})[-_. ]([A-Z]{6}))(?=[-_. ]|$))",
    re.IGNORECASE,
)
# What a spreadsheet makes of a whole number, and of a long one: digits are lost.
_WHOLE = re.compile(r"(\d+)[.,]0+")
_SHORTENED = re.compile(r"\d([.,]\d+)?E\+\d+", re.IGNORECASE)
# Words for a patient before a number.
_NOUN = re.compile(r"(p|pt|pat|patient|case|subject|subj|id|nr|no)\d+")
# Letters that look like Latin ones: Cyrillic, Greek.
_LOOK_ALIKES = str.maketrans(
    dict(zip("авекмнорстухіѕјαβεικμνορτυχ", "abekmhopctyxisjabeikmnoptux", strict=True))
)
# Dashes that Unicode does not count among the dashes: soft hyphen, modifier, minus.
_MORE_DASHES = "\xad\u02d7\u2043\u2212"

# What tables write where they know nothing, without brackets and quotes around it.
_MISSING = frozenset(
    {
        *("", "na", "n/a", "n.a", "nan", "nat", "none", "null", "nil", "unk"),
        *("unknown", "missing", "not available", "not reported", "not applicable"),
        *("not evaluated", "not known", "not recorded", "not stated", "pending"),
        *("not reported/unknown", "not allowed to collect", "discrepancy"),
        *("not given", "not provided", "not collected", "not determined", "not done"),
        *("not specified", "unspecified", "undefined", "undetermined", "tbd", "n/d"),
        *("n.d", "nd", "to be determined", "unknown/not reported", "no data", "empty"),
        *("notavailable", "not-available", "missing value", "redacted", "withheld"),
        *("anonymous", "anonymized", "anonymised", "-nan", "+nan", "1.#qnan", "\\n"),
        *("unbekannt", "k.a", "k. a", "keine angabe", "unbek", "inconnu"),
        *("desconocido", "sin datos", "s/d", "sconosciuto", "onbekend", "n.v.t"),
        *("неизвестно", "нет данных", "未知", "不明", "不详"),
        *("#n/a", "#null!", "#value!", "#ref!", "#name?", "#num!", "#div/0!"),
        *("#nv", "#wert!", "#bezug!", "#n/d", "#zahl!"),
    }
)


def is_missing(text: str) -> bool:
    """Say whether a cell of a table says that nothing is known.

    Empty ones, `NA`, `nan`, `unknown`, TCGA's `[Not Available]` and `'--`, `?`, `.`,
    and the errors of spreadsheets.
    """
    bare = tidy_text(text).casefold().strip("[]()<>{}'\"`").rstrip(".").strip()
    return bare.replace("_", " ") in _MISSING or not re.sub(r"[-?._/*· ]", "", bare)


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
    """Take the patient out of a slide id of a known programme; else the id itself.

    These are TCGA, CPTAC, GTEx and TARGET.
    """
    return find_barcode(slide_id) or slide_id


def find_barcode(text: str) -> str | None:
    """Take the patient out of a barcode of a known programme; None where it is none."""
    match = _PATIENT.search(tidy_text(text))
    return match and "-".join(filter(None, match.groups())).upper()


def name_patient(text: str) -> str:
    """Write a patient's id in the one way in which it is surely meant.

    Barcodes of TCGA, CPTAC, GTEx and TARGET become their patient in capitals, `101.0`
    becomes `101`, and dashes, blanks and composed letters become plain ones.
    """
    plain = tidy_text(text)
    if match := _WHOLE.fullmatch(plain):
        return match[1]
    return find_patient(plain)


def find_patient_key(text: str) -> tuple[str, ...]:
    """Return what is left of a patient's id without case, zeros, separators, accents.

    Ids of one key may be one patient: `P-007` and `p7`.
    """
    name = _fold(text)
    parts = re.findall(r"\d+|[^\W\d_]+", name)
    return tuple(part.lstrip("0") or part[:1] for part in parts) or (name,)


def _fold(text: str) -> str:
    """Return a patient's id without case, accents and letters of other scripts."""
    name = unicodedata.normalize("NFKD", name_patient(text).casefold())
    name = "".join(char for char in name if not unicodedata.combining(char))
    return name.translate(_LOOK_ALIKES)


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
    joined = [" and ".join(s) for s in spellings.values() if len(s) > 1]
    unclear = [" and ".join(map(repr, own)) for own in _find_alike(spellings)]
    problems = (*_ask(unclear), *_say_shortened(spellings))
    return PatientNames(names, tuple(_say_joined(joined)), problems)


def _find_alike(names: Iterable[str]) -> list[list[str]]:
    """Group names that might be one patient's."""
    alike: dict[tuple[str, ...], set[str]] = defaultdict(set)
    pieces: dict[str, dict[tuple[str, ...], str]] = defaultdict(dict)
    for name in names:
        key = find_patient_key(name)
        alike[_strip_noun(key)].add(name)
        pieces["".join(filter(str.isalnum, _fold(name)))][key] = name
    # `12-345` may be `12345`. That `1-11` and `11-1` may both be `111` says nothing.
    pairs = [set(own.values()) for own in pieces.values() if len(own) == 2]
    joined = [own for own in pairs if any(map(str.isalnum, own))]
    found = {tuple(sorted(own)) for own in (*alike.values(), *joined)}
    return [list(own) for own in sorted(found) if len(own) > 1]


def _say_joined(joined: list[str]) -> Iterator[str]:
    if joined:
        yield (
            f"{len(joined)} patient(s) are written in more than one way, and count as "
            f"one each: {_shorten(joined)}"
        )


def _ask(unclear: list[str]) -> Iterator[str]:
    if unclear:
        yield (
            f"{len(unclear)} patient id(s) differ only in spelling: "
            f"{_shorten(unclear)}; write the id of one person in one way everywhere, "
            "and give different people ids that differ in more, such as A-7 and B-7"
        )


def _say_shortened(names: Iterable[str]) -> Iterator[str]:
    if short := sorted(filter(_SHORTENED.fullmatch, names)):
        yield (
            f"{len(short)} patient id(s) are long numbers that a spreadsheet has "
            f"rounded: {_shorten(short)}; several patients may be one now; take the "
            "ids from their source, as text"
        )


def _strip_noun(key: tuple[str, ...]) -> tuple[str, ...]:
    """Take a word for a patient off a key: of `P7` and `Patient 7` 7 is left."""
    return key[1:] if _NOUN.fullmatch("".join(key[:2])) else key


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
        if patient is None and find_barcode(slide_id) is None
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
