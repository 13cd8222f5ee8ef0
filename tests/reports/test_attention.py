import numpy as np
import pytest
from PIL import Image

from eosin.core import RunError
from eosin.reports import AttendedSlide, AttentionData, write_attention


def make_slide(name, **content):
    values = {"overlay": None, "gallery": None, "words": ()} | content
    return AttendedSlide(slide_id=name, facts=[("Called", "tumor")], **values)


def make_data(slides):
    return AttentionData(
        title="What <run> attends to", facts="3 folds", scale=["1/n"], slides=slides
    )


def test_the_page_needs_nothing_but_itself(tmp_path):
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((2000, 10, 3), np.uint8)).save(picture)
    slide = make_slide(
        "S<1>", overlay=picture, gallery=picture, words=("2.1", "0.6"), note="no TIFF"
    )
    write_attention(tmp_path / "page.html", make_data([slide]))
    text = (tmp_path / "page.html").read_text()
    assert text.count("data:image/jpeg;base64,") == 2
    assert "S&lt;1&gt;" in text
    assert "S<1>" not in text
    assert "2.1, 0.6" in text
    assert "no TIFF" in text
    assert 'src="http' not in text


def test_many_slides_are_counted_and_not_shown(tmp_path):
    slides = [make_slide(f"S{i}") for i in range(63)]
    write_attention(tmp_path / "page.html", make_data(slides))
    text = (tmp_path / "page.html").read_text()
    assert "S59" in text
    assert "S60" not in text
    assert "3 more slides are not shown" in text


def test_a_picture_that_is_none_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no")
    with pytest.raises(RunError, match=r"a\.jpg: cannot be read as a picture"):
        write_attention(
            tmp_path / "page.html",
            make_data([make_slide("S", overlay=tmp_path / "a.jpg")]),
        )
