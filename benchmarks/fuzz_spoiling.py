"""The ways in which `fuzz.py` spoils a file."""

import gzip
import json
import random
import re
import struct
from collections.abc import Callable
from typing import Any

INTEGERS = (0, 1, 2, -1, 127, 255, 32767, 65535, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1)
WORDS = (
    *("", " ", "nan", "NaN", "Infinity", "-1", "0", "1e999", "1e-400", "9" * 400),
    *("\x00", "=1+1", "../../up", "~nobody/x", "a" * 200_000, "\ufeff", "é" * 300),
    *("null", "true", "[]", "{}", "[" * 3000, "{" * 60, "<a>" * 3000, "&b;"),
    *(
        '"',
        "'",
        ",",
        ";",
        "\t",
        "\r",
        "\n",
        "<",
        "]]>",
        "0x10",
        "\uff11\uff12",
        "1,5",
        "--",
    ),
)
_TEXTS = (".json", ".geojson", ".xml", ".annotations", ".ndpa", ".csv", ".toml")
# Bytes a type of TIFF's entries has.
_TIFF_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 12: 8, 13: 4, 16: 8, 18: 8}


def spoil(data: bytes, name: str, rng: random.Random, other: bytes) -> bytes:
    """Spoil a file once or a few times, in ways that suit its kind."""
    ways: list[Callable[[bytes, random.Random, bytes], bytes]] = list(_BYTES)
    if name.endswith(_TEXTS):
        ways += [_replace_word, _replace_word, _replace_value, _encode] * 2
    if name.endswith(("json",)):
        ways += [_change_json] * 6
    if data[:2] in (b"II", b"MM"):
        ways += [_change_entry] * 12
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data = rng.choice(ways)(data, rng, other)[: 1 << 24]
    return data


def _place(data: bytes, rng: random.Random) -> int:
    """Choose a place, mostly near the start or the end, where headers are."""
    reach = rng.choice((64, 512, 4096, len(data)))
    place = rng.randrange(min(len(data), reach) or 1)
    return place if rng.random() < 0.6 else max(0, len(data) - 1 - place)


def _flip(data: bytes, rng: random.Random, _: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 4, 32))):
        if changed:
            changed[_place(data, rng)] = rng.randrange(256)
    return bytes(changed)


def _put_number(data: bytes, rng: random.Random, _: bytes) -> bytes:
    size, code = rng.choice(((1, "b"), (2, "h"), (4, "i"), (8, "q")))
    value = rng.choice(INTEGERS) & ((1 << 8 * size) - 1)
    number = struct.pack(rng.choice("<>") + code.upper(), value)
    at = _place(data, rng)
    return data[:at] + number + data[at + size :]


def _cut(data: bytes, rng: random.Random, _: bytes) -> bytes:
    at = _place(data, rng)
    return data[:at] if rng.random() < 0.7 else data[at:]


def _leave_out(data: bytes, rng: random.Random, _: bytes) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 8, 100, 5000)) :]


def _double(data: bytes, rng: random.Random, _: bytes) -> bytes:
    at, n = _place(data, rng), rng.choice((1, 4, 64, 4096))
    return data[:at] + data[at : at + n] * rng.choice((2, 3, 50)) + data[at + n :]


def _wipe(data: bytes, rng: random.Random, _: bytes) -> bytes:
    at, n = _place(data, rng), rng.choice((4, 64, 4096, 100_000))
    length = min(n, len(data) - at)
    return data[:at] + rng.choice((b"\0", b"\xff", b" ")) * length + data[at + length :]


def _join(data: bytes, rng: random.Random, other: bytes) -> bytes:
    at, there = _place(data, rng), rng.randrange(len(other) or 1)
    part = other[there : there + rng.choice((16, 512, len(other)))]
    return data[:at] + part + (data[at:] if rng.random() < 0.5 else b"")


_BYTES = (_flip, _put_number, _cut, _leave_out, _double, _wipe, _join)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode_back(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _replace_word(data: bytes, rng: random.Random, _: bytes) -> bytes:
    """Put a hostile word in the place of a name or a number."""
    text = _decode(data)
    words = list(re.finditer(r"[\w.+-]+", text))
    if not words:
        return _encode_back(rng.choice(WORDS))
    word = rng.choice(words)
    return _encode_back(text[: word.start()] + rng.choice(WORDS) + text[word.end() :])


def _replace_value(data: bytes, rng: random.Random, _: bytes) -> bytes:
    """Put a hostile word between two marks, such as quotes or commas."""
    text = _decode(data)
    values = list(re.finditer(r"(?<=[\",>=:;])[^\",<>;\n]*(?=[\",<;\n])", text))
    if not values:
        return data
    value = rng.choice(values)
    return _encode_back(text[: value.start()] + rng.choice(WORDS) + text[value.end() :])


def _encode(data: bytes, rng: random.Random, _: bytes) -> bytes:
    """Write a text in another encoding, or declare another."""
    text = data.decode("utf-8", "replace")
    way = rng.randrange(3)
    if way == 0:
        name = rng.choice(("utf-16", "utf-16-be", "utf-32", "cp1252", "cp037", "utf-7"))
        return text.encode(name, "replace")
    if way == 1:
        return gzip.compress(data, mtime=0)
    name = rng.choice(("latin-1", "UTF-16", "x-none", "", "idna", "hex", "utf-7"))
    return _encode_back(f'<?xml version="1.0" encoding="{name}"?>' + text)


def _change_json(data: bytes, rng: random.Random, _: bytes) -> bytes:
    """Put something else in the place of one value of a JSON text."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places: list[tuple[Any, Any]] = []
    _list_places(content, places)
    if not places:
        return data
    holder, key = rng.choice(places)
    value = rng.randrange(9)
    old = holder[key]
    if value == 0 and isinstance(holder, dict):
        del holder[key]
    elif value == 1:
        holder[key] = [old]
    elif value == 2:
        holder[key] = {"type": old}
    elif value == 3:
        holder[key] = rng.choice((float("nan"), float("inf"), 1e308, 10**400, True))
    elif value == 4:
        deep: Any = old
        for _ in range(rng.choice((10, 500, 5000))):
            deep = [deep]
        return _write_deep(content, holder, key, deep)
    elif value == 5:
        holder[key] = rng.choice(INTEGERS)
    else:
        holder[key] = rng.choice((*WORDS, None, [], {}, 0.5, [1, "a", None]))
    return json.dumps(content).encode("utf-8", "surrogatepass")


def _write_deep(content: Any, holder: Any, key: Any, deep: Any) -> bytes:
    """Write JSON that is nested deeper than its writer goes."""
    n = 0
    while isinstance(deep, list) and len(deep) == 1 and n < 5000:
        deep, n = deep[0], n + 1
    holder[key] = "DEEP"
    text = json.dumps(content)
    inside = json.dumps(deep)
    return text.replace('"DEEP"', "[" * n + inside + "]" * n, 1).encode()


def _list_places(content: Any, places: list[tuple[Any, Any]]) -> None:
    keys = content if isinstance(content, dict) else range(len(content))
    for key in keys:
        places.append((content, key))
        if isinstance(content[key], (dict, list)):
            _list_places(content[key], places)


def _change_entry(data: bytes, rng: random.Random, _: bytes) -> bytes:
    """Rewrite an entry of one of a TIFF's directories, or where the next one is."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        entries, nexts, is_big = _list_entries(data, order)
    except (struct.error, OverflowError):
        return data
    if not entries:
        return data
    changed = bytearray(data)
    if rng.random() < 0.15:
        starts = [at for at, _ in nexts]
        target = rng.choice(
            [value for _, value in nexts] + [0, 8, len(data) - 4, 2**31]
        )
        struct.pack_into(
            order + ("Q" if is_big else "I"), changed, rng.choice(starts), target
        )
        return bytes(changed)
    at = rng.choice(entries)
    part = rng.random()
    if part < 0.15:
        struct.pack_into(
            order + "H", changed, at, rng.choice((256, 273, 330, 700, 65535))
        )
    elif part < 0.35:
        kind = rng.choice((*_TIFF_TYPES, 0, 99))
        struct.pack_into(order + "H", changed, at + 2, kind)
    elif part < 0.55:
        code, size = ("Q", 8) if is_big else ("I", 4)
        value = rng.choice(INTEGERS) & ((1 << 8 * size) - 1)
        struct.pack_into(order + code, changed, at + 4, value)
    else:
        code, size = rng.choice(
            (("Q", 8), ("I", 4)) if is_big else (("I", 4), ("H", 2))
        )
        value = rng.choice((*INTEGERS, 3, 4, 7, 8, 12, 16, 34712, 50002, 2**28))
        place = at + (12 if is_big else 8)
        struct.pack_into(order + code, changed, place, value & ((1 << 8 * size) - 1))
    return bytes(changed)


def _list_entries(
    data: bytes, order: str
) -> tuple[list[int], list[tuple[int, int]], bool]:
    """List where entries of directories are, and where each one's next is named."""
    is_big = struct.unpack_from(order + "H", data, 2)[0] == 43
    offset_code, count_code, size = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    at = 8 if is_big else 4
    entries: list[int] = []
    nexts: list[tuple[int, int]] = []
    for _ in range(8):
        start = struct.unpack_from(order + offset_code, data, at)[0]
        nexts.append((at, start))
        if not start:
            break
        n = struct.unpack_from(order + count_code, data, start)[0]
        first = start + struct.calcsize(order + count_code)
        if n > 100:
            break
        entries += [first + i * size for i in range(n)]
        at = first + n * size
    return entries, nexts, is_big
