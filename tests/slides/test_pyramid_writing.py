import errno

import numpy as np
import openslide
import pytest
import tifffile

from eosin.core import RunError
from eosin.slides import write_pyramid


def test_openslide_finds_the_levels_and_the_mpp(tmp_path):
    image = np.full((700, 1100, 3), (200, 100, 150), np.uint8)
    write_pyramid(tmp_path / "a.tif", image, mpp=0.25, description="made")
    with openslide.OpenSlide(tmp_path / "a.tif") as slide:
        assert slide.level_dimensions == (
            (1100, 700),
            (550, 350),
            (275, 175),
            (137, 87),
        )
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)
        pixel = slide.read_region((50, 50), 0, (1, 1)).getpixel((0, 0))
    assert np.abs(np.array(pixel[:3]) - (200, 100, 150)).max() <= 2


def test_values_stay_exact_without_jpeg(tmp_path):
    values = np.random.default_rng(0).random((300, 280)).astype(np.float32)
    write_pyramid(tmp_path / "a.tif", values, mpp=8, compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.pages[0].asarray(), values)
        # 1250 pixels per centimetre are 8 micrometres each.
        numerator, denominator = file.pages[0].tags["XResolution"].value
        assert numerator / denominator == pytest.approx(1250)
        assert len(file.pages) == 2


@pytest.mark.parametrize(("mpp", "downsample"), [(0, 2), (-1, 2), (1, 1), (1, 0)])
def test_a_pyramid_without_scale_or_end_is_refused(tmp_path, mpp, downsample):
    image = np.zeros((600, 600, 3), np.uint8)
    with pytest.raises(ValueError, match="a pyramid needs an mpp above 0"):
        write_pyramid(tmp_path / "a.tif", image, mpp=mpp, downsample=downsample)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def fill(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tifffile.TiffWriter, "write", fill)
    with pytest.raises(RunError, match=r"a\.tif: cannot be written .No space left"):
        write_pyramid(tmp_path / "a.tif", np.zeros((9, 9, 3), np.uint8), mpp=1)
    assert not list(tmp_path.iterdir())


def test_each_level_is_the_mean_of_the_finer_one(tmp_path):
    image = np.random.default_rng(0).random((512, 768)).astype(np.float32)
    write_pyramid(tmp_path / "a.tif", image, mpp=1, compression="deflate")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        halved = image.reshape(256, 2, 384, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(file.pages[1].asarray(), halved, atol=1e-6)
        assert [page.subfiletype for page in file.pages] == [0, 1, 1]
