import cv2
import numpy as np
import pytest

from eosin.core import SlideError
from eosin.slides import make_phantom
from eosin.tiles import OpticalDensityTissue, OtsuTissue, find_tissue
from eosin.tiles import tissue as module

METHODS = [OtsuTissue(), OpticalDensityTissue()]


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("method", METHODS)
def test_a_stained_disc_is_found(method, disc) -> None:
    found = method.find(disc, 8.0)
    truth = np.zeros(found.shape, np.uint8)
    cv2.circle(truth, (100, 100), 50, 1, -1)
    assert agreement(found, truth > 0) > 0.9


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grey", [255, 243, 210])
def test_a_blank_slide_has_no_tissue(method, grey) -> None:
    noise = np.random.default_rng(0).normal(grey, 1.5, (120, 150, 1))
    image = np.repeat(np.clip(noise, 0, 255), 3, axis=2).astype(np.uint8)
    assert not method.find(image, 8.0).any()


@pytest.mark.parametrize("method", METHODS)
def test_a_slide_full_of_tissue_is_not_split(method) -> None:
    # Two strengths of stain and no glass: Otsu alone would drop the weaker half.
    image = np.full((120, 150, 3), (205, 140, 185), np.uint8)
    image[:, 75:] = (150, 60, 130)
    assert method.find(image, 8.0).all()


def test_pale_tissue_is_found_by_density() -> None:
    image = np.full((150, 150, 3), 243, np.uint8)
    image[40:110, 40:110] = (232, 222, 228)
    truth = np.zeros((150, 150), bool)
    truth[40:110, 40:110] = True
    assert agreement(OpticalDensityTissue().find(image, 8.0), truth) > 0.85


@pytest.mark.parametrize("method", METHODS)
def test_specks_go_and_small_holes_are_filled(method, disc) -> None:
    image = disc.copy()
    image[5:9, 5:9] = (200, 120, 170)  # 32 um of dust
    image[98:102, 98:102] = 243
    found = method.find(image, 8.0)
    assert not found[:20, :20].any()
    assert found[100, 100]


@pytest.mark.parametrize("method", METHODS)
def test_a_black_border_is_no_tissue(method, disc) -> None:
    image = disc.copy()
    image[:, :20] = (3, 0, 8)
    assert not method.find(image, 8.0)[:, :18].any()


def test_tissue_of_a_made_slide_is_found(array_slide, phantom) -> None:
    found = find_tissue(array_slide(phantom.image), OtsuTissue())
    assert found.downsample == 8.0
    assert found.mask.shape == (112, 128)
    truth = cv2.resize(
        phantom.tissue.astype(np.float32), (128, 112), interpolation=cv2.INTER_AREA
    )
    assert agreement(found.mask, truth > 0.5) > 0.85
    assert set(found.artefacts) == {"pen", "fold", "out_of_focus"}
    assert all(m.shape == found.mask.shape for m in found.artefacts.values())


@pytest.mark.parametrize(
    ("mpp", "most", "downsample", "side"),
    # A coarse slide is read as it is; the picture of a large one is bounded.
    [(20.0, 25_000_000, 1, 200), (8.0, 2500, 4, 50)],
)
def test_the_picture_is_as_coarse_as_it_may(
    array_slide, disc, monkeypatch, mpp, most, downsample, side
) -> None:
    monkeypatch.setattr(module, "_MAX_PIXELS", most)
    found = find_tissue(array_slide(disc, mpp=mpp), OtsuTissue())
    assert found.mask.shape == (side, side)
    assert found.downsample == pytest.approx(downsample)


def test_pen_is_never_tissue(array_slide, disc) -> None:
    image = disc.copy()
    image[20:32, 10:150] = (30, 140, 60)
    found = find_tissue(array_slide(image, mpp=8.0), OtsuTissue())
    assert found.artefacts["pen"][26, 80]
    assert not (found.mask & found.artefacts["pen"]).any()
    assert found.mask[100, 100]


def draw_slide(glass: tuple[int, int, int], stain=(205, 140, 185)) -> np.ndarray:
    """Paint a disc of speckled stain, radius a quarter of the side, on even glass."""
    rng = np.random.default_rng(0)
    image = np.full((240, 240, 3), glass, np.float32) + rng.normal(0, 1, (240, 240, 1))
    speckled = np.array(stain) + rng.normal(0, 14, (240, 240, 1))
    rows, columns = np.indices((240, 240)) - 120
    is_tissue = rows**2 + columns**2 < 60**2
    image[is_tissue] = speckled[is_tissue]
    return np.clip(image, 0, 255).astype(np.uint8)


DISC = np.hypot(*(np.indices((240, 240)) - 120)) < 60


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "glass",
    [
        (236, 224, 186),
        (225, 180, 110),  # amber
        (214, 238, 210),  # green
        (212, 224, 246),  # blue
        (246, 226, 236),  # pink
        (188, 178, 148),  # dim and yellowed
        (170, 170, 171),  # dim
    ],
)
def test_tinted_and_dim_glass_is_no_tissue(method, glass) -> None:
    assert agreement(method.find(draw_slide(glass), 8.0), DISC) > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_glass_may_be_tinted_in_one_half_or_darken(method) -> None:
    half, shaded = draw_slide((243, 243, 243)), draw_slide((240, 228, 190))
    half[:, :120] = shaded[:, :120]
    assert agreement(method.find(half, 8.0), DISC) > 0.9
    dark = shaded * np.linspace(1, 0.8, 240)[:, None]
    found = OtsuTissue().find(dark.astype(np.uint8), 8.0)
    assert agreement(found, DISC) > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_parts_filled_with_white_do_not_hide_the_tint(method) -> None:
    image = draw_slide((236, 224, 186))
    image[:, :40] = 255
    assert agreement(method.find(image, 8.0), DISC) > 0.9


def test_tissue_without_glass_is_all_tissue() -> None:
    noise = np.random.default_rng(1).normal(0, 12, (200, 200, 1))
    for stain in ((205, 140, 185), (235, 205, 222)):
        image = np.clip(np.array(stain) + noise, 0, 255).astype(np.uint8)
        assert OtsuTissue().find(image, 8.0).mean() > 0.98


def test_faint_even_tissue_is_no_glass() -> None:
    image = draw_slide((243, 243, 243))
    image[DISC] = (232, 215, 226)
    assert agreement(OtsuTissue().find(image, 8.0), DISC) > 0.9


@pytest.mark.parametrize(
    "ink",
    [
        (230, 120, 40),
        (215, 90, 100),
        (110, 50, 150),
        (130, 80, 170),
        (220, 60, 160),
        (110, 70, 40),
        (250, 240, 90),
        (255, 120, 180),
    ],
    ids=["orange", "red", "violet", "lilac", "magenta", "brown", "yellow", "pink"],
)
@pytest.mark.parametrize("glass", [(243, 243, 244), (238, 230, 205)])
def test_ink_of_every_colour_is_no_tissue(array_slide, ink, glass) -> None:
    image = draw_slide(glass)
    image[10:40] = ink
    found = find_tissue(array_slide(image, mpp=8.0), OtsuTissue())
    assert found.artefacts["pen"][12:38].mean() > 0.95
    assert agreement(found.mask, DISC) > 0.9


def test_a_slide_without_mpp_is_refused(array_slide, disc) -> None:
    with pytest.raises(SlideError, match="resolution"):
        find_tissue(array_slide(disc, mpp=None), OtsuTissue())


@pytest.mark.parametrize("scanner", ["S1", "S2", "S3"])
def test_every_scanner_is_served(array_slide, scanner) -> None:
    made = make_phantom(seed=5, size_px=(768, 640), mpp=1.0, scanner=scanner)
    found = find_tissue(array_slide(made.image), OtsuTissue())
    assert found.mask.mean() == pytest.approx(made.tissue.mean(), abs=0.06)


FAINT = (226, 204, 221)


@pytest.mark.parametrize(
    "ink", [(200, 30, 40), (40, 60, 170), (250, 240, 60), (240, 100, 170)]
)
def test_pen_beside_faint_tissue_hides_none_of_it(array_slide, ink) -> None:
    image = draw_slide((243, 243, 243), FAINT)
    image[10:30, 10:230] = ink
    found = find_tissue(array_slide(image, mpp=8.0), OtsuTissue())
    assert agreement(found.mask, DISC) > 0.9
    assert found.artefacts["pen"][20, 20:220].all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "glass",
    [
        (225, 244, 228),  # green, of which a pink stain makes grey
        (214, 240, 240),
        (246, 226, 206),
        (235, 215, 150),
        (195, 224, 243),  # a white balance that is off
    ],
)
def test_faint_tissue_on_tinted_glass_is_no_second_glass(
    array_slide, method, glass
) -> None:
    # As light through both: without texture, so that it may be taken for glass.
    rng = np.random.default_rng(0)
    image = np.full((240, 240, 3), glass, np.float32) + rng.normal(0, 1, (240, 240, 1))
    image[DISC] *= np.array(FAINT) / 244
    found = find_tissue(array_slide(image.astype(np.uint8), mpp=8.0), method)
    assert agreement(found.mask, DISC) > 0.9
