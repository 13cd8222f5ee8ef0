import json
import shutil

import numpy as np
import pytest

from eosin.bags import Bag, ClinicalEncoding, fit_clinical
from eosin.core import ManifestError, ModelError, SlideError
from eosin.inference import BagHead, heads, score_bag

DIMENSION = 4
CLINICAL = fit_clinical([{"age": "40"}, {"age": "60"}], {"age": "number"})


@pytest.fixture(scope="module")
def stems(tmp_path_factory):
    """Two models of features, one with clinical columns, and two of pixels."""
    from eosin.models import build_mil_model, build_pixel_mil_model, export_mil_model

    place = tmp_path_factory.mktemp("heads")
    options = {"dimension": DIMENSION, "widths": (8,)}
    models = {
        "first": build_mil_model("gated_attention", seed=1, **options),
        "second": build_mil_model("clam_mb", seed=2, **options),
        "fixed": build_mil_model("concat40", **options),
        "clinical": build_mil_model("mean", clinical=CLINICAL, **options),
        "narrow": build_mil_model("mean", dimension=DIMENSION, widths=(3,)),
    }
    models["clinical"].clinical_head.set_weights([np.array([[2.0], [10.0]])])
    for seed in (0, 1):
        models[f"tiles_{seed}"] = build_pixel_mil_model(
            "gated_attention", "smallcnn", tile_px=16, weights="none", seed=seed
        )
    for name, model in models.items():
        export_mil_model(model, place / name)
    return {name: place / name for name in models}


def open_heads(stems, *names):
    return [BagHead(stems[name], device="cpu") for name in names]


class Counted:
    """An array that keeps which rows were read."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.parts = []

    def __getitem__(self, rows):
        self.parts.append(rows)
        return self._array[rows]


def make_bag(features, **options):
    return Bag(bag_id="B", features=features, **options)


def draw(size, dimension=DIMENSION):
    return np.random.default_rng(size).normal(size=(size, dimension))


def require_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-6)
        np.testing.assert_allclose(one.attention, other.attention, atol=1e-6)


@pytest.mark.parametrize("names", [("first", "second"), ("tiles_0", "tiles_1")])
def test_a_bag_is_read_once_for_all_models_and_part_by_part(stems, names):
    models = open_heads(stems, *names)
    array = draw(23).astype(np.float32)
    if models[0].tile_px:
        array = np.random.default_rng(0).integers(0, 256, (23, 768), np.uint8)
    counted = Counted(array)
    bag = make_bag(counted)
    found = score_bag(models, bag, max_instances=5)
    starts = [part.start for part in counted.parts]
    assert starts == [0, 5, 10, 15, 20]
    whole = make_bag(array)
    require_equal(found, [model.predict(whole) for model in models])
    for scores in found:
        assert scores.bag_id == "B"
        assert scores.attention.shape == (23,)
        np.testing.assert_allclose(scores.attention.sum(), 1, rtol=1e-5)


def test_models_go_in_groups_where_memory_is_short(stems, monkeypatch):
    models = open_heads(stems, "first", "second", "first")
    counted = Counted(draw(10))
    bag = make_bag(counted)
    expected = score_bag(models, bag)
    assert len(counted.parts) == 1
    # Ten instances of eight numbers, of two models at a time.
    monkeypatch.setattr(heads, "_MAX_HELD", 160)
    # A part that is too large for one run is cut.
    monkeypatch.setattr(heads, "_NUMBERS_PER_RUN", 3 * DIMENSION)
    require_equal(score_bag(models, bag), expected)
    assert len(counted.parts) == 3
    assert score_bag([], bag) == []


def test_a_fixed_size_may_be_missed_but_not_passed(stems):
    (head,) = open_heads(stems, "fixed")
    assert head.n_instances == 40
    assert head.predict(make_bag(draw(12))).attention.shape == (12,)
    counted = Counted(draw(41))
    with pytest.raises(ManifestError, match=r"B: .*at most 40 instances, got 41"):
        head.predict(make_bag(counted))
    assert not counted.parts


def test_clinical_columns_are_encoded_as_the_card_says(stems):
    # A card is JSON.
    kept = json.loads(json.dumps(CLINICAL.to_config()))
    clinical = ClinicalEncoding.from_config(kept)
    head = BagHead(stems["clinical"], clinical=clinical, device="cpu")
    logits = [
        head.predict(make_bag(draw(3), clinical=values)).logits[0]
        for values in ({"age": "50"}, {"age": "70"}, {})
    ]
    # Mean 50, deviation 10: two deviations at 2.0 each; missing, 10.0.
    assert logits[1] - logits[0] == pytest.approx(4, abs=1e-5)
    assert logits[2] - logits[0] == pytest.approx(10, abs=1e-5)
    with pytest.raises(ModelError, match=r"B: .*clinical columns age"):
        head.predict(make_bag(draw(3)))
    with pytest.raises(ManifestError, match=r"B: age must be a number.*'old'"):
        head.predict(make_bag(draw(3), clinical={"age": "old"}))
    with pytest.raises(ModelError, match=r"takes 2 numbers.*gives 0"):
        BagHead(stems["clinical"], device="cpu")


def test_other_instances_are_refused(stems):
    features, tiles = open_heads(stems, "first", "tiles_0")
    with pytest.raises(ModelError, match=r"B: the model takes 4 features.*got 5"):
        features.predict(make_bag(draw(3, 5)))
    with pytest.raises(ModelError, match=r"B: the model takes the pixels.*got 4"):
        tiles.predict(make_bag(draw(3)))
    with pytest.raises(ModelError, match=r"whole numbers in 0\.\.255"):
        tiles.predict(make_bag(np.full((3, 768), 0.5)))


def test_an_instance_that_cannot_be_read_is_told(stems):
    class Damaged(Counted):
        def __getitem__(self, rows):
            raise SlideError(f"row {rows.start}")

    bag = make_bag(Damaged(draw(8)))
    for size in (3, None):
        with pytest.raises(SlideError, match="row 0"):
            score_bag(open_heads(stems, "first"), bag, max_instances=size)


def test_files_that_do_not_belong_together_are_refused(stems, tmp_path):
    with pytest.raises(ModelError, match=r"no\.projection\.onnx: no such"):
        BagHead(tmp_path / "no", device="cpu")
    for part, name in (("projection", "first"), ("aggregator", "narrow")):
        shutil.copy(f"{stems[name]}.{part}.onnx", tmp_path / f"mixed.{part}.onnx")
    with pytest.raises(ModelError, match=r"mixed\.projection\.onnx are of different"):
        BagHead(tmp_path / "mixed", device="cpu")


@pytest.mark.slow
def test_a_bag_of_a_million_instances_is_scored_in_bounded_memory(stems, tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "features.npy"
    features = np.lib.format.open_memmap(path, "w+", np.float32, (1_000_000, DIMENSION))
    features[:] = np.random.default_rng(0).normal(size=features.shape)
    (head,) = open_heads(stems, "first")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = head.predict(make_bag(features))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    np.testing.assert_allclose(found.attention.sum(), 1, rtol=1e-3)
    # Kilobytes; the layers of attention hold 0.5 GB each.
    assert grown < 3_000_000
