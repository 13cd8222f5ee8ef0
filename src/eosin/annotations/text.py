"""The text of an annotation file: unpacked, bounded, and decoded as it says itself."""

import codecs
import gzip
import json
import re
from pathlib import Path

from eosin.core import AnnotationError, raising, require_regular

# Far above what people draw; beyond it a file is a bomb, or cells of a whole slide.
_MOST_BYTES = 256 << 20

_GZIP_MARK = b"\x1f\x8b"
# `<?xm` in EBCDIC, in which all code pages agree on letters and digits.
_EBCDIC_MARK = b"\x4c\x6f\xa7\x94"
_DECLARATION = re.compile(
    r"""\s*<\?xml\s[^>]*?\bencoding\s*=\s*["']([A-Za-z][\w.-]*)["']"""
)
_DECLARATION_BYTES = 400

# Wider sets that programs mean by the name of a narrower one (WHATWG's Encoding).
_SUPERSETS = {
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "big5": "cp950",
}
_OTHER_NAMES = {"sjis": "cp932", "windows-31j": "cp932"}


def read_text(path: Path) -> str:
    """Read a file's text, unpacked where it is gzipped, without its byte-order mark.

    XML is decoded as its declaration says. A mark or a pattern of zero bytes goes
    before that, as it cannot be wrong; anything else is UTF-8.

    Raises:
        AnnotationError: There is no such file, it is too large, or no text.
    """
    with raising(AnnotationError, f"{path}: cannot be read as text"):
        if not path.exists():
            raise AnnotationError(f"{path}: no such annotation file")
        require_regular(path)
        with path.open("rb") as stream:
            is_packed = stream.read(2) == _GZIP_MARK
        with gzip.open(path) if is_packed else path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise AnnotationError(
                f"{path}: an annotation file may hold {_MOST_BYTES >> 20} MB of text "
                f"{'once it is unpacked' if is_packed else 'at most'}, and this one "
                "holds more; export areas alone, not cells"
            )
        return _decode(path, data).removeprefix("\ufeff").strip()


def _decode(path: Path, data: bytes) -> str:
    """Decode by the byte-order mark, the zero bytes, or XML's declaration."""
    found = json.detect_encoding(data)
    if found != "utf-8":
        return data.decode(found)
    head = data[:_DECLARATION_BYTES]
    is_ebcdic = head.startswith(_EBCDIC_MARK)
    declaration = _DECLARATION.match(head.decode("cp037" if is_ebcdic else "latin-1"))
    name = declaration[1] if declaration else "cp037" if is_ebcdic else "utf-8"
    # Programs that write a string of theirs declare what it was in memory; what can be
    # read as letters of one byte is none of these.
    if re.match(r"(?i)utf-?(16|32)|unicode$|.*ucs-?[24]$", name):
        name = "utf-8"
    codec = _find_codec(name)
    if codec is None:
        raise AnnotationError(
            f"{path}: its declaration names the encoding '{name}', which is not known; "
            "save it in UTF-8"
        )
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        if codec not in _SUPERSETS:
            raise
        return data.decode(_SUPERSETS[codec])


def _find_codec(name: str) -> str | None:
    """Find Python's name of an encoding; None where it has none."""
    plain = re.sub(r"(?i)^x-(?=.)", "", name).lower()
    number = re.sub(r"^windows-(?=\d+$)", "cp", plain)
    for spelling in (name, _OTHER_NAMES.get(plain, plain), number):
        try:
            return codecs.lookup(spelling).name
        except LookupError:
            continue
    return None
