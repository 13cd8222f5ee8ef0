import os
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from shapely import box
from tests.slides.dicom_files import paint, write_image, write_slide

from eosin.annotations import Feature, write_geojson
from eosin.core import ConfigError, SlideError
from eosin.slides import write_pyramid
from eosin.workflows import validate as module
from eosin.workflows.validate import tabulate_checks, validate_slides


def check(path, **options):
    (result,) = validate_slides([path], **options)
    return result


def test_a_good_slide_is_ok_and_its_facts_are_told(cohort):
    result = check(cohort.new_slides[0])
    assert (result.status, result.problems) == ("ok", ())
    assert result.facts["mpp"] == pytest.approx(0.5)
    assert result.facts["mpp_source"] == "tiff resolution"
    assert result.facts["width_px0"] == 1024


def test_what_is_wrong_is_said(tmp_path):
    write_pyramid(tmp_path / "blank.tif", np.full((300, 300, 3), 244, np.uint8), mpp=1)
    write_pyramid(tmp_path / "dark.tif", np.full((300, 300, 3), 9, np.uint8), mpp=1)
    bare = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    tifffile.imwrite(tmp_path / "no_mpp.tif", bare, tile=(64, 64), photometric="rgb")
    (tmp_path / "empty.svs").write_bytes(b"")
    found = {c.path.name: c for c in validate_slides([tmp_path])}
    assert "nothing on it is coloured" in found["blank.tif"].problems[0]
    assert "fluorescence" in found["dark.tif"].problems[0]
    assert "--slide-mpp" in found["no_mpp.tif"].problems[0]
    assert found["no_mpp.tif"].status == "warning"
    assert found["empty.svs"].status == "error"
    assert "0 bytes" in found["empty.svs"].problems[0]


def test_what_is_left_out_and_not_square_is_a_warning(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (256, 512, 3), np.uint8)
    options = {"tile": (64, 64), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(tmp_path / "label.tif") as file:
        file.write(image, resolution=(20_000, 20_000), metadata=None, **options)
        file.write(image[:100, :100].copy(), subfiletype=1, metadata=None, **options)
    tifffile.imwrite(
        tmp_path / "wide.tif", image, resolution=(20_000, 19_000), **options
    )
    found = {c.path.name: c for c in validate_slides([tmp_path])}
    assert {c.status for c in found.values()} == {"warning"}
    assert "100 x 100 px is left out" in found["label.tif"].problems[0]
    # 1 / 19,000 cm are 0.526 micrometres.
    assert "0.526316 in y" in found["wide.tif"].problems[0]


def test_urls_stay_whole(monkeypatch):
    url = "https://host/a.svs"
    monkeypatch.setattr(module, "open_slide", lambda path, mpp: fail(path))

    def fail(path):
        raise SlideError(f"{path}: gone")

    result = check(url)
    assert (result.path, result.name, result.problems) == (
        url,
        "a.svs",
        (f"{url}: gone",),
    )


def test_a_dicom_label_that_cannot_be_read_is_a_warning(tmp_path):
    path = write_slide(tmp_path, "jpeg")

    def change(made):
        made.BitsStored = made.BitsAllocated = 16

    label = {"uid": "1.2.3.3", "flavour": "LABEL", "change": change}
    write_image(tmp_path / "3.dcm", paint(64, 64), 64, "plain", **label)
    (check,) = validate_slides([path])
    assert check.status == "warning"
    assert check.problems[0].startswith(
        "images beside the pyramid are left out: label (3.dcm: pixels must have 8 bits"
    )


def test_a_given_mpp_answers_for_the_slide(tmp_path):
    bare = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    tifffile.imwrite(tmp_path / "no_mpp.tif", bare, tile=(64, 64), photometric="rgb")
    assert check(tmp_path / "no_mpp.tif", slide_mpp=0.5).status == "ok"


def test_one_level_is_a_warning_on_a_large_slide_only(tmp_path):
    image = np.full((64, 9000, 3), (200, 120, 180), np.uint8)
    write_pyramid(tmp_path / "flat.tif", image, mpp=1, downsample=None)
    assert "one level only" in check(tmp_path / "flat.tif").problems[0]


def test_a_slide_cut_short_is_an_error(cohort, tmp_path):
    whole = cohort.new_slides[0].read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: len(whole) // 2])
    assert check(tmp_path / "cut.tif").status == "error"


def test_a_slide_table_and_its_mpp_are_used(cohort):
    checks = validate_slides([cohort.table])
    assert len(checks) == 10
    table = tabulate_checks(checks)
    assert list(table["status"]) == ["ok"] * 10
    assert table["width_px0"].dtype == "Int64"


def test_annotations_of_a_table_are_held_against_the_tissue(cohort, tmp_path):
    table = pd.read_csv(cohort.table)[["path"]][:2]
    table["path"] = [str(cohort.table.parent / path) for path in table["path"]]
    write_geojson(tmp_path / "a.geojson", [Feature(box(1, 1, 30, 30))])
    write_geojson(tmp_path / "b.geojson", [Feature(box(9e4, 9e4, 9.1e4, 9.1e4))])
    table["annotation"] = ["a.geojson", "b.geojson"]
    table.to_csv(tmp_path / "slides.csv", index=False)
    on_glass, far = validate_slides(tmp_path / "slides.csv")
    assert on_glass.status == "warning"
    assert "a.geojson: 0% of the outlined area lies on tissue" in on_glass.problems[0]
    assert far.status == "error"
    assert "outside the slide" in far.problems[0]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("CMU-1-Small-Region.svs", "ok", ""),
        ("OS-1-detail.ome.tif", "ok", ""),
        ("boxes_0.dcm", "ok", ""),
        ("boxes.tiff", "warning", "no mpp that is plausible"),
        ("camelyon16_tumor_001_level5.tif", "warning", "no mpp"),
        ("tcga-cr-7395-01a-01-ts1.svs", "warning", "no mpp"),
        ("unreadable.svs", "error", "cannot be decoded"),
        ("unopenable.tiff", "error", "Unsupported TIFF compression"),
        ("small_dicom.dcm", "error", "ImageType (0008,0008) must say"),
    ],
)
def test_real_files_get_the_right_message(data_folder, name, status, message):
    result = check(data_folder / "wsi" / name)
    assert result.status == status
    assert message in " ".join(result.problems)


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(cohort, tmp_path, forbid):
    for name in ("a.tif", "b.tif", "c.png"):
        shutil.copy(cohort.new_slides[0], tmp_path / name)
    (tmp_path / "link.svs").symlink_to(tmp_path / "gone.svs")
    os.mkfifo(tmp_path / "pipe.tif")
    forbid(tmp_path / "b.tif")
    found = {check.path.name: check for check in validate_slides([tmp_path])}
    assert {name: check.status for name, check in found.items()} == {
        "a.tif": "ok",
        "b.tif": "error",
        "c.png": "ok",
        "link.svs": "error",
        "pipe.tif": "error",
    }
    assert "Permission denied" in found["b.tif"].problems[0]
    assert "gone" in found["link.svs"].problems[0]
    assert "a pipe" in found["pipe.tif"].problems[0]


def test_a_resolution_that_no_scan_has_is_refused(phantom_path):
    with pytest.raises(ConfigError, match=r"slide_mpp must be .* got 500"):
        validate_slides(phantom_path, slide_mpp=500)
