import gzip

import pytest

from eosin.annotations import read_annotations, text
from eosin.annotations.text import read_text
from eosin.core import AnnotationError

CORNERS = "".join(
    f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>'
    for i, (x, y) in enumerate([(0, 0), (10, 0), (10, 10), (0, 10)])
)


def declare(encoding: str, name: str) -> str:
    return (
        f'<?xml version="1.0" encoding="{encoding}"?><ASAP_Annotations><Annotations>'
        f'<Annotation Name="a" Type="Polygon" PartOfGroup="{name}"><Coordinates>'
        f"{CORNERS}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )


@pytest.mark.parametrize(
    ("declared", "codec", "name"),
    [
        ("ISO-8859-2", "iso8859-2", "Guz \u0142agodny"),
        ("koi8-r", "koi8-r", "\u043e\u043f\u0443\u0445\u043e\u043b\u044c"),
        ("macintosh", "mac-roman", "Dr\u00fcse"),
        ("GB2312", "gbk", "\u816b\u7624"),
        # The signs that Windows adds to Shift_JIS, EUC-KR and GB2312.
        ("Shift_JIS", "cp932", "\u816b\u760d\u2460"),
        ("EUC-KR", "cp949", "\uac02"),
        ("gb2312", "gb18030", "\u9555"),
        ("windows-31j", "cp932", "\u816b\u760d"),
        ("x-sjis", "cp932", "\u816b\u760d"),
        ("windows-874", "cp874", "\u0e19"),
        ("ebcdic-cp-us", "cp037", "Tumor"),
        ("IBM500", "cp500", "Dr\u00fcse"),
        ("UTF-16", "utf-16", "Dr\u00fcse"),
        ("UTF-16LE", "utf-16-le", "Dr\u00fcse"),
        ("ISO-10646-UCS-2", "utf-16-be", "Dr\u00fcse"),
        ("UTF-32", "utf-32", "Dr\u00fcse"),
        # What the bytes say goes before a declaration that cannot be true.
        ("UTF-8", "utf-16", "Dr\u00fcse"),
        ("utf-16", "utf-8", "Dr\u00fcse"),
        ("ISO-8859-1", "utf-8-sig", "Dr\u00fcse"),
    ],
)
def test_xml_is_read_in_its_encoding(write, declared, codec, name):
    path = write("a.xml", declare(declared, name).encode(codec))
    (region,) = read_annotations(path).regions
    assert region.class_name == name
    assert region.geometry.area == 100


@pytest.mark.parametrize(
    ("declared", "data", "message"),
    [
        ("x-none", b"", "names the encoding 'x-none', which is not known"),
        ("hex", b"", "cannot be read as text"),
        ("utf-8", b"\xff", "cannot be read as text"),
        ("us-ascii", b"\xe9", "cannot be read as text"),
    ],
)
def test_other_encodings_are_refused(write, declared, data, message):
    path = write("a.xml", declare(declared, "a").encode() + data)
    with pytest.raises(AnnotationError, match=message):
        read_annotations(path)


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_json_is_read_in_every_unicode(write, codec):
    text_of_file = '{"type": "FeatureCollection", "features": []}'
    path = write("a.geojson", text_of_file.encode(codec))
    assert read_text(path) == text_of_file


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_of_too_much_text_is_refused(write, monkeypatch, pack):
    monkeypatch.setattr(text, "_MOST_BYTES", 1 << 20)
    blanks = b"[" + b" " * (2 << 20) + b"]"
    with pytest.raises(AnnotationError, match="may hold 1 MB of text"):
        read_annotations(write("a.geojson.gz", pack(blanks)))


def test_a_torn_gzip_file_is_refused(write):
    with pytest.raises(AnnotationError, match="cannot be read as text"):
        read_annotations(write("a.gz", gzip.compress(b"[]" * 1000)[:-9]))
