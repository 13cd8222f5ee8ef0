import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.training.batches import count_epoch, draw_epoch, find_shares

# Slide A: 6 normal and 2 tumour tiles; B: 2 normal, 1 tumour; C: 1 normal.
LABELS = np.array([0] * 6 + [1] * 2 + [0] * 2 + [1] + [0])
SLIDES = np.array(["A"] * 8 + ["B"] * 3 + ["C"])


@pytest.mark.parametrize(
    ("balance", "groups", "expected"),
    [
        ("none", SLIDES, {"A": 8, "B": 3, "C": 1}),
        ("class", LABELS, {0: 6, 1: 6}),
        ("slide", SLIDES, {"A": 4, "B": 4, "C": 4}),
        ("class_and_slide", LABELS, {0: 6, 1: 6}),
    ],
)
def test_groups_get_their_part(balance, groups, expected):
    shares = find_shares(LABELS, SLIDES, balance=balance)
    for group, total in expected.items():
        assert shares[groups == group].sum() == pytest.approx(total)


def test_slides_are_equal_within_a_class():
    shares = find_shares(LABELS, SLIDES, balance="class_and_slide")
    normal = [shares[(LABELS == 0) & (s == SLIDES)].sum() for s in "ABC"]
    tumour = [shares[(LABELS == 1) & (s == SLIDES)].sum() for s in "AB"]
    assert normal == pytest.approx([2, 2, 2])
    assert tumour == pytest.approx([3, 3])


def test_no_tile_is_repeated_beyond_the_limit():
    shares = find_shares(LABELS, SLIDES, balance="class_and_slide", max_repeats=2)
    assert shares.max() == 2
    assert shares[0] == pytest.approx(2 / 6)


@settings(deadline=None, max_examples=50)
@given(
    shares=st.lists(st.floats(0.05, 5), min_size=1, max_size=40),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 5),
)
def test_every_tile_is_drawn_as_often_as_its_share_says(shares, seed, epoch):
    shares = np.array(shares)
    rows = np.arange(100, 100 + len(shares))
    drawn = draw_epoch(rows, shares, seed=seed, epoch=epoch)
    assert len(drawn) == count_epoch(shares)
    counts = np.array([(drawn == row).sum() for row in rows])
    scaled = shares * count_epoch(shares) / shares.sum()
    assert (counts >= np.floor(scaled - 1e-9)).all()
    assert (counts <= np.ceil(scaled + 1e-9)).all()


def test_the_order_depends_on_the_seed_and_the_epoch_alone():
    def draw(seed, epoch):
        return draw_epoch(np.arange(50), np.ones(50), seed=seed, epoch=epoch).tolist()

    assert draw(1, 2) == draw(1, 2)
    assert draw(1, 2) != draw(1, 3)
    assert draw(1, 2) != draw(2, 2)


def test_rare_tiles_are_all_seen_over_the_epochs():
    shares = np.full(40, 0.1)
    seen = np.concatenate(
        [draw_epoch(np.arange(40), shares, seed=0, epoch=e) for e in range(100)]
    )
    counts = np.bincount(seen, minlength=40)
    # 10 on average; about 3 standard deviations of a binomial on either side.
    assert counts.min() >= 2
    assert counts.max() <= 20
