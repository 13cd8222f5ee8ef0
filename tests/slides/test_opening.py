import openslide
import pytest

from eosin.core import SlideError
from eosin.slides import open_slide


def test_what_is_missing_empty_or_no_slide_is_said(tmp_path):
    with pytest.raises(SlideError, match="no such file"):
        open_slide(tmp_path / "none.svs")
    (tmp_path / "empty.svs").write_bytes(b"")
    with pytest.raises(SlideError, match="0 bytes"):
        open_slide(tmp_path / "empty.svs")
    (tmp_path / "notes.svs").write_text("these are notes")
    with pytest.raises(SlideError, match="not a slide that OpenSlide knows"):
        open_slide(tmp_path / "notes.svs")
    with pytest.raises(SlideError, match="not a slide"):
        open_slide(tmp_path)


def test_a_slide_cut_short_is_an_error(phantom_path, tmp_path):
    (tmp_path / "cut.tif").write_bytes(phantom_path.read_bytes()[:5000])
    with pytest.raises(SlideError):
        open_slide(tmp_path / "cut.tif")


def test_a_text_will_do_as_a_path(phantom_path):
    with open_slide(str(phantom_path)) as slide:
        assert slide.path == phantom_path


def test_a_file_that_cannot_be_looked_at_is_an_error(phantom_path, monkeypatch):
    def refuse(_path):
        raise openslide.OpenSlideError("disk gone")

    monkeypatch.setattr(openslide.OpenSlide, "detect_format", refuse)
    with pytest.raises(SlideError, match=r"cannot be read \(disk gone"):
        open_slide(phantom_path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unopenable.tiff", "Unsupported TIFF compression"),
        ("small_dicom.dcm", "Couldn't get image flavor"),
        ("Tumor_001.json", "not a slide that OpenSlide knows"),
    ],
)
def test_real_broken_files_get_the_right_message(data_folder, name, message):
    with pytest.raises(SlideError, match=message):
        open_slide(data_folder / "wsi" / name)
