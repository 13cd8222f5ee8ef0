"""One definition of a setting: its default and range in its field, its words above.

The check, `--help`, `--set`, TOML files and the tables in the documentation all come
from what stands there once. A class that declares a field of its base again changes
what it says, and keeps the rest.
"""

import dataclasses
import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from eosin.core import ConfigError, fit_value, suggest

_RULE = "rule"
_NONE = type(None)
_Function = TypeVar("_Function", bound=Callable[..., Any])
Kind = TypeVar("Kind", bound="Settings")


def _once(function: _Function) -> _Function:
    """Remember results, and keep the types that `functools.cache` takes away."""
    return cast("_Function", functools.cache(function))


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What must be known of a setting, and what must hold for it.

    Attributes:
        words: What it is, with its unit, as a sentence or two.
        least: Lowest value.
        most: Highest value.
        above: Value that it must exceed.
        below: Value that it must stay under.
        names: Names that it must be one of.
        is_set: Whether a tuple must hold one value or more, each once.
        only: The kinds, of model or of layout, that it is for; empty for all.
    """

    words: str = ""
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    names: Collection[str] = ()
    is_set: bool = False
    only: tuple[str, ...] = ()

    @property
    def bounds(self) -> str:
        """The range in words, such as `above 0 and below 1`; empty without one."""
        ends = (self.least, self.most, self.above, self.below)
        least, most, above, below = (None if n is None else f"{n:g}" for n in ends)
        if least and most:
            return f"between {least} and {most}"
        low = f"{least} or more" if least else f"above {above}" if above else ""
        high = f"at most {most}" if most else f"below {below}" if below else ""
        return " and ".join(filter(None, (low, high)))

    def check(self, name: str, value: Any) -> None:
        """Stop where a value breaks the rule.

        Raises:
            ConfigError: It does.
        """
        values = value if isinstance(value, tuple) else (value,)
        if self.is_set and (not values or len(set(values)) < len(values)):
            raise ConfigError(
                f"{name} must be one or more, each once, got "
                f"{format_value(value) or 'none'}"
            )
        for part in values:
            if isinstance(part, str):
                self._check_name(name, part)
            elif isinstance(part, int | float):
                self._check_number(name, part)

    def _check_name(self, name: str, value: str) -> None:
        if self.names and value not in self.names:
            raise ConfigError(
                f"{name} must be one of {', '.join(self.names)}, got '{value}'"
                f"{suggest(value, self.names)}"
            )

    def _check_number(self, name: str, value: float) -> None:
        # A whole number may be larger than any that can be worked with.
        if not abs(value) <= sys.float_info.max:
            text = str(value)[:20]
            raise ConfigError(f"{name} must be a finite number, got {text}")
        is_within = (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        if not is_within:
            raise ConfigError(
                f"{name} must be {self.bounds}, got {format_value(value)}"
            )


def setting(default: Any = dataclasses.MISSING, **rule: Any) -> Any:
    """Declare a setting that has a range; others are plain fields.

    Args:
        default: Its default; without one it must be given.
        **rule: The fields of `Rule` but `words`.
    """
    return dataclasses.field(default=default, metadata={_RULE: rule})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The base of all settings.

    Each value is brought to its field's type, as a text or a TOML file's would be, and
    checked when they are made.
    """

    def __post_init__(self) -> None:
        kind = type(self)
        for name, hint in list_types(kind).items():
            value = fit_value(name, hint, getattr(self, name))
            self.resolve(**{name: value})
            find_rule(kind, name).check(name, value)
        self.check()

    def resolve(self, **values: Any) -> None:
        """Set what follows from others while the settings are made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def check(self) -> None:
        """Stop where settings contradict each other.

        Raises:
            ConfigError: They do.
        """


@_once
def find_rule(kind: type[Settings], name: str) -> Rule:
    """Return the rule of one field, as its class and those below it tell it."""
    rule: dict[str, Any] = {}
    for part in reversed(kind.__mro__):
        own = part.__dict__.get("__dataclass_fields__", {})
        if name in inspect.get_annotations(part) and name in own:
            rule |= own[name].metadata.get(_RULE, {})
        if words := _read_words(part).get(name):
            rule["words"] = words
    return Rule(**rule)


@_once
def _read_words(kind: type) -> Mapping[str, str]:
    """Read what a class's docstring says of its attributes."""
    text = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
    _, _, attributes = text.partition("\nAttributes:\n")
    entries = re.findall(
        r"^    (\w+): (.*?)(?=^    \w+: |^\S|\Z)", attributes, re.DOTALL | re.MULTILINE
    )
    return {name: " ".join(words.split()) for name, words in entries}


def iter_rules(kind: type[Settings]) -> Iterator[tuple[str, Rule]]:
    """Yield each field of a class with its rule, those of the class itself first."""
    named = (inspect.get_annotations(part) for part in kind.__mro__)
    for name in dict.fromkeys(name for names in named for name in names):
        if name in kind.__dataclass_fields__:
            yield name, find_rule(kind, name)


def require_settings(
    settings: Kind | None, kind: type[Kind], *others: type[Kind]
) -> Kind:
    """Return a step's settings, by default the first kind's.

    Args:
        settings: What the step was given; None takes the defaults.
        kind: The class that it takes.
        *others: Further classes that it takes.

    Raises:
        ConfigError: They are of none of these.
    """
    settings = kind() if settings is None else settings
    if type(settings) not in (kind, *others):
        names = " or ".join(known.__name__ for known in (kind, *others))
        is_swapped = not isinstance(settings, Settings)
        hint = "; settings come last, behind the folder to write to"
        raise ConfigError(
            f"settings must be {names} (eosin.settings), got "
            f"{type(settings).__name__}{hint * is_swapped}"
        )
    return settings


def iter_misplaced(settings: Settings, kind: str) -> Iterator[tuple[str, Rule]]:
    """Yield what is not as by default though it is for other kinds, with its rule."""
    defaults = list_defaults(type(settings))
    for name, rule in iter_rules(type(settings)):
        is_set = getattr(settings, name) != defaults[name]
        if is_set and rule.only and kind not in rule.only:
            yield name, rule


def list_defaults(kind: type[Settings]) -> Mapping[str, Any]:
    """Return the default of each field; `dataclasses.MISSING` where it has none."""
    return {
        name: kind.__dataclass_fields__[name].default for name, _ in iter_rules(kind)
    }


@_once
def list_types(kind: type[Settings]) -> Mapping[str, Any]:
    """Return the type of each field."""
    hints = typing.get_type_hints(kind)
    return {name: hints[name] for name, _ in iter_rules(kind)}


def format_value(value: Any) -> str:
    """Write a value as a user may give it, such as `none`, `true` or `20, 10`."""
    if isinstance(value, tuple):
        parts = list(map(format_value, value))
        return ("; " if any("," in part for part in parts) else ", ").join(parts)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def describe_range(kind: type[Settings], name: str) -> str:
    """Say what one field may be, such as `1 or more, or auto`; empty for any text."""
    rule, hint = find_rule(kind, name), list_types(kind)[name]
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    parts = [rule.bounds, *rule.names]
    for option in typing.get_args(hint) if is_union else (hint,):
        if option is bool:
            parts += ["true", "false"]
        elif typing.get_origin(option) is typing.Literal:
            parts += map(format_value, typing.get_args(option))
    parts = [part for part in parts if part]
    if parts and _NONE in typing.get_args(hint):
        parts.append("none")
    return ", ".join(parts)


def tabulate_settings(kind: type[Settings]) -> str:
    """Write a class's settings as a table in Markdown, for the documentation."""
    lines = ["| Setting | Default | Range | What it is |", "|---|---|---|---|"]
    for name, default in list_defaults(kind).items():
        value = "must be given"
        if default is not dataclasses.MISSING:
            value = f"`{text}`" if (text := format_value(default)) else ""
        words = find_rule(kind, name).words
        lines.append(f"| `{name}` | {value} | {describe_range(kind, name)} | {words} |")
    return "\n".join(lines) + "\n"
