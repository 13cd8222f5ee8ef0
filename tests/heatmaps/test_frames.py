import numpy as np
import pytest

from eosin.heatmaps import SlidePicture, frames
from eosin.heatmaps.canvas import SlideCanvas
from eosin.heatmaps.frames import (
    ColourBar,
    LegendEntry,
    add_frame,
    load_font,
    shorten,
)

RED = (200, 0, 0)


def frame(picture, legend=(), **options):
    options = {"title": "S1", "subtitle": "tumour"} | options
    return add_frame(SlideCanvas(picture), legend=legend, **options)


def is_colour(image, colour):
    return (image == colour).all(axis=2)


def test_the_picture_stands_whole_within_the_frame(picture):
    page = frame(picture)
    assert page.dtype == np.uint8
    inner = is_colour(page, (230, 230, 230))
    assert inner.sum() == 400 * 800
    rows, columns = np.nonzero(inner)
    assert rows.max() - rows.min() == 399
    assert columns.max() - columns.min() == 799


def test_signs_have_the_legends_colours(picture):
    blue = (0, 0, 200)
    legend = [LegendEntry(RED, "tumour"), LegendEntry(blue, "tissue", "line")]
    # A tiny slide has its scale bar in micrometres.
    for slide_size in ((8000, 4000), (80, 40)):
        page = frame(SlidePicture(picture.image, slide_size, 0.5, "S"), legend)
        assert is_colour(page, RED).sum() > 2 * is_colour(page, blue).sum() > 0


def test_a_long_legend_takes_more_lines_and_none_is_lost(picture):
    colours = [(200, i, 0) for i in range(12)]
    short = frame(picture, [LegendEntry(colours[0], "class")])
    page = frame(picture, [LegendEntry(c, "a rather long name") for c in colours])
    assert page.shape[0] > short.shape[0]
    for colour in colours:
        assert is_colour(page, colour).any()


def test_the_legend_does_not_meet_the_scale_bar(picture):
    few, many = (
        frame(picture, [LegendEntry(RED, "tumour, annotated by hand")] * n)
        for n in (1, 9)
    )
    bar = 200  # 1 mm at 5 um per pixel
    top = few.shape[0] - 400
    assert top > 0
    right = many[450:, -bar - 16 :]
    assert not is_colour(right[:30], RED).any()


def test_a_threshold_is_marked_where_it_stands(picture):
    plain, marked = (
        frame(picture, bar=ColourBar("probability", mark, "")) for mark in (None, 0.25)
    )
    columns = np.nonzero((plain != marked).any(axis=(0, 2)))[0]
    length = 16 * 12
    assert columns.mean() == pytest.approx(16 + 0.25 * length, abs=1.5)


def test_a_narrow_picture_gets_a_page_wide_enough_for_its_bar():
    image = np.full((600, 40, 3), 230, np.uint8)
    page = frame(
        SlidePicture(image, (400, 6000), 0.5, "S"), bar=ColourBar("probability")
    )
    assert page.shape[1] >= 30 * 12
    assert is_colour(page, (230, 230, 230)).sum() == 600 * 40


def test_a_long_title_stays_on_the_page(picture):
    page = frame(picture, title="TCGA-" * 100)
    assert (page[:40, -14:] == 255).all()
    assert (page[:40, -60:-16] < 255).any()


@pytest.mark.parametrize("letter", list("é²µ…łßб"))
def test_accents_and_units_are_letters_not_boxes(letter):
    font = load_font(20)
    missing = np.asarray(font.getmask("\uffff"))
    shown = np.asarray(font.getmask(letter))
    assert shown.any()
    assert shown.tobytes() != missing.tobytes()


@pytest.mark.parametrize("found", ["nothing", "no files"])
def test_pillows_own_font_stands_in(monkeypatch, tmp_path, found):
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    spec = None if found == "nothing" else Spec()
    monkeypatch.setattr(frames, "find_spec", lambda _: spec)
    assert load_font.__wrapped__(15).getlength("slide") > 0


def test_a_long_id_keeps_both_ends():
    font = load_font(12)
    name = "TCGA-B0-4710-01A-01-TS1.8e9f5c1b-3e4c-4d5e-9c1e-0123456789ab"
    short = shorten(name, font, 200)
    assert font.getlength(short) <= 200
    start, end = short.split("…")
    assert name.startswith(start)
    assert name.endswith(end)
    assert len(short) > 15
    assert shorten("S01", font, 500) == "S01"
    assert shorten("slide", font, 1) == "s"
