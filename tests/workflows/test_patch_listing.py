from dataclasses import replace

import cv2
import numpy as np
import pytest

from eosin.core import CohortError, ModelError, SlideError
from eosin.inference import ModelCard
from eosin.slides import write_pyramid
from eosin.workflows.import_patches import ImportConfig, import_patches
from eosin.workflows.patch_listing import list_patches, means_patches

PX = 16
CARD = ModelCard(
    class_names=("normal", "tumor"),
    encoder="smallcnn",
    weights="none",
    encoder_licence="",
    mpp=0.97,
    tile_px=PX,
    overlap_px=0,
    context=1.0,
    tissue="otsu",
    min_tissue=0.5,
    models=("model.onnx",),
    views=1,
    temperature=1.0,
    tile_threshold=0.5,
    slide_threshold=0.5,
    aggregation_share=0.1,
    threshold_rule="youden",
)


def paint(path, seed, shape=(PX, PX)):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    cv2.imwrite(str(path), rng.integers(0, 256, (*shape, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory):
    root = tmp_path_factory.mktemp("kaggle")
    for i in range(6):
        paint(root / "set" / "train" / f"p{i}.tif", i)
    for i in range(3):
        paint(root / "set" / "test" / f"q{i}.tif", 100 + i)
    lines = "\n".join(f"p{i},{i % 2}" for i in range(6))
    (root / "set" / "train_labels.csv").write_text(f"id,label\n{lines}\n")
    import_patches(root / "set", ImportConfig(layout="kaggle"), root / "tiles")
    return root


def test_an_import_and_small_images_are_patches(kaggle):
    assert means_patches([kaggle / "tiles"], PX)
    assert means_patches([kaggle / "set" / "test"], PX)
    assert means_patches([str(kaggle / "set" / "test" / "q0.tif")], PX)


def test_all_else_is_slides(kaggle, tmp_path):
    assert not means_patches([kaggle / "set" / "test"], PX - 1)
    assert not means_patches([kaggle / "set" / "train_labels.csv"], PX)
    assert not means_patches([tmp_path / "none"], PX)
    assert not means_patches([tmp_path], PX)
    assert not means_patches(["https://example.org/a.svs"], PX)
    write_pyramid(tmp_path / "slide.tif", np.zeros((512, 512, 3), np.uint8), mpp=1.0)
    assert not means_patches([tmp_path], PX)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "damaged.png").write_bytes(b"no image")
    assert not means_patches([tmp_path / "other"], PX)


def test_one_large_image_among_small_ones_makes_them_slides(tmp_path):
    for i in range(5):
        paint(tmp_path / f"{i}.png", i)
    assert means_patches([tmp_path], PX)
    paint(tmp_path / "5.png", 5, (PX, PX + 1))
    assert not means_patches([tmp_path], PX)


def test_small_pictures_beside_slides_do_not_make_them_patches(tmp_path):
    paint(tmp_path / "thumbnail.png", 0)
    assert means_patches([tmp_path], PX)
    (tmp_path / "a.SVS").write_bytes(b"")
    assert not means_patches([tmp_path], PX)


def test_of_an_import_the_patches_without_label_are_scored(kaggle):
    listing = list_patches([kaggle / "tiles"], CARD)
    assert listing.table["tile_id"].tolist() == ["q0", "q1", "q2"]
    assert listing.table["file"].tolist()[0] == "test/q0.tif"
    assert listing.folder == (kaggle / "set").resolve()
    assert "3 of 9 patches have no label" in listing.notes[0]
    reader = listing.open_reader()
    found = reader.read(np.array([2, 0]))
    reader.close()
    expected = [cv2.imread(str(kaggle / "set/test" / f"q{i}.tif")) for i in (2, 0)]
    np.testing.assert_array_equal(found, np.stack(expected)[..., ::-1])


def test_all_patches_of_an_import_may_be_scored(kaggle, tmp_path):
    listing = list_patches([kaggle / "tiles"], CARD, which="all")
    assert len(listing.table) == 9
    assert listing.notes == ()
    few = list_patches([kaggle / "tiles"], CARD)
    assert few.fingerprint != listing.fingerprint
    for i in range(2):
        paint(tmp_path / "set" / f"class{i}" / "a.png", i)
    import_patches(tmp_path / "set", ImportConfig(layout="folder"), tmp_path / "tiles")
    assert len(list_patches([tmp_path / "tiles"], CARD).table) == 2
    with pytest.raises(CohortError, match="all of its 2 patches have labels"):
        list_patches([tmp_path / "tiles"], CARD, which="unlabelled")


def test_images_are_listed_by_their_path_below_the_folder(tmp_path):
    for i, name in enumerate(("b", "a", "deep/c")):
        paint(tmp_path / "set" / f"{name}.png", i)
    paint(tmp_path / "one.png", 5)
    listing = list_patches([tmp_path / "set", tmp_path / "one.png"], CARD)
    assert listing.table["tile_id"].tolist() == ["a", "b", "deep/c", "one"]
    assert listing.table["label"].isna().all()
    assert "0.97 micrometres per pixel" in listing.notes[0]
    assert list_patches([tmp_path / "set"], replace(CARD, mpp=None)).notes == ()
    paint(tmp_path / "set" / "a.png", 77)
    changed = list_patches([tmp_path / "set", tmp_path / "one.png"], CARD)
    assert changed.fingerprint != listing.fingerprint


def test_images_of_another_size_are_read_only_if_that_is_wanted(tmp_path):
    paint(tmp_path / "a.png", 0)
    paint(tmp_path / "b.png", 1, (2 * PX, 2 * PX))
    reader = list_patches([tmp_path], CARD).open_reader()
    assert reader.read(np.array([0])).shape == (1, PX, PX, 3)
    with pytest.raises(SlideError, match="has 32 x 32 px, the model takes 16 x 16"):
        reader.read(np.array([0, 1]))
    reader.close()
    reader = list_patches([tmp_path], CARD, resample=True).open_reader()
    found = reader.read(np.array([1]))[0]
    reader.close()
    pixels = cv2.imread(str(tmp_path / "b.png"))[..., ::-1].astype(int)
    mean = pixels.reshape(PX, 2, PX, 2, 3).mean(axis=(1, 3))
    assert np.abs(found - mean).max() <= 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["set"], r"give .*test, or put it behind a tile table"),
        (["tiles", "tiles"], "an imported folder is scored by itself; 2 were given"),
        (["none.png"], "no such file or folder"),
    ],
)
def test_what_cannot_be_meant_is_said(kaggle, given, message):
    with pytest.raises(CohortError, match=message):
        list_patches([kaggle / name for name in given], CARD)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(CohortError, match="holds no image"):
        list_patches([tmp_path], CARD)


def test_tiles_of_slides_are_not_patches(tile_folder):
    with pytest.raises(CohortError, match="holds tiles of slides, not patches"):
        list_patches([tile_folder], CARD)


def test_a_model_for_other_tiles_is_refused(kaggle):
    other = replace(CARD, tile_px=32, mpp=0.5)
    with pytest.raises(ModelError, match=r"32, the tiles have 16; mpp 0\.5, .*import"):
        list_patches([kaggle / "tiles"], other)
    with pytest.raises(ModelError, match="2 times a tile's side"):
        list_patches([kaggle / "tiles"], replace(CARD, context=2.0))
