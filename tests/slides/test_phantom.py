import numpy as np
import pytest
import shapely

from eosin.slides import make_phantom, open_slide


def test_the_same_arguments_give_the_same_slide():
    first, second = (make_phantom(seed=4, size_px=(400, 300)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    other = make_phantom(seed=5, size_px=(400, 300))
    assert not np.array_equal(first.image, other.image)


def test_tumour_lies_on_tissue_is_darker_and_can_be_left_out(phantom):
    assert (phantom.tissue | ~phantom.tumour).all()
    blue = phantom.image[..., 0].astype(float)
    assert blue[phantom.tumour].mean() < blue[phantom.tissue & ~phantom.tumour].mean()
    assert blue[~phantom.tissue].mean() > 230
    assert not make_phantom(seed=1, size_px=(300, 300), has_tumour=False).tumour.any()


def test_outlines_enclose_the_tumour(phantom):
    outlines = phantom.tumour_outlines()
    area = sum(shapely.make_valid(shapely.Polygon(o)).area for o in outlines)
    assert area == pytest.approx(phantom.tumour.sum(), rel=0.05)


def test_benign_tissue_has_glands_with_a_pale_lumen_and_tumour_is_crowded():
    made = make_phantom(seed=2, size_px=(1400, 1200))
    benign = make_phantom(seed=2, size_px=(1400, 1200), has_tumour=False)
    pale = (benign.image.min(axis=2) > 215) & benign.tissue
    assert pale.mean() > 0.005
    dark = made.image[..., 0] < 120
    assert dark[made.tumour].mean() > 1.5 * dark[made.tissue & ~made.tumour].mean()


def test_shapes_have_the_same_size_in_micrometres():
    coarse = make_phantom(seed=2, size_px=(300, 300), mpp=2.0)
    assert coarse.mpp == 2.0
    assert 0.3 < coarse.tissue.mean() < 0.6


def test_a_written_phantom_reads_back(phantom, phantom_path, tmp_path):
    with open_slide(phantom_path) as slide:
        found = slide.read(0, 0, 768, 640).astype(int)
        assert np.abs(found - phantom.image).mean() < 4
    phantom.write(tmp_path / "one.tif", downsample=None)
    with open_slide(tmp_path / "one.tif") as slide:
        assert len(slide.levels) == 1


def test_scanners_differ_in_colour():
    means = [
        make_phantom(seed=2, size_px=(300, 300), scanner=s).image.mean(axis=(0, 1))
        for s in ("S1", "S2", "S3")
    ]
    assert np.abs(means[0] - means[1]).max() > 1
    assert np.abs(means[0] - means[2]).max() > 1


@pytest.mark.parametrize("kind", ["pen", "fold", "blur", "bubble"])
def test_an_artefact_changes_the_picture_where_it_says(kind):
    plain = make_phantom(seed=3, size_px=(500, 400))
    spoilt = make_phantom(seed=3, size_px=(500, 400), artefacts=(kind,))
    is_changed = (plain.image != spoilt.image).any(axis=2)
    mask = spoilt.artefacts[kind]
    assert mask.any()
    assert is_changed[mask].mean() > 0.3
    # A bubble's rim is drawn on its edge.
    assert is_changed[~mask].mean() < 0.05


def test_unknown_scanners_and_tiny_slides_are_refused():
    with pytest.raises(ValueError, match="scanner must be one of"):
        make_phantom(seed=0, scanner="S9")
    with pytest.raises(ValueError, match="256 px a side"):
        make_phantom(seed=0, size_px=(100, 300))
