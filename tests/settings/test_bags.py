import pytest

from eosin.core import ConfigError
from eosin.settings import BagDraw, BagSettings, LimitSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_bags": 5}, "n_bags must be even.* got 5"),
        ({"witnesses": ()}, "witnesses .* got none"),
        ({"witnesses": (3, 11)}, "1 to the bags' size 10, got 11"),
    ],
)
def test_bags_that_cannot_be_drawn_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        BagDraw(**{"n_bags": 4, "size": 10, "witnesses": (1,)} | changes)


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ({"n_bags": 100}, {"train": 60, "val": 20, "test": 20}),
        ({"n_bags": 10, "val_fraction": 0}, {"train": 8, "test": 2}),
        ({"n_bags": 14, "folds": 3}, {"fold_0": 6, "fold_1": 4, "fold_2": 4}),
    ],
)
def test_bags_are_shared_out_in_pairs(given, counts):
    assert BagSettings(**given).count_bags() == counts


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_bags": 7}, "n_bags must be even, with two .* train, val, test, got 7"),
        ({"n_bags": 4}, "two bags or more for each of train, val, test, got 4"),
        ({"n_bags": 4, "folds": 3}, "each of fold_0, fold_1, fold_2"),
        ({"witnesses": (41,)}, "1 to the bags' size 40, got 41"),
        ({"val_fraction": 0.6, "test_fraction": 0.4}, "something to train on"),
    ],
)
def test_sides_without_bags_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        BagSettings(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train_witnesses": ("few",)}, "numbers or 'mixture', got 'few'"),
        ({"train_witnesses": ("41",)}, "bags' size 40, got 41"),
        ({"witnesses": (41,)}, "bags' size 40, got 41"),
        ({"bags": (101,)}, "n_bags must be even.* got 101"),
        ({"val_bags": 31}, "n_bags must be even.* got 31"),
        ({"bag_size": 50}, "concat40 takes bags of at most 40, got bag_size 50"),
        ({"folds": 1, "val_fraction": 0.5, "test_fraction": 0.5}, "to train on"),
    ],
)
def test_a_limit_study_that_cannot_be_run_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        LimitSettings(**given)


def test_a_mixture_takes_the_witnesses_of_the_test_bags():
    settings = LimitSettings(witnesses=(7, 3))
    assert settings.find_train_witnesses("mixture") == (7, 3)
    assert settings.find_train_witnesses("5") == (5,)
