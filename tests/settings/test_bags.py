import pytest

from eosin.settings import BagSettings, LimitSettings


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ({"n_bags": 100}, {"train": 60, "val": 20, "test": 20}),
        ({"n_bags": 10, "val_fraction": 0}, {"train": 8, "test": 2}),
        ({"n_bags": 14, "folds": 3}, {"fold_0": 6, "fold_1": 4, "fold_2": 4}),
    ],
)
def test_bags_are_shared_out_in_pairs(given, counts):
    draws = BagSettings(**given).draws
    assert {side: draw.n_bags for side, draw in draws.items()} == counts


def test_a_mixture_takes_the_witnesses_of_the_test_bags():
    settings = LimitSettings(witnesses=(7, 3))
    assert settings.find_train_witnesses("mixture") == (7, 3)
    assert settings.find_train_witnesses("5") == (5,)
