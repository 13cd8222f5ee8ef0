import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from eosin.core import SlideFailure
from eosin.core.plain import from_plain, to_plain

HERE = Path("/data/run")


@dataclass(frozen=True)
class Part:
    name: str
    file: Path | None
    sizes: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, float | None),
        (0.5, float | None),
        ("auto", int | Literal["auto"]),
        (3, Any),
        ({"auc": {"value": 0.5, "n": [1, 2]}}, Mapping[str, Mapping[str, Any]]),
        ({1: "a", 2: "b"}, dict[int, str]),
        ({"a": (1.0, 2.0)}, Mapping[str, tuple[float, float]]),
        (("a", HERE / "b"), tuple[str, Path]),
        ((("a", (1, 2)), ("b", ())), tuple[tuple[str, tuple[int, ...]], ...]),
        ([0.1, 0.2], Sequence[float]),
        (HERE / "maps" / "a.png", Path),
        (HERE, Path | None),
        (Path("/elsewhere"), Path),
        ((Part("a", HERE / "x", (1,)), Part("b", None)), tuple[Part, ...]),
        ((SlideFailure("s", "tile", "no"),), tuple[SlideFailure, ...]),
    ],
)
def test_what_json_has_written_comes_back_with_its_type(value, kind):
    written = json.loads(json.dumps(to_plain(value, HERE)))
    assert from_plain(written, kind, HERE) == value
    assert type(from_plain(written, kind, HERE)) is type(value)


def test_paths_follow_a_folder_that_is_moved():
    written = to_plain({"a": HERE / "b"}, HERE)
    assert from_plain(written, dict[str, Path], Path("/new")) == {"a": Path("/new/b")}


def test_what_json_cannot_write_is_refused():
    with pytest.raises(TypeError, match="set"):
        to_plain({"a": [{1}]})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("0.5", float | None),
        (True, int),
        (None, float),
        (1.5, int),
        ("other", int | Literal["auto"]),
        ({"name": 3, "file": None}, Part),
        ({"name": "a", "file": None, "sizes": [1, "2"]}, Part),
        ({"name": "a"}, Part),
        ("abc", Part),
        ([1.0], tuple[float, float]),
    ],
)
def test_what_others_wrote_with_another_type_is_refused(value, kind):
    with pytest.raises((TypeError, ValueError)):
        from_plain(value, kind)
