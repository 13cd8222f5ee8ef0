"""Values as JSON can write them, and back again by their types."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def to_plain(value: Any, folder: Path | None = None) -> Any:
    """Turn dataclasses, mappings, tuples and paths into what JSON can write.

    Paths below `folder` are written relative to it, others in full. Anything else,
    such as a table or an array, is a `TypeError`.
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Path):
        if folder is not None and value.is_relative_to(folder):
            return value.relative_to(folder).as_posix()
        return str(value.absolute())
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(part, folder) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(part, folder) for part in value]
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def from_plain(value: Any, kind: Any, folder: Path | None = None) -> Any:
    """Turn what `to_plain` wrote into a value of the type that an annotation gives.

    Of several (`Path | None`) the first that is no plain type is taken. Paths are
    relative to `folder`. A `TypeError` where a plain value is of another type, as
    others may have written.
    """
    is_union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    kinds = typing.get_args(kind) if is_union else (kind,)
    kind = next(filter(_is_made, kinds), None)
    if kind is None or (value is None and types.NoneType in kinds):
        return _require_plain(value, kinds)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    base = origin or kind
    is_mapping = isinstance(base, type) and issubclass(base, Mapping)
    is_object = is_mapping or dataclasses.is_dataclass(kind)
    wanted: Any = dict if is_object else str if kind is Path else list
    if not isinstance(value, wanted):
        raise TypeError(f"{kind} cannot be made of a {type(value).__name__}")
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        known = {name: from_plain(value[name], hints[name], folder) for name in value}
        return typing.cast("Any", kind)(**known)
    if kind is Path:
        return (folder or Path()) / value
    if isinstance(value, dict):
        key_kind, part_kind = parts or (str, Any)
        keys = map(int, value) if key_kind is int else value
        return {
            key: from_plain(part, part_kind, folder)
            for key, part in zip(keys, value.values(), strict=True)
        }
    is_tuple = tuple in (origin, kind)
    if is_tuple and parts and parts[-1] is not ...:
        made = [from_plain(*pair, folder) for pair in zip(value, parts, strict=True)]
    else:
        part_kind = parts[0] if parts else Any
        made = [from_plain(part, part_kind, folder) for part in value]
    return tuple(made) if is_tuple else made


def _require_plain(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Return a value that is of one of some plain types."""
    for kind in kinds:
        if kind is Any:
            return value
        if typing.get_origin(kind) is typing.Literal:
            is_fit = value in typing.get_args(kind)
        else:
            known = (int, float) if kind is float else kind
            # None is what a value of a made type may be instead.
            is_fit = typing.get_origin(kind) is None and isinstance(value, known)
            # To Python a truth is a whole number as well.
            is_fit &= kind is bool or not isinstance(value, bool)
        if is_fit:
            return value
    wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
    raise TypeError(f"must be {wanted}, got {value!r:.80}")


def _is_made(kind: Any) -> bool:
    """Whether values of a type are written as something else than themselves."""
    origin = typing.get_origin(kind)
    return (
        kind in (Path, tuple, list, dict)
        or dataclasses.is_dataclass(kind)
        or (origin is not None and origin is not typing.Literal)
    )
