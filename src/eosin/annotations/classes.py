"""How the names in annotation files become a study's classes."""

import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Self

from eosin.annotations.crossings import subtract, unite
from eosin.annotations.regions import Annotations
from eosin.annotations.shapes import Area
from eosin.core import ConfigError
from eosin.settings import put_negative_first

# The reserved class of areas that nothing is learnt from, and its usual names:
# CAMELYON's third group, and QuPath's ignored classes, which end in a star.
EXCLUDE = "exclude"
_EXCLUDE_NAMES = ("_2", "exclusion", "exclude", "ignore", "ignore*")

# Words below this length differ from others in one letter by chance.
_SHORTEST_WORD = 4
_MOST_NOTES = 20

_EXAMPLE = "normal=Normal tumor=Tumor,metastasis"


@dataclass(frozen=True)
class MappedAnnotations:
    """A slide's regions by the study's classes.

    Attributes:
        areas: The area of every class, empty where it has none, without `exclude`.
            Overlaps between classes are left as they are.
        exclude: What nothing is to be learnt from.
        unknown: Names that no class takes, as spelled, with the number of regions.
    """

    areas: dict[str, Area]
    exclude: Area
    unknown: Counter[str]


@dataclass(frozen=True)
class ClassMap:
    """Which names in annotation files belong to which class.

    Attributes:
        class_names: The classes, the negative one first, so that a class's place
            is its label.
        names: The class, or `exclude`, of each name in files, by its folded name.
    """

    class_names: tuple[str, ...]
    names: Mapping[str, str]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """Read `--classes`, such as `normal=Normal` and `tumor=Tumor,metastasis`.

        A class is also found under its own name. Case and extra spaces do not
        matter. A name with a comma stands in quotes, `tumor="Tumor, invasive"`, or has
        a backslash before the comma. The negative class is the first, or the one
        called normal, benign or the like.

        Raises:
            ConfigError: An entry is empty or has another form, a class or a name
                stands twice, or there are fewer than two classes.
        """
        classes: dict[str, list[str]] = {}
        for text in texts:
            class_name, names = _split_entry(text)
            if not class_name or _fold(class_name) in map(_fold, classes):
                raise ConfigError(
                    f"classes: each entry needs a class name of its own, such as "
                    f"--classes {_EXAMPLE}; got '{text}'"
                )
            classes[class_name] = names
        excluded = next((name for name in classes if _fold(name) == EXCLUDE), None)
        exclude_names = classes.pop(excluded) if excluded else list(_EXCLUDE_NAMES)
        if len(classes) < 2:
            raise ConfigError(
                f"classes: needs two classes or more, the negative one too, with a "
                f"space between them, such as --classes {_EXAMPLE}; got "
                f"{', '.join(repr(text) for text in texts) or 'none'}"
            )
        taken: dict[str, str] = {}
        for class_name, file_names in classes.items():
            for name in file_names:
                if taken.setdefault(_fold(name), class_name) != class_name:
                    raise ConfigError(
                        f"classes: '{name.strip()}' stands under both "
                        f"{taken[_fold(name)]} and {class_name}; one must give it up"
                    )
        # Own names and defaults come last: what somebody wrote goes before them.
        for class_name in classes:
            taken.setdefault(_fold(class_name), class_name)
        for name in (*exclude_names, EXCLUDE):
            taken.setdefault(_fold(name), EXCLUDE)
        return cls(put_negative_first(classes), taken)

    @property
    def negative(self) -> str:
        """The negative class."""
        return self.class_names[0]

    def find(self, name: str) -> str | None:
        """Return the class, or `exclude`, that takes a name; None if none does."""
        return self.names.get(_fold(name))

    def apply(self, annotations: Annotations) -> MappedAnnotations:
        """Sort regions into classes and join each class's into one area.

        Raises:
            AnnotationError: They cross each other too often to be joined.
        """
        what = f"{annotations.source}: regions"
        parts: dict[str, list[Area]] = {name: [] for name in self.class_names}
        parts[EXCLUDE] = []
        holes: dict[str, list[Area]] = {name: [] for name in parts}
        unknown: Counter[str] = Counter()
        for region in annotations.regions:
            class_name = self.find(region.class_name)
            if class_name is None:
                unknown[region.class_name] += 1
            else:
                (holes if region.is_hole else parts)[class_name].append(region.geometry)
        joined = {
            name: subtract(unite(areas, what), unite(holes[name], what), what)
            for name, areas in parts.items()
        }
        exclude = joined.pop(EXCLUDE)
        areas = {name: subtract(area, exclude, what) for name, area in joined.items()}
        return MappedAnnotations(areas, exclude, unknown)

    def describe_names(self, found: Mapping[str, int]) -> tuple[str, ...]:
        """Say which classes no annotation has, and which names no class takes.

        The negative class may be what nobody outlined; of it this is said only where
        an annotation has a name like it. `found` counts regions by their name, of all
        slides together. Each sentence has what may have been meant, and the option.
        """
        free = {n: count for n, count in found.items() if self.find(n) is None}
        taken = {self.find(name) for name in found}
        sentences = []
        for class_name in self.class_names:
            own = [name for name, owner in self.names.items() if owner == class_name]
            close = (_find_misspelt(name, free) for name in own)
            nearest = next((name for name in close if name), None)
            is_expected = class_name != self.negative or nearest is not None
            if found and class_name not in taken and is_expected:
                sentences.append(_say_unfound(class_name, own, nearest, found))
                free.pop(nearest or "", None)
        return (*sentences, *self._describe_unknown(free))

    def _describe_unknown(self, unknown: Mapping[str, int]) -> Iterator[str]:
        for name, count in islice(sorted(unknown.items()), _MOST_NOTES):
            nearest = _find_misspelt(name, self.names)
            own = self.names[nearest] if nearest else "CLASS"
            hint = f"; is {own} meant ('{nearest}')?" if nearest else "."
            yield (
                f"Annotation class '{name}' ({_count_regions(count)}) belongs to no "
                f"class{hint} Say to which by --classes {_quote_entry(own, name)}, or "
                f"leave it out on purpose by --classes {_quote_entry(EXCLUDE, name)}."
            )
        if len(unknown) > _MOST_NOTES:
            yield (
                f"{len(unknown) - _MOST_NOTES:,} more annotation classes belong to no "
                "class; are these names of objects?"
            )


def _say_unfound(
    class_name: str, own: Sequence[str], nearest: str | None, found: Mapping[str, int]
) -> str:
    most = sorted(found.items(), key=lambda item: -item[1])[:_MOST_NOTES]
    names = ", ".join(f"{name} ({_count_regions(n)})" for name, n in most)
    names += ", ..." if len(found) > _MOST_NOTES else ""
    meant = _quote_entry(class_name, nearest or "NAME")
    return (
        f"No annotation is of class '{class_name}' (by the name {' or '.join(own)}); "
        f"the annotations hold {names}; "
        + (
            f"is --classes {meant} meant?"
            if nearest
            else f"name it by --classes {meant}"
        )
    )


def _split_entry(text: str) -> tuple[str, list[str]]:
    """Read `class=name,name`."""
    class_name, place = _read_name(text, 0, "=")
    is_plain = class_name == text.strip()
    if is_plain and any(mark in text for mark in ":;,"):
        raise ConfigError(
            "classes: each entry has the form class=name,another name, with the names "
            f"as in the annotations, such as --classes {_EXAMPLE}; got '{text}'"
        )
    names = []
    while place < len(text):
        name, place = _read_name(text, place + 1, ",")
        names.append(name)
    return " ".join(class_name.split()), [name for name in names if name]


def _read_name(text: str, start: int, end: str) -> tuple[str, int]:
    """Read one name of an entry; return it with the place of its end.

    It ends before the mark `end`, unless that stands in quotes around the whole name
    or behind a backslash.
    """
    quoted = re.compile(rf"""\s*(["'])((?:\\.|(?!\1)[^\\])*)\1\s*(?={end}|$)""")
    plain = re.compile(rf"""()((?:\\[,="'\\]|[^{end}])*)""")
    found = quoted.match(text, start) or plain.match(text, start)
    if found is None or (not found[1] and found[2].lstrip().startswith('"')):
        raise ConfigError(
            f"classes: a quotation mark is not closed in '{text}'; a name with a comma "
            """is written as tumor="Tumor, invasive", with quotes around the whole """
            """entry for the shell: --classes 'tumor="Tumor, invasive"'"""
        )
    return re.sub(r"""\\([,="'\\])""", r"\1", found[2]).strip(), found.end()


def _quote_entry(class_name: str, name: str) -> str:
    """Write an entry of `--classes` for the shell."""
    return shlex.quote(f"{class_name}={_quote_name(name)}")


def _quote_name(name: str) -> str:
    """Write a name so that `--classes` reads it back."""
    if "," not in name and "\\" not in name and not name.startswith(('"', "'")):
        return name
    return '"' + re.sub(r"""(["\\])""", r"\\\1", name) + '"'


def _find_misspelt(name: str, known: Iterable[str]) -> str | None:
    """Find the known name from which another differs by one letter, if any.

    Nothing further off may be suggested as the same class: `non-tumor` and `abnormal`,
    `grade 3` and `HER2-` are as near to their opposites as a slip of the pen.
    """
    words = _fold(name).split()
    for other in known:
        pairs = list(zip_longest(words, _fold(other).split(), fillvalue=""))
        unlike = [pair for pair in pairs if pair[0] != pair[1]]
        if len(unlike) == 1 and _is_slip(*unlike[0]):
            return other
    return None


def _is_slip(one: str, other: str) -> bool:
    """Whether words differ in one letter after the first, or in two swapped ones."""
    shorter, longer = sorted((one, other), key=len)
    n_more = len(longer) - len(shorter)
    has_figures = any(map(str.isdecimal, one + other))
    if len(shorter) < _SHORTEST_WORD or n_more > 1 or has_figures:
        return False
    letters = enumerate(zip_longest(shorter, longer))
    n_same = next(place for place, (a, b) in letters if a != b)
    rest, longer_rest = shorter[n_same:], longer[n_same:]
    is_swapped = rest[:2] == longer_rest[1::-1] and rest[2:] == longer_rest[2:]
    is_one_off = rest[1 - n_more :] == longer_rest[1:]
    changed = longer_rest[:1] + ("" if n_more else rest[:1])
    return n_same > 0 and (is_swapped or (is_one_off and changed.isalpha()))


def _count_regions(n_regions: int) -> str:
    return f"{n_regions:,} region" if n_regions == 1 else f"{n_regions:,} regions"


def _fold(name: str) -> str:
    """Bring a name to the form in which spellings of it are the same."""
    return " ".join(unicodedata.normalize("NFC", name).split()).casefold()
