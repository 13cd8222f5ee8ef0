import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.exploring import near_duplicates as module
from eosin.exploring.near_duplicates import describe_looks, group_near_duplicates


def paint(n, side_px=96, seed=0):
    """Paint patches of smooth noise, each another."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 12, 12, 3), dtype=np.uint8)
    size = (side_px, side_px)
    return [cv2.resize(c, size, interpolation=cv2.INTER_CUBIC) for c in coarse]


def join(*parts):
    return describe_looks([patch for part in parts for patch in part])


def test_other_patches_are_groups_of_their_own():
    groups = group_near_duplicates(describe_looks(paint(200)))
    assert groups.tolist() == list(range(200))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.copy(),
        lambda p: cv2.imdecode(cv2.imencode(".jpg", p, [1, 60])[1], 1),
        lambda p: cv2.resize(p, (64, 64), interpolation=cv2.INTER_AREA),
        lambda p: (p * [1.05, 0.9, 0.95] + 3).clip(0, 255).astype(np.uint8),
        lambda p: np.rot90(p).copy(),
        lambda p: np.rot90(p, 2).copy(),
        lambda p: np.rot90(p[:, ::-1], 3).copy(),
        lambda p: p[::-1].copy(),
    ],
    ids=["copy", "jpeg", "small", "colour", "turn", "half", "mirror-turn", "flip"],
)
def test_a_changed_copy_is_in_its_originals_group(change):
    patches = paint(60)
    groups = group_near_duplicates(join(patches, [change(p) for p in patches]))
    assert np.mean(groups[60:] == np.arange(60)) >= 0.95
    assert groups[:60].tolist() == list(range(60))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_groups_are_those_of_the_originals(order):
    patches = paint(6)
    groups = group_near_duplicates(describe_looks([patches[i] for i in order]))
    assert groups.tolist() == [order.index(i) for i in order]


def test_every_group_is_found_as_by_comparing_all_pairs():
    rng = np.random.default_rng(1)
    patches = paint(80)
    noisy = [
        (p + rng.normal(0, 12, p.shape)).clip(0, 255).astype(np.uint8)
        for p in patches[:40]
    ]
    looks = join(patches, noisy)
    found = group_near_duplicates(looks)
    vectors = looks.frequencies.astype(np.float32)
    is_alike = vectors @ vectors.T >= module.DEFAULT_SIMILARITY
    assert is_alike[80:, :40].diagonal().all()
    assert found[80:].tolist() == list(range(40))


def test_flat_patches_are_one_group_and_not_like_others():
    flat = [np.full((32, 32, 3), value, np.uint8) for value in (0, 128, 255)]
    looks = join(flat, paint(3))
    assert not looks.frequencies[:3].any()
    assert group_near_duplicates(looks).tolist() == [0, 0, 0, 3, 4, 5]


def test_a_step_beyond_the_similarity_parts_them():
    patches = paint(20)
    looks = join(patches, [cv2.GaussianBlur(p, (0, 0), 6) for p in patches])
    apart = group_near_duplicates(looks, similarity=1.0)
    near = group_near_duplicates(looks, similarity=0.5)
    assert len(set(apart)) == 40
    assert len(set(near)) < 40


def test_what_is_said_to_be_identical_is_united():
    looks = describe_looks(paint(4))
    groups = group_near_duplicates(looks, identical=np.array([7, 8, 7, 9]))
    assert groups.tolist() == [0, 1, 0, 3]
    assert len(group_near_duplicates(describe_looks([]))) == 0


def test_alike_features_unite_as_well():
    looks = describe_looks(paint(50))
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 64)).astype(np.float32)
    features[40] = features[3] + rng.normal(0, 0.01, 64)
    groups = group_near_duplicates(looks, features=features)
    assert groups[40] == 3
    assert len(set(groups)) == 49


def test_a_crowd_of_one_band_takes_bounded_work(monkeypatch):
    """Hashes that share a band would be compared each with each."""
    monkeypatch.setattr(module, "_MAX_DISTANCE", 63)
    hashes = np.random.default_rng(0).integers(0, 1 << 47, 3000, dtype=np.uint64)
    found = np.concatenate(list(module._iter_candidates(hashes, hashes)))
    assert 3000 * module._WINDOW < len(found) <= 4 * 3000 * 2 * module._WINDOW
    assert (found[:, 0] != found[:, 1]).all()


def test_views_are_those_of_the_pixels():
    patch = paint(1)[0]
    looks = describe_looks([patch])
    seen = [np.rot90(p, k).copy() for p in (patch, patch[:, ::-1]) for k in range(4)]
    from_pixels = {int(h) for h in describe_looks(seen).hashes[:, 0]}
    from_signs = {
        int(looks.hashes[0, int(is_transposed)] ^ flips)
        for is_transposed, _, flips in module._VIEWS
    }
    assert from_pixels == from_signs
    assert len(from_signs) == 8


@pytest.mark.realdata
def test_copies_with_opposite_labels_are_found_in_real_patches(data_folder):
    files = sorted((data_folder / "oral").glob("*/*.jpg"))
    patches = [cv2.imread(str(path)) for path in files]
    groups = group_near_duplicates(describe_looks(patches))
    values, counts = np.unique(groups, return_counts=True)
    pairs = values[counts == 2]
    assert (len(files), len(values), counts.max()) == (924, 911, 2)
    classes = [
        {files[i].parent.name for i in np.flatnonzero(groups == first)}
        for first in pairs
    ]
    assert classes.count({"Normal", "OSCC"}) == 12
