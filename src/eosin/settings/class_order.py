"""Which class is the negative one, so that the others are what is looked for.

The only place that decides it. It goes by what names mean, never by the alphabet:
`non-IDC` is the negative class of `IDC`, although it comes behind it.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

# Whole names of negative classes, or words in them, without case, separators and
# accents.
_USUAL = frozenset(
    {
        *("normal", "norm", "benign", "healthy", "control", "controls", "negative"),
        *("neg", "absent", "absence", "none", "nothing", "false", "nil", "background"),
        *("nontumor", "nontumour", "notumor", "notumour", "unremarkable"),
        # Of molecular tests.
        *("wt", "wildtype", "mss", "pmmr", "mmrp", "stable", "proficient", "intact"),
        # Of cells and tissue, where the other word says that something is wrong.
        *("typical", "regular", "differentiated"),
        # German, French, Spanish, Italian.
        *("gesund", "gutartig", "negativ", "kontrolle", "unauffallig", "sain"),
        *("saine", "benin", "benigne", "negatif", "negative", "temoin", "normale"),
        *("sano", "benigno", "negativo", "negativa"),
    }
)
_ALONE = frozenset({"0", "no", "-", "n", "nein", "non", "minus"})
# Words that turn what comes behind, or before them, into its opposite.
_BEFORE = frozenset(
    {
        *("no", "non", "not", "without", "kein", "keine", "nicht", "ohne", "sans"),
        *("sin", "senza"),
    }
)
_BEHIND = frozenset(
    {"free", "negative", "neg", "negativ", "wt", "wildtype", "absent", "frei"}
)
# Prefixes that do so only if the other class is what they stand before.
_PREFIXES = ("non", "not", "no", "un", "in", "im", "ir", "a", "dis", "without")
_LOW_AND_HIGH = ({"low", "high"}, {"minor", "major"}, {"alive", "dead"})


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

    In this order: a usual name, such as `benign`; one that denies another class's, such
    as `tumor-free` or `unmethylated`; one with a denying word, such as `no_tumor`.
    """
    words = {name: _split(name) for name in class_names}
    joined = {name: "".join(own) for name, own in words.items()}
    rules: tuple[Callable[[str], bool], ...] = (
        lambda name: _is_usual(name, joined[name]),
        lambda name: any(
            _denies(joined[name], joined[other]) for other in joined if other != name
        ),
        lambda name: _has_denial(words[name]),
        lambda name: "triple" not in words[name] and not _USUAL.isdisjoint(words[name]),
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
    text = unicodedata.normalize("NFKD", name).replace("\u2212", "-").strip()
    text = "".join(char for char in text if not unicodedata.combining(char))
    if re.search(r"\w-$", text):
        # As in HPV-.
        text = f"{text[:-1]} negative"
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    text = re.sub(r"(?i)wild[\W_]+type", "wildtype", text)
    return re.findall(r"[^\W_]+", text.casefold())


def _is_usual(name: str, joined: str) -> bool:
    bare = " ".join(name.split()).casefold()
    return joined in _USUAL or joined in _ALONE or bare in _ALONE


def _denies(name: str, other: str) -> bool:
    """Say whether a name is another one's with a denying syllable."""
    return len(other) > 0 and (
        any(name == prefix + other for prefix in _PREFIXES)
        or any(name == other + word for word in _BEHIND)
    )


def _has_denial(words: Sequence[str]) -> bool:
    """Say whether a name has a denying word."""
    if len(words) == 1:
        return words[0].startswith("non") and len(words[0]) > len("none")
    # A triple-negative carcinoma is a finding.
    return words[0] in _BEFORE or (words[-1] in _BEHIND and "triple" not in words)


def _find_lowest(names: Sequence[str]) -> str | None:
    """Find the lowest of classes that differ in a number or in low and high."""
    if all(re.fullmatch(r"[+-]?\d+(\.\d+)?", name) for name in names):
        return min(names, key=float)
    numbers = [re.findall(r"\d+(?:\.\d+)?", name) for name in names]
    stems = {re.sub(r"\d+(?:\.\d+)?", "", name).casefold() for name in names}
    if len(stems) == 1 and all(len(found) == 1 for found in numbers):
        return min(
            zip(names, numbers, strict=True), key=lambda pair: float(pair[1][0])
        )[0]
    if len(names) == 2:
        own = [set(_split(name)) for name in names]
        for pair in _LOW_AND_HIGH:
            if own[0] ^ own[1] == pair:
                low = ({"low", "minor", "alive"} & pair).pop()
                return names[0] if low in own[0] else names[1]
    return None
