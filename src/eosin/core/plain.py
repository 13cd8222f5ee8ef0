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
    relative to `folder`.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        kind = next((part for part in parts if _is_made(part)), Any)
        return from_plain(value, kind, folder)
    if value is None or not _is_made(kind):
        return value
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        known = {name: from_plain(value[name], hints[name], folder) for name in value}
        return typing.cast("Any", kind)(**known)
    if kind is Path:
        return (folder or Path()) / value
    is_mapping = isinstance(origin or kind, type) and issubclass(
        origin or kind, Mapping
    )
    if not isinstance(value, dict if is_mapping else list):
        raise TypeError(f"{kind} cannot be made of a {type(value).__name__}")
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


def _is_made(kind: Any) -> bool:
    """Whether values of a type are written as something else than themselves."""
    origin = typing.get_origin(kind)
    return (
        kind in (Path, tuple, list, dict)
        or dataclasses.is_dataclass(kind)
        or (origin is not None and origin is not typing.Literal)
    )
