from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eosin.bags import open_features
from eosin.core import ConfigError, ManifestError
from eosin.settings import LimitSettings
from eosin.studies.limit_sides import FoldBags, read_study_tiles, reduce_features
from eosin.tiles.folder import open_tile_folder

CONFIG = LimitSettings(
    bag_size=8, witnesses=(4, 1), train_witnesses=("mixture",), folds=3, components=None
)


@pytest.fixture(scope="module")
def folders(make_planted):
    return make_planted(1.0)


@pytest.fixture(scope="module")
def tiles(folders):
    return read_study_tiles(folders[0], open_tile_folder(folders[1]), CONFIG)


@pytest.fixture
def fold(tiles):
    return FoldBags(tiles, 0, CONFIG)


def find_patients(tiles, bags):
    return {slide.replace("S", "P") for bag in bags for slide in bag.slide_ids}


def test_tiles_have_their_own_features(tiles, folders):
    assert tiles.features.shape == (360, 6)
    assert tiles.is_witness.sum() == 6 * 12
    for row in (0, 200, 359):
        tile = tiles.table.iloc[row]
        file = open_features(folders[0] / f"{tile['slide_id']}.h5")
        place = list(file.tile_ids).index(tile["tile_id"])
        np.testing.assert_array_equal(tiles.features[row], file.features[place])


def test_no_tile_and_no_patient_is_on_two_sides(tiles):
    for fold in range(3):
        sides = [tiles.find_rows(fold, side) for side in ("train", "val", "test")]
        assert sorted(np.concatenate(sides)) == list(range(360))
        patients = [set(tiles.table["patient_id"].iloc[rows]) for rows in sides]
        assert sum(map(len, patients)) == len(set.union(*patients)) == 12
    counts = tiles.count_sources()
    assert list(counts["side"][:3]) == ["train", "val", "test"]
    for name, n in (("patients", 12), ("witness_tiles", 72), ("other_tiles", 288)):
        assert (counts.groupby("fold")[name].sum() == n).all()


def test_bags_are_of_their_own_side_and_have_their_witnesses(tiles, fold):
    drawn = {side: fold.draw(side, 20, (4, 1)) for side in ("train", "val", "test")}
    patients = [find_patients(tiles, bags) for bags in drawn.values()]
    assert sum(map(len, patients)) == len(set.union(*patients))
    for bags in drawn.values():
        assert [bag.label for bag in bags] == [0, 1] * 10
        n_witnesses = [int(bag.instance_labels.sum()) for bag in bags]
        assert n_witnesses == [0, 4, 0, 1] * 5
        assert {len(bag) for bag in bags} == {8}
        # No tile is in a bag twice.
        assert all(len(np.unique(bag.read(), axis=0)) == 8 for bag in bags)


def test_draws_begin_alike_and_negatives_are_the_same_for_every_rate(fold):
    few, many = fold.draw("train", 10, (4, 1)), fold.draw("train", 30, (4, 1))
    assert_equal(few, many[:10])
    other = fold.draw("train", 10, (4, 1), seed=1)
    assert not np.array_equal(few[0].read(), other[0].read())
    one, other = fold.draw("test", 10, (4,)), fold.draw("test", 10, (1,))
    assert_equal(one[::2], other[::2])


def assert_equal(bags, others):
    for one, other in zip(bags, others, strict=True):
        np.testing.assert_array_equal(one.read(), other.read())


def test_resampled_bags_are_of_test_patients_drawn_again(tiles, fold):
    held = set(tiles.table["patient_id"].iloc[tiles.find_rows(0, "test")])
    seen = []
    for i in range(8):
        negatives, positives = fold.draw_resampled(i, 12, (4, 1))
        assert [len(positives), *map(len, positives)] == [2, 12, 12]
        assert all(bag.instance_labels.sum() == 0 for bag in negatives)
        for n, bags in zip((4, 1), positives, strict=True):
            assert all(bag.instance_labels.sum() == n for bag in bags)
        seen.append(find_patients(tiles, [*negatives, *positives[0]]))
        assert seen[-1] <= held
    # Two witness patients and two others: some draw leaves one out.
    assert any(patients < held for patients in seen)
    assert_equal(*[fold.draw_resampled(3, 12, (4, 1))[0] for _ in range(2)])


def test_resampling_has_tiles_enough_whatever_is_drawn(tiles):
    # 4 patients with 12 witnesses each at most: a bag of 40 takes some tile twice.
    config = replace(CONFIG, bag_size=40, witnesses=(30,))
    negatives, (positives,) = FoldBags(tiles, 0, config).draw_resampled(0, 4, (30,))
    assert {len(bag) for bag in (*negatives, *positives)} == {40}
    assert {int(bag.instance_labels.sum()) for bag in positives} == {30}


def test_others_may_be_of_other_patients_where_the_drawn_have_none(tiles):
    # Every patient of the test side has nothing but witnesses, save those without.
    rows = tiles.find_rows(0, "test")
    own = tiles.table["patient_id"].iloc[rows[tiles.is_witness[rows]]].unique()
    is_own = tiles.table["patient_id"].isin(own).to_numpy()
    fold = FoldBags(replace(tiles, is_witness=is_own), 0, CONFIG)
    negatives, _ = fold.draw_resampled(0, 4, (1,))
    assert all(bag.instance_labels.sum() == 0 for bag in negatives)


def test_too_few_tiles_are_an_error(tiles):
    config = replace(CONFIG, bag_size=40, witnesses=(30,))
    with pytest.raises(ManifestError, match=r"fold 0, test: .* need 30 witness"):
        FoldBags(tiles, 0, config).draw("test", 2, (30,))


def test_reduced_features_keep_distances_of_the_main_components():
    rng = np.random.default_rng(0)
    # Two directions hold everything; scaled, all six features weigh alike.
    features = (rng.normal(size=(50, 2)) @ rng.normal(size=(2, 6))).astype(np.float32)
    features[:, 5] = 3
    train = np.arange(40)
    reduced = reduce_features(features, train, 2, seed=0)
    scaled = (features - features[train].mean(axis=0))[:, :5]
    scaled /= features[train].std(axis=0)[:5]
    for rows in ((0, 1), (3, 45)):
        expected = np.linalg.norm(scaled[rows[0]] - scaled[rows[1]])
        found = np.linalg.norm(reduced[rows[0]] - reduced[rows[1]])
        assert found == pytest.approx(expected, rel=1e-4)
    assert reduced.dtype == np.float32
    assert reduce_features(features, train, None, seed=0) is features
    assert reduce_features(features, train, 6, seed=0) is features


def test_only_training_tiles_decide_on_the_components():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 5)).astype(np.float32)
    other = features.copy()
    other[20:] *= 100
    one, two = (reduce_features(f, np.arange(20), 3, seed=1) for f in (features, other))
    np.testing.assert_array_equal(one[:20], two[:20])


def relabel(folder, change):
    tiles = folder.tiles.assign(label=pd.array(change(folder.tiles["label"]), "Int8"))
    info = replace(folder.info, class_names=("normal", "adenoma", "tumor"))
    return replace(folder, tiles=tiles, info=info)


def test_one_of_several_classes_may_be_looked_for(folders):
    features, folder = folders[0], open_tile_folder(folders[1])
    # Tiles 0 to 3 of a slide are adenomas, 4 to 11 tumour.
    is_tumour = np.arange(360) % 30 > 3
    folder = relabel(folder, lambda label: np.where(label == 1, 1 + is_tumour, 0))
    whole = read_study_tiles(features, folder, CONFIG)
    assert whole.class_names == ("normal", "adenoma+tumor")
    assert whole.is_witness.sum() == 72
    config = replace(CONFIG, witness_class="tumor")
    tumour = read_study_tiles(features, folder, config)
    assert tumour.class_names == ("normal", "tumor")
    assert (len(tumour.table), tumour.is_witness.sum()) == (360 - 24, 48)
    assert tumour.sha256 != whole.sha256
    with pytest.raises(ConfigError, match="one of adenoma, tumor, got 'normal'"):
        read_study_tiles(features, folder, replace(CONFIG, witness_class="normal"))


def test_tiles_of_one_class_are_refused(folders):
    folder = relabel(open_tile_folder(folders[1]), lambda label: label * 0)
    with pytest.raises(ManifestError, match="got 360 and 0; label them"):
        read_study_tiles(folders[0], folder, CONFIG)
