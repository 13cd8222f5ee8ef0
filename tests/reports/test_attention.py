import numpy as np
from PIL import Image

from eosin.reports import AttendedSlide, make_attention_page


def make_page(*names, **content):
    content = {"overlay": None, "gallery": None, "words": ()} | content
    facts = [("Called", "tumor")]
    slides = [AttendedSlide(slide_id=n, facts=facts, **content) for n in names]
    return make_attention_page("What <run> attends to", ["3 folds"], ["1/n"], slides)


def test_slides_are_shown_with_their_pictures_and_words(tmp_path, read):
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((2000, 10, 3), np.uint8)).save(picture)
    content = {"overlay": picture, "gallery": picture, "words": ("2.1", "0.6")}
    page = read(make_page("S<1>", note="no TIFF", **content))
    assert len(page.find("img")) == 2
    for text in ("S<1>", "How to read it", "2.1, 0.6", "no TIFF", "Called tumor"):
        assert text in page.words


def test_many_slides_are_counted_and_not_shown(read):
    page = read(make_page(*(f"S{i}" for i in range(63))))
    assert "S59" in page.words
    assert "S60" not in page.words
    assert "3 more are not shown" in page.words
