from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from eosin.core import CohortError, ModelError, SlideError, SlideFailure
from eosin.inference import score_tiles
from eosin.prediction.patches import (
    Block,
    list_patches,
    means_patches,
    score_block,
    tabulate_patches,
)
from eosin.runs.card import Card, FoldCard, Sees
from eosin.runs.run import Run
from eosin.settings import ImportSettings, PredictionSettings
from eosin.slides import write_pyramid
from eosin.workflows.import_patches import import_patches

PX = 16
CARD = Card(
    learner="tiles",
    unit="tile",
    class_names=("normal", "tumor"),
    sees=Sees(mpp=0.97, tile_px=PX),
    folds=(FoldCard(models=("model.onnx",)),),
    together=FoldCard(tile_threshold=0.6),
    threshold_rule="youden",
)


def make_run(**changed):
    return Run(Path("run"), replace(CARD, **changed), {})


def list_them(*what, run=None, **settings):
    return list_patches(run or make_run(), what, PredictionSettings(**settings))


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
    settings = ImportSettings(layout="kaggle", mpp=0.97)
    import_patches(root / "set", root / "tiles", settings)
    (root / "empty").mkdir()
    return root


def test_an_import_and_small_images_are_patches_and_all_else_is_slides(
    kaggle, tile_folder, tmp_path
):
    images, other = kaggle / "set" / "test", tmp_path / "other"
    for what in (kaggle / "tiles", images, str(images / "q0.tif")):
        assert means_patches([what], PX)
    assert not means_patches([images], PX - 1)
    # Tiles of slides stand for their slides.
    assert not means_patches([tile_folder], 64)
    write_pyramid(tmp_path / "slide.tif", np.zeros((512, 512, 3), np.uint8), mpp=1.0)
    other.mkdir()
    (other / "damaged.png").write_bytes(b"no image")
    labels, empty = kaggle / "set" / "train_labels.csv", tmp_path / "empty"
    empty.mkdir()
    url = "https://example.org/a.svs"
    for what in (labels, tmp_path / "none", empty, url, tmp_path, other):
        assert not means_patches([what], PX)


@pytest.mark.parametrize("name", ["large.png", "a.SVS"])
def test_what_lies_beside_small_images_makes_them_slides(tmp_path, name):
    for i in range(5):
        paint(tmp_path / f"{i}.png", i)
    assert means_patches([tmp_path], PX)
    large = tmp_path / "large.png"
    paint(large, 5, (PX, PX + 1))
    large.rename(tmp_path / name)
    assert not means_patches([tmp_path], PX)


def test_of_an_import_the_patches_without_label_are_scored(kaggle, tmp_path):
    patches = list_them(kaggle / "tiles")
    assert patches.table["tile_id"].tolist() == ["q0", "q1", "q2"]
    assert patches.table["file"].tolist()[0] == "test/q0.tif"
    assert patches.folder == (kaggle / "set").resolve()
    assert "3 of 9 patches have no label" in patches.notes[0]
    with closing(patches.open_reader()) as reader:
        found = reader.read(np.array([2, 0]))
    expected = [cv2.imread(str(kaggle / "set/test" / f"q{i}.tif")) for i in (2, 0)]
    np.testing.assert_array_equal(found, np.stack(expected)[..., ::-1])
    every = list_them(kaggle / "tiles", which="all")
    assert (len(every.table), every.notes) == (9, ())
    assert patches.fingerprint != every.fingerprint
    for i in range(2):
        paint(tmp_path / "set" / f"class{i}" / "a.png", i)
    import_patches(
        tmp_path / "set", tmp_path / "tiles", ImportSettings(layout="folder")
    )
    assert len(list_them(tmp_path / "tiles").table) == 2
    with pytest.raises(CohortError, match="all of its 2 patches have labels"):
        list_them(tmp_path / "tiles", which="unlabelled")


def test_images_are_listed_by_their_path_below_the_folder(tmp_path):
    for i, name in enumerate(("b", "a", "deep/c")):
        paint(tmp_path / "set" / f"{name}.png", i)
    paint(tmp_path / "one.png", 5)
    given = (tmp_path / "set", tmp_path / "one.png")
    patches = list_them(*given)
    assert patches.table["tile_id"].tolist() == ["a", "b", "deep/c", "one"]
    assert patches.table["label"].isna().all()
    assert "0.97 micrometres per pixel" in patches.notes[0]
    silent = make_run(sees=Sees(tile_px=PX))
    assert list_them(*given, run=silent).notes == ()
    paint(tmp_path / "set" / "a.png", 77)
    assert list_them(*given).fingerprint != patches.fingerprint


def test_images_of_another_size_are_read_only_if_that_is_wanted(tmp_path):
    paint(tmp_path / "a.png", 0)
    paint(tmp_path / "b.png", 1, (2 * PX, 2 * PX))
    with closing(list_them(tmp_path).open_reader()) as reader:
        assert reader.read(np.array([0])).shape == (1, PX, PX, 3)
        with pytest.raises(SlideError, match="32 x 32 px, the model takes 16 x 16"):
            reader.read(np.array([0, 1]))
    with closing(list_them(tmp_path, resample=True).open_reader()) as reader:
        found = reader.read(np.array([1]))[0]
    pixels = cv2.imread(str(tmp_path / "b.png"))[..., ::-1].astype(int)
    mean = pixels.reshape(PX, 2, PX, 2, 3).mean(axis=(1, 3))
    assert np.abs(found - mean).max() <= 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["set"], r"give .*test, or put it behind a tile table"),
        (["tiles", "tiles"], "an imported folder is scored by itself; 2 were given"),
        (["none.png"], "no such file or folder"),
        (["set/test", "set/test/q0.tif"], r"1 ids stand for several files \(q0\)"),
        (["empty"], "holds no image"),
    ],
)
def test_what_cannot_be_meant_is_said(kaggle, given, message):
    with pytest.raises(CohortError, match=message):
        list_them(*(kaggle / name for name in given))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sees": Sees(tile_px=32, mpp=0.5)}, "tile_px 32, these have 16; mpp 0.5"),
        ({"sees": Sees(tile_px=PX, context=2.0)}, "2 times a tile's side"),
        ({"learner": "bags"}, "calls bags of tiles"),
    ],
)
def test_a_model_of_something_else_is_refused(kaggle, changed, message):
    with pytest.raises(ModelError, match=message):
        list_them(kaggle / "tiles", run=make_run(**changed))


class Brightness:
    """A model whose logit is a tile's mean over 255."""

    tile_px = 4
    outputs = {"logits": (1,)}  # noqa: RUF012

    def run(self, tiles, *, batch=None):
        del batch
        return {"logits": tiles.mean(axis=(1, 2, 3))[:, None].astype(np.float32) / 255}

    def score_tiles(self, read, n_tiles):
        return score_tiles(read, n_tiles, [self])


class Grey:
    """Grey patches, each of its row's number; some cannot be read."""

    def __init__(self, *bad):
        self.bad = set(bad)

    def read(self, rows):
        if found := self.bad & set(rows.tolist()):
            raise SlideError(f"row {min(found)} is damaged")
        grey = rows.astype(np.uint8)[:, None, None, None]
        return np.broadcast_to(grey, (len(rows), 4, 4, 3)).copy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_every_patch_has_its_own_probability_and_its_own_error():
    part = score_block(Brightness(), Grey(13), Block(10, 5, "key"))
    expected = sigmoid(np.array([10, 11, 12, 14]) / 255)
    np.testing.assert_allclose(np.array(part["probabilities"])[:, 1], expected)
    assert part["errors"] == {3: "row 13 is damaged"}
    # The next call tries again.
    assert part["key"] == ""
    assert "key" not in score_block(Brightness(), Grey(), Block(10, 5, "key"))


def test_a_block_of_which_nothing_can_be_read_does_not_stop_the_rest(kaggle):
    patches = list_them(kaggle / "tiles")
    part = score_block(Brightness(), Grey(*range(3)), Block(0, 3, "key"))
    assert sorted(part["errors"]) == [0, 1, 2]
    # A model that fails gives up a block whole.
    failed = {"failure": {"message": "no memory"}, "rows": []}
    for found, message in ((part, r"not one of 3 .* row 0"), (failed, "no memory")):
        with pytest.raises(CohortError, match=message):
            tabulate_patches(patches, [found], CARD)


def test_tables_hold_who_could_be_read_and_who_not(kaggle):
    patches = list_them(kaggle / "tiles")
    part = {"probabilities": [[0.8, 0.2], [0.3, 0.7]], "errors": {"1": "is bad"}}
    found = tabulate_patches(patches, [part], CARD)
    assert found.simple["id"].tolist() == ["q0", "q2"]
    assert found.simple["called"].tolist() == ["normal", "tumor"]
    assert found.predictions["probability_tumor"].tolist() == [0.2, 0.7]
    assert found.failed[["id", "message"]].to_numpy().tolist() == [["q1", "is bad"]]
    assert found.failures == (SlideFailure("q1", "predict", "is bad"),)


def test_blocks_begin_at_fixed_rows(kaggle, monkeypatch):
    monkeypatch.setattr("eosin.prediction.patches._BLOCK", 4)
    blocks = list_them(kaggle / "tiles", which="all").blocks
    assert [(int(b.item_id), b.size) for b in blocks] == [(0, 4), (4, 4), (8, 1)]
