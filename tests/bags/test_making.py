import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.bags import BagTableInfo, draw_bags, read_bag_table, write_bag_table
from eosin.core import ManifestError
from eosin.settings import BagDraw

INFO = BagTableInfo(
    size=6,
    witnesses=(2,),
    class_names=("normal", "tumor"),
    seed=0,
    grouping="patient_id",
    tiles_sha256="abc",
)


def make_tiles(n_negative=30, n_positive=10, slide="S1"):
    n = n_negative + n_positive
    tiles = pd.DataFrame(
        {
            "tile_id": [f"{slide}-{i}" for i in range(n)],
            "slide_id": slide,
            "patient_id": f"P-{slide}",
            "x_px0": np.arange(n) * 256,
            "y_px0": 7,
            "more": 0,
        }
    )
    return tiles, np.arange(n) >= n_negative


def draw(n_bags=8, size=6, witnesses=(2,), *, seed=0, reuse=True, split="train", **n):
    tiles, is_witness = make_tiles(**n)
    how = BagDraw(n_bags=n_bags, size=size, witnesses=witnesses, reuse=reuse)
    return draw_bags(tiles, is_witness, how, split=split, seed=seed)


@settings(max_examples=30)
@given(
    n_pairs=st.integers(1, 6),
    size=st.integers(1, 10),
    data=st.data(),
    seed=st.integers(0, 1000),
)
def test_every_bag_is_what_was_asked_for(n_pairs, size, data, seed):
    witnesses = tuple(data.draw(st.lists(st.integers(1, size), min_size=1, max_size=3)))
    table = draw(2 * n_pairs, size, witnesses, seed=seed)
    bags = [bag for _, bag in table.groupby("bag_id", sort=False)]
    assert len(bags) == 2 * n_pairs
    found = []
    for bag in bags:
        n = int(bag["is_witness"].sum())
        assert bag["tile_id"].nunique() == len(bag) == size
        assert (bag["n_witnesses"] == n).all()
        assert (bag["label"] == (n > 0)).all()
        assert bag["position"].tolist() == list(range(size))
        # Tiles 30 to 39 are the witnesses.
        numbers = bag["tile_id"].str.split("-").str[1].astype(int)
        assert ((numbers >= 30) == bag["is_witness"]).all()
        assert (bag["x_px0"] == numbers * 256).all()
        if n:
            found.append(n)
    expected = [witnesses[i % len(witnesses)] for i in range(n_pairs)]
    assert found == expected


def test_a_seed_says_what_is_drawn():
    assert draw(seed=1).equals(draw(seed=1))
    assert not draw(seed=1).equals(draw(seed=2))
    assert not draw(seed=(1, 0)).equals(draw(seed=(1, 1)))


def test_fewer_bags_are_the_beginning_of_more():
    assert draw(4).equals(draw(8).iloc[:24])


def test_witnesses_stand_anywhere_in_a_bag():
    table = draw(400, 6, (1,))
    counts = table[table["is_witness"]]["position"].value_counts()
    # 200 witnesses on 6 positions: 33 each, give or take 4 deviations of 5.3.
    assert counts.between(12, 55).all()
    assert len(counts) == 6


def test_all_negative_tiles_are_drawn_alike():
    table = draw(1000, 6, (2,))
    negative = table[~table["is_witness"]]
    for label, per_bag in ((0, 6), (1, 4)):
        counts = negative[negative["label"] == label]["tile_id"].value_counts()
        # 500 bags of this many from 30 tiles.
        expected = 500 * per_bag / 30
        assert len(counts) == 30
        assert counts.between(expected - 45, expected + 45).all()


def test_without_reuse_every_tile_is_used_once():
    table = draw(4, 6, (3,), reuse=False, n_negative=18, n_positive=6)
    assert table["tile_id"].nunique() == 24
    assert table[table["is_witness"]]["tile_id"].nunique() == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 40, "witnesses": (10,)}, "8 bags of 40 need 40 negative .* has 30"),
        ({"size": 20, "witnesses": (5, 11)}, "need 11 witness tiles, has 10"),
        ({"size": 31, "witnesses": (31,)}, "need 31 negative .*; 31 witness tiles"),
        # Four bags of 6 and four of 4 need 40 negative tiles; 4 x 2 witnesses do.
        ({"reuse": False}, "need 40 negative tiles, has 30; ask for fewer bags, or"),
        ({"n_positive": 0}, "not one of its 30 labelled tiles is a witness"),
        ({"n_negative": 0}, "not one of its 10 labelled tiles is negative"),
    ],
)
def test_too_few_tiles_are_said_with_numbers(options, message):
    with pytest.raises(ManifestError, match=f"train: .*{message}"):
        draw(**options)


def make_table():
    sides = [
        draw(8, split="train"),
        draw_bags(
            *make_tiles(slide="S2"),
            BagDraw(n_bags=4, size=6, witnesses=(2,)),
            split="test",
            seed=5,
        ),
    ]
    return pd.concat(sides, ignore_index=True)


def test_a_table_comes_back_as_it_was_written(tmp_path):
    table = make_table()
    write_bag_table(tmp_path / "bags.parquet", table, INFO)
    found, info = read_bag_table(tmp_path / "bags.parquet")
    assert info == INFO
    pd.testing.assert_frame_equal(found, table)


@pytest.mark.parametrize(
    ("rows", "column", "value", "message"),
    [
        (slice(0, 1), "tile_id", "S1-0", "has a tile twice"),
        (slice(0, 5), "is_witness", True, "has other witnesses than it says"),
        (slice(0, 5), "label", 1, "has a label that contradicts"),
        (0, "split", "test", "lies on two sides"),
        (slice(None), "patient_id", "P", "patient_id P lies on two sides"),
        (0, "bag_id", "other", "bag other must have 6 instances"),
    ],
)
def test_a_table_that_breaks_its_promise_is_refused(
    tmp_path, rows, column, value, message
):
    table = make_table()
    table.loc[rows, column] = value
    with pytest.raises(ManifestError, match=message):
        write_bag_table(tmp_path / "bags.parquet", table, INFO)
    assert list(tmp_path.iterdir()) == []
