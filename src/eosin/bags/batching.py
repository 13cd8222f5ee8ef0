"""From bags of many sizes to padded batches of few shapes."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eosin.bags.bag import Bag, Features, Rows
from eosin.core import ManifestError

# Bags of similar size are looked for among so many batches' worth of neighbours in the
# drawn order: enough to save padding, few enough to leave the batches random.
_BATCHES_PER_POOL = 8


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """Bags side by side, filled up with zeros to one size.

    Attributes:
        features: `(batch, instances, features)`.
        mask: `(batch, instances)`, True at real instances.
        rows: `(batch,)`, which bags these are.
    """

    features: Features
    mask: NDArray[np.bool_]
    rows: Rows


@dataclass(frozen=True)
class InstanceSampling:
    """Which instances of a bag an epoch of training sees.

    Every bag draws from its own generator, so that its instances depend on the
    seed, the epoch and its id, and on nothing else.

    Attributes:
        max_instances: Of each bag at most, drawn without replacement.
        seed: The training's seed.
        epoch: From 0.
    """

    max_instances: int
    seed: int
    epoch: int

    def draw(self, bag: Bag) -> Rows | None:
        """Draw instances of a bag, in rising order; None means all."""
        if len(bag) <= self.max_instances:
            return None
        rng = np.random.default_rng(
            (self.seed, self.epoch, zlib.crc32(bag.bag_id.encode()))
        )
        drawn = rng.choice(len(bag), self.max_instances, replace=False, shuffle=False)
        return np.sort(drawn)


@dataclass(frozen=True, eq=False)
class FeatureScale:
    """What features are shifted and scaled by; the padding stays 0.

    Attributes:
        mean: What is subtracted first, `(features,)`.
        deviation: What is divided by, `(features,)`, above 0.
        clip: How many deviations from the mean a feature may lie; what lies
            further out is moved there.
    """

    mean: Features
    deviation: Features
    clip: float = math.inf

    def apply(self, features: Features, out: Features) -> None:
        """Write scaled features into an array of the same shape."""
        np.subtract(features, self.mean, out=out)
        np.divide(out, self.deviation, out=out)
        if math.isfinite(self.clip):
            np.clip(out, -self.clip, self.clip, out=out)


def round_up_size(n_instances: int) -> int:
    """Round a bag's size up to one of eight sizes per doubling.

    Backends that compile a model for every shape then meet few, and a batch grows by
    less than an eighth.
    """
    step = 1 << max(0, n_instances.bit_length() - 4)
    return -(-n_instances // step) * step


def plan_batches(
    sizes: Sequence[int],
    *,
    batch: int,
    max_padded: int,
    rng: np.random.Generator | None = None,
) -> list[Rows]:
    """Share bags of these sizes out to batches such that little padding is needed.

    Args:
        sizes: Instances of each bag, in the drawn order.
        batch: Bags per batch at most.
        max_padded: Instances per batch at most, padding included. A bag that is
            larger by itself makes a batch of its own.
        rng: Shuffles the batches and blurs their making, for training. None
            sorts by size, for evaluation.
    """
    array = np.asarray(sizes, np.int64)
    # Equal batches: a last one of a few bags would weigh as much as a full one.
    batch = -(-len(array) // -(-len(array) // batch))
    if rng is None:
        return _cut(_sort(np.arange(len(array)), array), array, batch, max_padded)
    order = rng.permutation(len(array))
    n_pool = batch * _BATCHES_PER_POOL
    batches: list[Rows] = []
    for start in range(0, len(order), n_pool):
        pool = _sort(order[start : start + n_pool], array)
        batches += _cut(pool, array, batch, max_padded)
    return [batches[i] for i in rng.permutation(len(batches))]


def _sort(rows: Rows, sizes: Rows) -> Rows:
    """Put the largest bags first, those of one size in the order they came."""
    return rows[np.argsort(-sizes[rows], kind="stable")]


def _cut(order: Rows, sizes: Rows, batch: int, max_padded: int) -> list[Rows]:
    """Cut an order of falling sizes into batches that keep both limits."""
    batches, start = [], 0
    while start < len(order):
        largest = round_up_size(int(sizes[order[start]]))
        n_bags = max(1, min(batch, max_padded // largest))
        batches.append(order[start : start + n_bags])
        start += n_bags
    return batches


def require_size(bag_id: str, size: int, n_instances: int | None) -> None:
    """Stop by a `ManifestError` where a bag has more instances than a model takes.

    `n_instances` is how many at most; None takes any number.
    """
    if n_instances is not None and size > n_instances:
        raise ManifestError(
            f"{bag_id}: this model takes bags of at most {n_instances} instances, got "
            f"{size}; choose a method that takes any size"
        )


def read_batch(
    bags: Sequence[Bag],
    rows: Rows,
    *,
    sampling: InstanceSampling | None = None,
    n_instances: int | None = None,
    scale: FeatureScale | None = None,
) -> PaddedBatch:
    """Read bags of these rows and pad them to one size.

    Args:
        bags: All bags.
        rows: Which of them.
        sampling: Draws instances, for training. None reads all of them.
        n_instances: The size to pad to. None takes the largest bag's, rounded up.
        scale: Applied to all features. None leaves them as they are.

    Raises:
        ManifestError: A bag is too large, or has features that are not finite.
    """
    parts = []
    for row in rows:
        bag = bags[row]
        parts.append(bag.read(None if sampling is None else sampling.draw(bag)))
        require_size(bag.bag_id, len(parts[-1]), n_instances)
    size = n_instances or round_up_size(max(len(part) for part in parts))
    # Not made of zeros: the system hands those out page by page, at each batch anew.
    features = np.empty((len(parts), size, parts[0].shape[1]), np.float32)
    mask = np.zeros((len(parts), size), np.bool_)
    for i, part in enumerate(parts):
        if scale is None:
            features[i, : len(part)] = part
        else:
            scale.apply(part, features[i, : len(part)])
        features[i, len(part) :] = 0
        mask[i, : len(part)] = True
    return PaddedBatch(features, mask, np.asarray(rows, np.int64))
