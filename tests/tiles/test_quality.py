import cv2
import numpy as np
import pytest

from eosin.tiles import quality
from eosin.tiles.quality import (
    find_artefacts,
    find_pen,
    measure_plainly,
    measure_sharpness,
)

MPP = 8.0


def make_tissue(seed: int = 0, size: int = 260) -> tuple[np.ndarray, np.ndarray]:
    """Paint speckled pink tissue in the middle of glass; the picture and its mask."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), 243, np.uint8)
    inner = slice(20, size - 20)
    speckle = rng.normal(0, 14, (size - 40, size - 40, 1))
    stained = np.array([200, 130, 175]) + speckle
    image[inner, inner] = np.clip(stained, 0, 255).astype(np.uint8)
    mask = np.zeros((size, size), bool)
    mask[inner, inner] = True
    return image, mask


@pytest.mark.parametrize(
    "colour",
    [(30, 120, 50), (30, 50, 160), (25, 25, 25), (220, 30, 40)],
    ids=["green", "blue", "black", "red"],
)
def test_every_pen_is_found_on_glass_and_on_tissue(colour) -> None:
    image, _ = make_tissue()
    image[120:132, 5:200] = colour
    pen = find_pen(image, MPP)
    assert pen[122:130, 10:195].mean() > 0.95
    assert pen.sum() < 1.6 * 12 * 195


def test_stained_tissue_is_no_pen() -> None:
    image, _ = make_tissue()
    image[100:150, 100:150] = (110, 60, 140)  # crowded nuclei
    image[160:200, 60:120] = (190, 60, 100)  # blood
    assert not find_pen(image, MPP).any()


def test_a_dot_of_ink_is_too_small() -> None:
    image, _ = make_tissue()
    image[100:106, 100:106] = (30, 120, 50)
    assert not find_pen(image, MPP).any()


def test_pen_is_followed_where_tissue_below_makes_it_dark() -> None:
    image, _ = make_tissue()
    image[120:132, 5:120] = (90, 170, 120)
    image[120:132, 120:135] = (80, 45, 60)
    pen = find_pen(image, MPP)
    assert pen[123:129, 122:132].all()


def test_a_fold_is_found() -> None:
    image, mask = make_tissue()
    band = image[100:110, 60:200].astype(np.float32)
    image[100:110, 60:200] = ((band / 245) ** 2.5 * 245).astype(np.uint8)
    pen = np.zeros_like(mask)
    fold = find_artefacts(image, MPP, mask, pen)["fold"]
    truth = np.zeros_like(mask)
    truth[100:110, 60:200] = True
    assert fold[truth].mean() > 0.7
    assert fold[~truth].mean() < 0.02


def test_an_unfocused_area_is_found() -> None:
    image, mask = make_tissue()
    blurred = cv2.GaussianBlur(image, (0, 0), 4)
    image[60:150, 60:150] = blurred[60:150, 60:150]
    found = find_artefacts(image, MPP, mask, np.zeros_like(mask))["out_of_focus"]
    assert found[80:130, 80:130].mean() > 0.9
    assert not found[180:].any()


def test_even_tissue_has_no_fault() -> None:
    image, mask = make_tissue()
    faults = find_artefacts(image, MPP, mask, np.zeros_like(mask))
    assert list(faults) == ["pen", "fold", "out_of_focus"]
    assert not any(fault.any() for fault in faults.values())


@pytest.mark.parametrize("n_px", [0, 50, 400])
def test_hardly_any_tissue_has_no_fault(n_px: int) -> None:
    image, mask = make_tissue()
    mask[:] = False
    mask[100:102, 20 : 20 + n_px // 2] = True
    faults = find_artefacts(image, MPP, mask, np.zeros_like(mask))
    assert not any(fault.any() for fault in faults.values())


def test_faults_lie_on_tissue() -> None:
    image, mask = make_tissue()
    image[:, 200:] = cv2.GaussianBlur(image, (0, 0), 5)[:, 200:]
    faults = find_artefacts(image, MPP, mask, np.zeros_like(mask))
    assert not (faults["fold"] & ~mask).any()
    assert not (faults["out_of_focus"] & ~mask).any()


def test_sharpness_is_the_variance_of_the_grey_laplacian() -> None:
    # A grey chessboard of 0 and 8: the Laplacian is -32 or +32 everywhere.
    board = (np.indices((16, 16)).sum(axis=0) % 2 * 8).astype(np.uint8)
    tiles = np.repeat(board[None, :, :, None], 3, axis=3)
    assert measure_sharpness(tiles)[0] == pytest.approx(32**2)


def test_blur_lowers_sharpness_and_a_flat_tile_has_none() -> None:
    image, _ = make_tissue()
    tile = image[50:114, 50:114]
    tiles = np.stack([tile, cv2.GaussianBlur(tile, (0, 0), 2), np.full_like(tile, 9)])
    sharp, blurred, flat = measure_sharpness(tiles)
    assert sharp > 5 * blurred > 0
    assert flat == 0


def test_mean_colours_are_numpys_to_the_last_bit() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (3, 31, 17, 3), dtype=np.uint8)
    means = tiles.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
    assert (measure_plainly(tiles)[:, 1:] == means).all()


@pytest.mark.parametrize("sigma", [4.0, 16.0, 50.0])
def test_a_blur_on_a_shrunken_picture_is_the_whole_ones(monkeypatch, sigma) -> None:
    monkeypatch.setattr(quality, "BAND_PX", 64)
    image, mask = make_tissue(size=331)
    values = image[..., 1].astype(np.float32)
    weight = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)
    total = cv2.GaussianBlur(values * mask, (0, 0), sigma)
    whole = total / np.maximum(weight, 0.05)
    found = quality._blur_within(values, mask, sigma, 0.05)
    assert found.shape == mask.shape
    error = np.abs(found - whole)[mask] / whole[mask]
    assert error.max() < 0.01
