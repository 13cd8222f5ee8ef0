"""Which bags are drawn, and what a limit study tries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eosin.core import ConfigError
from eosin.settings.fitting import BagFit
from eosin.settings.names import KNOWN_AGGREGATORS
from eosin.settings.setting import Settings, setting
from eosin.settings.training import SplitSettings

MIXTURE = "mixture"
"""Training witnesses that take all rates in turn."""


@dataclass(frozen=True, kw_only=True)
class BagDraw(Settings):
    """How bags are drawn from the tiles of one side.

    Attributes:
        n_bags: Bags, half of them positive; even.
        size: Instances of every bag.
        witnesses: Witnesses of the positive bags; of several numbers each positive bag
            takes the next one.
        reuse: Whether a tile may be in more than one bag; it is never in one twice.
    """

    n_bags: int = setting(least=2)
    size: int = setting(least=1)
    witnesses: tuple[int, ...] = setting(least=1)
    reuse: bool = True

    def check(self) -> None:
        """Stop where bags cannot be half positive, or have too many witnesses."""
        super().check()
        if self.n_bags % 2:
            raise ConfigError(
                f"n_bags must be even, to be half positive, got {self.n_bags}"
            )
        if not self.witnesses:
            raise ConfigError("witnesses must be one number or more, got none")
        if max(self.witnesses) > self.size:
            raise ConfigError(
                f"witnesses must be 1 to the bags' size {self.size}, got "
                f"{max(self.witnesses)}"
            )


@dataclass(frozen=True, kw_only=True)
class BagSettings(SplitSettings, BagDraw):
    """Which bags are drawn from labelled tiles.

    Attributes:
        n_bags: Bags on all sides together, half of them positive; even.
        witnesses: Witnesses of the positive bags, 1 to `size`; of several numbers
            (20,10,5,1) each positive bag takes the next one.
        witness_class: The class that is looked for; `none` takes every class but the
            negative one.
        folds: 1 makes train, val and test; more make that many sides `fold_<k>`.
        val_fraction: Share of the patients, and of the bags, that validate.
        test_fraction: Share of the patients, and of the bags, that test.
        reuse: Whether a tile may be in more than one bag of its side.
    """

    n_bags: int = 1000
    size: int = 40
    witnesses: tuple[int, ...] = (20,)
    witness_class: str | None = None
    folds: int = 1
    val_fraction: float = setting(0.2, above=None, least=0)
    test_fraction: float = setting(0.2, above=None, least=0)
    reuse: bool = True

    def check(self) -> None:
        """Stop where a side would have no bags, or too few instances."""
        super().check()
        _ = self.draws

    @property
    def draws(self) -> Mapping[str, BagDraw]:
        """What is drawn of each side, in pairs of a positive and a negative bag.

        Raises:
            ConfigError: There are too few bags for a side.
        """
        n_pairs = self.n_bags // 2
        if self.folds > 1:
            least, n_larger = divmod(n_pairs, self.folds)
            counts = {
                f"fold_{k}": 2 * (least + (k < n_larger)) for k in range(self.folds)
            }
        else:
            shares = {"val": self.val_fraction, "test": self.test_fraction}
            held = {k: 2 * round(n_pairs * part) for k, part in shares.items() if part}
            counts = {"train": 2 * n_pairs - sum(held.values()), **held}
        if min(counts.values()) < 2:
            raise ConfigError(
                f"n_bags must be two or more for each of {', '.join(counts)}, got "
                f"{self.n_bags}"
            )
        own: dict[str, Any] = {
            "size": self.size,
            "witnesses": self.witnesses,
            "reuse": self.reuse,
        }
        return {side: BagDraw(n_bags=n, **own) for side, n in counts.items()}


@dataclass(frozen=True, kw_only=True)
class LimitSettings(SplitSettings, BagFit):
    """Which cells a limit study has, and how each is trained.

    Attributes:
        bag_size: Instances of every bag.
        witnesses: Witnesses of the positive test bags, 1 to `bag_size` each.
        bags: Training bags, even numbers; a smaller set is the beginning of a larger
            one.
        aggregators: Methods of multiple-instance learning.
        seeds: Seeds of the weights and of which training bags are drawn.
        train_witnesses: Witnesses of the positive training and validation bags: a
            number, or `mixture`, which takes those of `witnesses` in turn.
        val_bags: Validation bags, an even number.
        test_bags: Test bags of each fold and witness rate, an even number; negative
            ones are the same for every rate.
        n_resamples: Resampled sets of test patients, for the intervals.
        resample_bags: Bags of each kind and resampled set.
        specificity: Specificity at which sensitivity is told.
        power: Sensitivity that is asked for at the limit.
        components: Main components that features are reduced to, for speed; `none`
            leaves them as they are.
        batch: Bags per step at most.
        dropout: Share of the projected features dropped in training.
        widths: Widths of the dense layers before the aggregator.
        witness_class: The class that is looked for; `none` takes every class but the
            negative one.
    """

    bag_size: int = setting(40, least=1)
    witnesses: tuple[int, ...] = setting((20, 10, 5, 1), is_set=True, least=1)
    bags: tuple[int, ...] = setting((500, 1000, 2000), is_set=True, least=2)
    aggregators: tuple[str, ...] = setting(
        ("gated_attention", "concat40"), is_set=True, names=KNOWN_AGGREGATORS
    )
    seeds: tuple[int, ...] = setting((0, 1, 2), is_set=True, least=0)
    train_witnesses: tuple[str, ...] = setting(("20", MIXTURE), is_set=True)
    witness_class: str | None = None
    folds: int = 4
    val_fraction: float = 0.25
    test_fraction: float = 0.25
    val_bags: int = setting(200, least=2)
    test_bags: int = setting(400, least=2)
    n_resamples: int = setting(60, least=2)
    resample_bags: int = setting(40, least=2)
    specificity: float = setting(0.95, above=0, below=1)
    power: float = setting(0.9, above=0, below=1)
    components: int | None = setting(128, least=1)
    widths: tuple[int, ...] = setting((128,), least=1)
    dropout: float = setting(0.25, least=0, below=1)
    epochs: int = 20
    patience: int | None = 4
    learning_rate: float = 1e-3
    batch: int = 32

    def check(self) -> None:
        """Stop where bags cannot be drawn, or a method does not take them."""
        super().check()
        for training in self.train_witnesses:
            if training != MIXTURE and not training.isdecimal():
                raise ConfigError(
                    f"train_witnesses must be numbers or '{MIXTURE}', got '{training}'"
                )
        trained = [
            n for text in self.train_witnesses for n in self.find_train_witnesses(text)
        ]
        for n_bags in (*self.bags, self.val_bags, self.test_bags):
            for n in {*self.witnesses, *trained}:
                BagDraw(n_bags=n_bags, size=self.bag_size, witnesses=(n,))
        for name in self.aggregators:
            taken = KNOWN_AGGREGATORS[name]
            if taken is not None and self.bag_size > taken:
                raise ConfigError(
                    f"{name} takes bags of at most {taken}, got bag_size "
                    f"{self.bag_size}; leave it out"
                )

    def find_train_witnesses(self, text: str) -> Sequence[int]:
        """Return the witnesses that one of `train_witnesses` stands for."""
        return self.witnesses if text == MIXTURE else (int(text),)
