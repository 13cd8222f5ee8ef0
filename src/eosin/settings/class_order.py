"""Which class is the negative one, so that the others are what is looked for.

The only place that decides it. It goes by what names mean, never by the alphabet:
`non-IDC` is the negative class of `IDC`, although it comes behind it.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

# Whole names of negative classes, or words in them, without case, separators and
# accents. These go first: beside normal tissue a benign lesion is a finding.
_NORMAL = frozenset(
    {
        *("normal", "norm", "normale", "normaal", "healthy", "gesund", "unauffallig"),
        *("sain", "saine", "sano", "gezond", "zdrowy", "zdrowe"),
        *("норма", "正常", "健康"),
    }
)
_USUAL = _NORMAL | frozenset(
    {
        *("benign", "control", "controls", "negative"),
        *("neg", "absent", "absence", "none", "nothing", "false", "nil", "background"),
        *("nontumor", "nontumour", "notumor", "notumour", "unremarkable"),
        # Of molecular tests.
        *("wt", "wildtype", "mss", "pmmr", "mmrp", "stable", "proficient", "intact"),
        # Of cells and tissue, where the other word says that something is wrong.
        *("typical", "regular", "differentiated", "favorable", "favourable"),
        # German, French, Spanish, Italian, Portuguese, Dutch, Polish, Turkish.
        *("gutartig", "negativ", "kontrolle", "benin", "benigne", "negatif"),
        *("temoin", "benigno", "benigna", "negativo", "negativa", "negatief"),
        *("goedaardig", "łagodny", "ujemny", "iyihuylu"),
        *("доброкачественная", "良性", "阴性", "陰性"),
    }
)
_ALONE = frozenset({"0", "no", "-", "n", "nein", "non", "minus"})
# Words that turn what comes behind, or before them, into its opposite.
_BEFORE = frozenset(
    {
        *("no", "non", "not", "without", "kein", "keine", "nicht", "ohne", "sans"),
        *("pas", "sin", "senza", "nao", "sem", "geen", "zonder", "bez", "ikke", "нет"),
    }
)
_BEHIND = frozenset(
    {"free", "negative", "neg", "negativ", "wt", "wildtype", "absent", "frei"}
)
# Words by which a denial is part of a finding's name: a triple-negative carcinoma, one
# of no special type, or not otherwise specified.
_OF_FINDINGS = frozenset({"triple", "special", "otherwise"})
# Prefixes that do so only if the other class is what they stand before; the short ones
# stand by chance before short names, such as AB and B.
_PREFIXES = ("non", "not", "no", "without", "非", "无", "無", "不")
_SHORT_PREFIXES = ("un", "in", "im", "ir", "a", "dis", "не")
_SHORTEST_DENIED = 4
_LOW_AND_HIGH = (
    *({"low", "high"}, {"l", "h"}, {"lg", "hg"}, {"minor", "major"}, {"alive", "dead"}),
    *({"living", "deceased"}, {"alive", "deceased"}),
)
_LOW = frozenset({"low", "l", "lg", "minor", "alive", "living"})
# Longer numbers are codes, such as SNOMED's, and of no order.
_MOST_GRADES = 10


def put_negative_first(class_names: Iterable[str]) -> tuple[str, ...]:
    """Put the negative class first, and leave the others in their order.

    Where no name tells it, the first one is the negative one.
    """
    names = tuple(class_names)
    negative = find_negative(names)
    return names if negative is None else _put_first(names, negative)


def order_by_name(class_names: Iterable[str]) -> tuple[str, ...]:
    """Order classes that nobody put in an order: the negative one, the others by name.

    Where no name tells it, of numbered classes the lowest number comes first, and `low`
    before `high`; else the alphabet decides.
    """
    names = tuple(sorted(set(class_names)))
    negative = find_negative(names) or _find_lowest(names)
    return names if negative is None else _put_first(names, negative)


def is_order_told(class_names: Sequence[str]) -> bool:
    """Say whether names tell which class is the negative one."""
    return (find_negative(class_names) or _find_lowest(class_names)) is not None


def say_order(class_names: Sequence[str]) -> str:
    """Say which classes are looked for, and which one is negative.

    Args:
        class_names: The negative one first.
    """
    negative, *positive = class_names
    found = ", ".join(f"'{name}'" for name in positive)
    verb = "is" if len(positive) == 1 else "are"
    return f"{found} {verb} looked for (positive), '{negative}' is the negative class"


def find_negative(class_names: Sequence[str]) -> str | None:
    """Find the class whose name says that nothing was found; None where none says it.

    In this order: a usual name, `normal` before `benign`; one that denies another
    class's, such as `tumor-free` or `unmethylated`; one with a denying word, such as
    `no_tumor`.
    """
    words = {name: _split(name) for name in class_names}
    joined = {name: "".join(own) for name, own in words.items()}
    rules: tuple[Callable[[str], bool], ...] = (
        lambda name: joined[name] in _NORMAL,
        lambda name: _is_usual(name, joined[name]),
        lambda name: any(
            _denies(joined[name], joined[other]) for other in joined if other != name
        ),
        lambda name: _has_denial(words[name]),
        lambda name: (
            _OF_FINDINGS.isdisjoint(words[name]) and not _USUAL.isdisjoint(words[name])
        ),
    )
    for is_negative in rules:
        found = [name for name in class_names if is_negative(name)]
        # All of them tell nothing: `MMR-deficient normal`, `MMR-proficient normal`.
        if found and len(found) < len(class_names):
            return found[0]
    return None


def _put_first(names: Sequence[str], first: str) -> tuple[str, ...]:
    return (first, *(name for name in names if name != first))


def _split(name: str) -> list[str]:
    """Split a name into its words, in lower case: `NonViable_tumor` has three."""
    text = unicodedata.normalize("NFKD", name).strip()
    text = "".join(
        "-" if char == "\u2212" or unicodedata.category(char) == "Pd" else char
        for char in text
        if not unicodedata.combining(char)
    )
    # As in HPV-, N+ and HER2 (-).
    if sign := re.search(r"(?<=\w)\s*[(\[]?([-+])[)\]]?$", text):
        text = text[: sign.start()] + {"-": " negative", "+": " positive"}[sign[1]]
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    text = re.sub(r"(?i)wild[\W_]+type", "wildtype", text)
    return re.findall(r"[^\W_]+", text.casefold())


def _is_usual(name: str, joined: str) -> bool:
    bare = " ".join(name.split()).casefold()
    return joined in _USUAL or joined in _ALONE or bare in _ALONE


def _denies(name: str, other: str) -> bool:
    """Say whether a name is another one's with a denying syllable."""
    if not other:
        return False
    if other.endswith("positive") and name == other.removesuffix("positive") + "0":
        # As in N0 and N+.
        return True
    short = _SHORT_PREFIXES if len(other) >= _SHORTEST_DENIED else ()
    if any(name == prefix + other for prefix in (*_PREFIXES, *short)):
        return True
    # Of IDHwt and IDHmut the stem is the same, as it is of tumor-free and tumor.
    stems = (name.removesuffix(word) for word in _BEHIND if name.endswith(word))
    return any(stem and other.startswith(stem) for stem in stems)


def _has_denial(words: Sequence[str]) -> bool:
    """Say whether a name has a denying word."""
    if not words:
        return False
    if len(words) == 1:
        return words[0].startswith("non") and len(words[0]) > len("none")
    is_denied = words[0] in _BEFORE or words[-1] in _BEHIND
    return is_denied and _OF_FINDINGS.isdisjoint(words)


def _find_lowest(names: Sequence[str]) -> str | None:
    """Find the lowest of classes that differ in a number or in low and high."""
    if len(names) == 2:
        own = [set(_split(name)) for name in names]
        for pair in _LOW_AND_HIGH:
            if own[0] ^ own[1] == pair:
                return names[0] if own[0] & _LOW & pair else names[1]
    numbers = [re.findall(r"\d+(?:\.\d+)?", name) for name in names]
    if any(float(number) > _MOST_GRADES for found in numbers for number in found):
        return None
    if all(re.fullmatch(r"[+-]?\d+(\.\d+)?", name) for name in names):
        return min(names, key=float)
    stems = {re.sub(r"\d+(?:\.\d+)?", "", name).casefold() for name in names}
    if len(stems) == 1 and all(len(found) == 1 for found in numbers):
        return min(
            zip(names, numbers, strict=True), key=lambda pair: float(pair[1][0])
        )[0]
    return None
