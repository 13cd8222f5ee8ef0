"""From a TOML file and `--set field=value` to a frozen dataclass."""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from eosin.core.errors import ConfigError, raising
from eosin.core.files import require_regular
from eosin.core.words import suggest

T = TypeVar("T")

_NONE = type(None)
_TYPES: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
}
_PLURALS: Mapping[Any, str] = {int: "whole numbers", float: "numbers", str: "texts"}

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "1"), True),
    **dict.fromkeys(("false", "no", "0"), False),
}


def load_config(
    cls: type[T],
    *,
    path: Path | None = None,
    overrides: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> T:
    """Build a config from defaults, a file, `--set` pairs and options.

    Later sources win: the dataclass's defaults, then `defaults`, then the file, then
    `given` (a command's own options), then `overrides`.

    Args:
        cls: A dataclass whose fields are plain values or tuples of them.
        path: A TOML file of its fields. None reads no file.
        overrides: Texts of the form `field=value`.
        given: Values by field; those that are None count as not given.
        defaults: Values by field that stand in for the dataclass's own defaults.

    Raises:
        ConfigError: A field is unknown, or a value does not fit its type.
    """
    values: dict[str, Any] = dict(defaults or {})
    if path is not None:
        values |= _read_toml(path)
    values |= {k: v for k, v in (given or {}).items() if v is not None}
    values |= _parse_overrides(overrides)
    hints = typing.get_type_hints(cls)
    known = {f.name for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - known):
        raise ConfigError(
            f"unknown setting: {', '.join(unknown)}; "
            f"{cls.__name__} knows {', '.join(sorted(known))}"
            f"{suggest(unknown[0], known)}"
        )
    return cls(**{name: fit_value(name, hints[name], v) for name, v in values.items()})


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ConfigError(f"{path}: no such config file")
    with raising(ConfigError, f"{path}: not readable as TOML"):
        require_regular(path)
        return tomllib.loads(path.read_text(encoding="utf-8"))


def _parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--set takes field=value, got '{text}'")
        values[name.strip()] = value.strip()
    return values


def fit_value(name: str, hint: Any, value: Any) -> Any:
    """Fit a value from TOML, from text or from Python to a field's type.

    Raises:
        ConfigError: It is of another type, or none of the field's choices.
    """
    for option in _options(hint):
        try:
            return _fit(option, value)
        except (KeyError, StopIteration, TypeError, ValueError, OverflowError):
            continue
    choices = [str(c) for option in _options(hint) for c in _list_choices(option)]
    text = str(value)[:80]
    raise ConfigError(
        f"{name} must be {_say_type(hint)}, got '{text}'{suggest(text, choices)}"
    )


def _list_choices(hint: Any) -> tuple[Any, ...]:
    is_choice = typing.get_origin(hint) is typing.Literal
    return typing.get_args(hint) if is_choice else ()


def _say_type(hint: Any) -> str:
    """Say what a value must be, as a user may write it."""
    parts = [_say_option(option) for option in _options(hint) if option is not _NONE]
    return " or ".join([*parts, "none"] if _NONE in _options(hint) else parts)


def _say_option(hint: Any) -> str:
    if choices := _list_choices(hint):
        names = ", ".join(map(str, choices))
        return f"one of {names}" if len(choices) > 1 else names
    if typing.get_origin(hint) is tuple:
        inner, *others = typing.get_args(hint)
        if others == [...] and inner in _PLURALS:
            return f"{_PLURALS[inner]} separated by commas"
    return _TYPES.get(hint, str(hint).replace("typing.", ""))


def _options(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        # None first, or the text "none" would do for a field of text.
        return tuple(
            sorted(typing.get_args(hint), key=lambda option: option is not _NONE)
        )
    return (hint,)


def _fit(hint: Any, value: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        options = {str(option): option for option in typing.get_args(hint)}
        return options[str(value)]
    if origin is tuple:
        if isinstance(value, str):
            parts = [part.strip() for part in value.split(",")] if value else []
        else:
            parts = list(value)
        inner = typing.get_args(hint)
        kinds = [inner[0]] * len(parts) if inner[1:] == (...,) else inner
        return tuple(_fit(kind, part) for kind, part in zip(kinds, parts, strict=True))
    if hint is _NONE:
        if value is None or value in ("none", "None", ""):
            return None
        raise ValueError(value)
    return _fit_plain(hint, value)


def _fit_plain(hint: Any, value: Any) -> Any:
    if hint is bool:
        return value if isinstance(value, bool) else _BOOLEANS[str(value).lower()]
    is_wrong = {
        int: isinstance(value, bool | float),
        float: isinstance(value, bool),
        str: not isinstance(value, str | Path),
        Path: not isinstance(value, str | Path),
    }
    if is_wrong[hint] if hint in is_wrong else not isinstance(value, hint):
        raise TypeError(value)
    return hint(value) if hint in is_wrong else value
