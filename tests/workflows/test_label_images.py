"""Labels and macro images show whose slide it is; no output shows them."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from eosin.settings import ExploreSettings, PredictionSettings, TilingSettings
from eosin.slides import make_phantom, open_slide
from eosin.workflows.explore import explore_tiles
from eosin.workflows.predict import predict
from eosin.workflows.tile import tile_cohort
from eosin.workflows.validate import tabulate_checks, validate_slides

LABEL, MACRO = (255, 0, 255), (0, 255, 60)
NAME = "DOE JANE 4711"
_URI = re.compile(rb"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)")


@pytest.fixture(scope="module")
def slide_path(tmp_path_factory):
    """A slide in Aperio's form, whose header and whose label name a patient."""
    phantom = make_phantom(seed=5, size_px=(1024, 1024), mpp=0.5)
    path = tmp_path_factory.mktemp("labelled") / "S1.svs"
    said = f"Aperio Image Library\n1024x1024|AppMag = 20|MPP = 0.5|Title = {NAME}"
    with tifffile.TiffWriter(path) as file:
        options = {"photometric": "rgb", "metadata": None}
        tiled = {**options, "tile": (256, 256), "compression": "deflate"}
        file.write(phantom.image, description=said, **tiled)
        small = np.ascontiguousarray(phantom.image[::8, ::8])
        file.write(small, description="Aperio\nthumbnail 128x128", **options)
        file.write(np.ascontiguousarray(phantom.image[::4, ::4]), **tiled)
        for name, colour in (("label", LABEL), ("macro", MACRO)):
            image = np.full((200, 300, 3), colour, np.uint8)
            file.write(image, description=f"Aperio\n{name} 300x200", **options)
    return path


def show(image):
    """Tell which of the two colours a picture shows on a hundredth of it or more."""
    pixels = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    return {
        colour
        for colour in (LABEL, MACRO)
        if (np.abs(pixels - colour).max(axis=1) < 40).mean() > 0.01
    }


def find_shown(folder):
    """Find files that hold a patient's name, or show one of the two colours."""
    shown = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        pictures = [base64.b64decode(uri) for uri in _URI.findall(data)]
        if path.suffix in (".jpg", ".png", ".tif"):
            pictures.append(data)
        found = [bytes(c) for c in (LABEL, MACRO) if bytes(c) * 100 in data]
        found += [
            colour for p in pictures for colour in show(Image.open(io.BytesIO(p)))
        ]
        if found or NAME.encode() in data:
            shown[path.name] = found
    return shown


def test_the_search_finds_what_is_there(slide_path, tmp_path):
    with open_slide(slide_path) as slide:
        images = slide.associated_images
        assert slide.properties["aperio.Title"] == NAME
    assert (images["label"] == LABEL).all()
    assert (images["macro"] == MACRO).all()
    Image.fromarray(images["label"]).save(tmp_path / "a.jpg")
    data = base64.b64encode((tmp_path / "a.jpg").read_bytes()).decode()
    (tmp_path / "b.html").write_text(f'<img src="data:image/jpeg;base64,{data}">')
    (tmp_path / "c.json").write_text(NAME)
    assert list(find_shown(tmp_path)) == ["a.jpg", "b.html", "c.json"]


def test_no_output_shows_a_label(slide_path, run_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (check,) = validate_slides([slide_path])
    tabulate_checks([check]).to_csv(out / "checked.csv")
    table = tmp_path / "slides.csv"
    pd.DataFrame([{"path": slide_path, "label": "normal"}]).to_csv(table, index=False)
    tiling = TilingSettings(mpp=1.0, tile_px=64)
    result = tile_cohort(table, out / "tiles", tiling, pack=True)
    assert result.n_tiles > 20
    explore_tiles(out / "tiles", out / "explored", ExploreSettings())
    settings = PredictionSettings()
    predict(run_folder, [slide_path], out / "predicted", settings)
    predict(run_folder, [result.pack.path], out / "from-pack", settings)
    names = {path.suffix for path in out.rglob("*")}
    assert {".jpg", ".html", ".arrow", ".parquet", ".json", ".csv"} <= names
    assert find_shown(out) == {}


def test_that_they_are_there_is_told(slide_path, phantom_path):
    labelled, plain = validate_slides([slide_path, phantom_path])
    assert labelled.facts["associated"] == "thumbnail, label, macro"
    assert plain.facts["associated"] == ""
    table = tabulate_checks([labelled, plain])
    assert table["associated"].tolist() == ["thumbnail, label, macro", ""]
