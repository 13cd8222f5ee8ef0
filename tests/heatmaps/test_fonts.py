import numpy as np
import pytest

from eosin.heatmaps import fonts
from eosin.heatmaps.fonts import load_font, shorten


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
    monkeypatch.setattr(fonts, "find_spec", lambda _: spec)
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
