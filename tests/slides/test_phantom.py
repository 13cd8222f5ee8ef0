import numpy as np
import pytest
import shapely

from eosin.slides import make_phantom


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
