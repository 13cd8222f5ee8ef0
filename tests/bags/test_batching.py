import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.bags import Bag, FeatureScale, InstanceSampling, plan_batches, read_batch
from eosin.bags.batching import round_up_size
from eosin.core import ManifestError

many_sizes = st.lists(st.integers(1, 500), min_size=1, max_size=60)


def make_bags(*sizes, dim=2):
    rng = np.random.default_rng(0)
    return [
        Bag(bag_id=f"S{i}", features=rng.normal(size=(size, dim)))
        for i, size in enumerate(sizes)
    ]


@given(st.integers(1, 300_000))
def test_rounding_gives_eight_sizes_per_doubling(n):
    assert n <= round_up_size(n) < n * 1.125 + 1
    assert len({round_up_size(n) for n in range(129, 257)}) == 8


@given(many_sizes, st.integers(1, 20), st.integers(100, 1000), st.booleans())
def test_every_bag_is_in_one_batch_within_both_limits(sizes, batch, limit, is_random):
    rng = np.random.default_rng(0) if is_random else None
    plan = plan_batches(sizes, batch=batch, max_padded=limit, rng=rng)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(sizes)))
    for rows in plan:
        assert len(rows) <= batch
        padded = len(rows) * round_up_size(max(sizes[row] for row in rows))
        assert padded <= limit or len(rows) == 1


def test_like_goes_with_like():
    rng = np.random.default_rng(1)
    sizes = rng.permutation(np.repeat([10, 1000], 80)).tolist()
    plan = plan_batches(sizes, batch=10, max_padded=1 << 20, rng=rng)
    mixed = sum(len({sizes[row] for row in rows}) > 1 for rows in plan)
    assert mixed <= 2  # one at most in each pool of eight batches


def test_batches_are_equal_and_differ_from_epoch_to_epoch():
    first, second = (
        plan_batches(
            [5] * 33, batch=16, max_padded=10**6, rng=np.random.default_rng(seed)
        )
        for seed in (0, 1)
    )
    assert sorted(len(rows) for rows in first) == [11, 11, 11]
    assert [rows.tolist() for rows in first] != [rows.tolist() for rows in second]


def test_without_a_generator_the_largest_come_first():
    plan = plan_batches([3, 9, 5, 7], batch=2, max_padded=100)
    assert [rows.tolist() for rows in plan] == [[1, 3], [2, 0]]


def test_a_batch_pads_with_zeros_and_says_where():
    bags = make_bags(3, 5, 1)
    batch = read_batch(bags, np.array([2, 0]))
    assert batch.features.shape == (2, 3, 2)
    np.testing.assert_array_equal(batch.mask, [[1, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(batch.features[1], bags[0].features)
    assert (batch.features[0, 1:] == 0).all()
    np.testing.assert_array_equal(batch.rows, [2, 0])


def test_a_fixed_size_is_kept_and_larger_bags_are_refused():
    bags = make_bags(3, 5)
    assert read_batch(bags, np.array([0]), n_instances=4).features.shape == (1, 4, 2)
    with pytest.raises(ManifestError, match="S1: this model takes bags of at most 4"):
        read_batch(bags, np.array([0, 1]), n_instances=4)


def test_a_scale_spares_the_padding():
    bags = make_bags(3, 1)
    scale = FeatureScale(np.float32([1, 2]), np.float32([2, 4]))
    batch = read_batch(bags, np.array([0, 1]), scale=scale)
    expected = (bags[0].features - [1, 2]) / [2, 4]
    np.testing.assert_allclose(batch.features[0], expected, rtol=1e-6)
    assert (batch.features[1, 1:] == 0).all()
    clipped = read_batch(bags, np.array([0, 1]), scale=replace(scale, clip=0.2))
    np.testing.assert_allclose(clipped.features[0], expected.clip(-0.2, 0.2), rtol=1e-6)


def test_sampling_draws_some_instances_once_each():
    bags = make_bags(50, 3)
    batch = read_batch(
        bags, np.array([0, 1]), sampling=InstanceSampling(10, seed=0, epoch=0)
    )
    np.testing.assert_array_equal(batch.mask.sum(axis=1), [10, 3])
    drawn = {tuple(row) for row in batch.features[0]}
    assert len(drawn) == 10
    assert drawn <= {tuple(row) for row in bags[0].features}


def test_a_sample_depends_on_the_seed_the_epoch_and_the_bag_only():
    bag, other = make_bags(500, 500)

    def draw(bag, seed, epoch):
        return InstanceSampling(20, seed, epoch).draw(bag).tolist()

    drawn = draw(bag, 0, 0)
    assert drawn == draw(bag, 0, 0) == sorted(drawn)
    assert drawn not in (draw(bag, 1, 0), draw(bag, 0, 1), draw(other, 0, 0))


def test_every_instance_is_drawn_as_often_as_any():
    (bag,) = make_bags(20)
    counts = np.zeros(20)
    for epoch in range(2000):
        counts[InstanceSampling(5, 3, epoch).draw(bag)] += 1
    # 500 times each; the standard deviation is sqrt(2000 / 4 * 3 / 4) = 19.
    assert np.abs(counts - 500).max() < 5 * 19


def test_a_sample_of_a_large_bag_costs_little_memory():
    features = np.zeros((200_000, 64), np.float32)
    bag = Bag(bag_id="large", features=features)
    tracemalloc.start()
    read_batch([bag], np.array([0]), sampling=InstanceSampling(1000, 0, 0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < features.nbytes / 10
