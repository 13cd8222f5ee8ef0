"""The learning-rate range test: a short training over rising learning rates.

After Smith, "Cyclical learning rates for training neural networks" (WACV 2017):
far too small a rate teaches nothing, too large a one makes the loss explode, and
a good peak lies where the loss falls fastest in between.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eosin.core import ModelError, Progress
from eosin.settings import HeadFit, RangeTest, TuneFit
from eosin.training.batches import Batches
from eosin.training.loop import trying_steps
from eosin.training.sources import CachedViews, TileSource, Views
from eosin.training.tile_training import batch_features, preparing
from eosin.training.training_data import TrainingTiles

Step = Callable[[float], float]
Values = NDArray[np.float64]

_FEWEST = 5
# A fall must exceed so many standard errors of a smoothed loss.
_CLEARLY = 5.0
# Standard deviation of a normal distribution over its median absolute deviation.
_NORMAL_OVER_MEDIAN = 1.4826
_FOLLOWING = 0.9


@dataclass(frozen=True, eq=False)
class LearningRateCurve:
    """What came of a test, of the steps that ran.

    Attributes:
        learning_rates: `(steps,)`, rising.
        losses: Training loss of each step, before its update.
        smoothed: The losses averaged over neighbouring steps.
        steepest: Where the loss falls fastest per factor, by lines through as many
            steps as the smoothing takes. None where it does not fall beyond its noise.
        minimum: Where it is lowest.
    """

    learning_rates: Values
    losses: Values
    smoothed: Values
    steepest: float | None
    minimum: float

    @property
    def suggested(self) -> float | None:
        """A peak for one cycle: the steepest, but at most a tenth of the minimum.

        None where the loss does not fall: then no rate that was tried teaches this
        model anything.
        """
        return None if self.steepest is None else min(self.steepest, self.minimum / 10)

    @property
    def table(self) -> pd.DataFrame:
        """The curve with the columns `learning_rate`, `loss` and `smoothed`."""
        return pd.DataFrame(
            {
                "learning_rate": self.learning_rates,
                "loss": self.losses,
                "smoothed": self.smoothed,
            }
        )


def find_head_curve(
    classifier: Any,
    features: Views,
    tiles: TrainingTiles,
    config: HeadFit,
    *,
    sweep: RangeTest | None = None,
    progress: Progress | None = None,
) -> LearningRateCurve:
    """Test which learning rates a classifier's head takes; its weights are put back.

    Arguments and errors are those of `fit_head`; the learning rates are those of
    `sweep`, or the usual ones.
    """
    batches = batch_features(classifier, CachedViews(features), tiles, config)
    return find_curve(batches, sweep, progress)


def find_fine_tuning_curve(
    classifier: Any,
    source: TileSource,
    tiles: TrainingTiles,
    config: TuneFit,
    *,
    sweep: RangeTest | None = None,
    progress: Progress | None = None,
) -> LearningRateCurve:
    """Test which learning rates fine-tuning takes; the weights are put back.

    Arguments and errors are those of `fine_tune`, whose settings freeze and slow what
    they freeze and slow there; the learning rates are those of `sweep`, or the usual
    ones.
    """
    with preparing(classifier, source, tiles, config) as batches:
        return find_curve(batches, sweep, progress)


def find_curve(
    batches: Batches, sweep: RangeTest | None, progress: Progress | None
) -> LearningRateCurve:
    """Test which learning rates a model takes; its weights are put back."""
    sweep = sweep or RangeTest()
    with (
        trying_steps(batches) as step,
        (progress or Progress()).task("Range test steps", sweep.n_steps) as task,
    ):

        def step_and_tell(learning_rate: float) -> float:
            loss = step(learning_rate)
            task.advance(note=f"learning rate {learning_rate:.2g} loss {loss:.4f}")
            return loss

        return run_range_test(step_and_tell, sweep)


def run_range_test(step: Step, sweep: RangeTest) -> LearningRateCurve:
    """Run steps at rising learning rates until the loss explodes.

    A step takes a learning rate, trains, and gives the loss from before it.

    Raises:
        ModelError: Too few steps had a finite loss.
    """
    rates = np.geomspace(sweep.lowest, sweep.highest, sweep.n_steps)
    losses: list[float] = []
    running, lowest = 0.0, math.inf
    for i, rate in enumerate(rates):
        loss = step(float(rate))
        if not math.isfinite(loss):
            break
        losses.append(loss)
        running += (1 - _FOLLOWING) * (loss - running)
        # What began at 0 is too small at first, by a factor that is known.
        current = running / (1 - _FOLLOWING ** (i + 1))
        lowest = min(lowest, current)
        if i >= _FEWEST and current > sweep.stop_factor * lowest:
            break
    if len(losses) < _FEWEST:
        raise ModelError(
            f"the training loss is not finite at a learning rate of "
            f"{rates[len(losses)]:.2g}, in step {len(losses) + 1} of a range test; "
            f"lower --set lowest (now {sweep.lowest:g}), or look at the features"
        )
    return _describe(rates[: len(losses)], np.array(losses), sweep)


def _describe(rates: Values, losses: Values, sweep: RangeTest) -> LearningRateCurve:
    width = round(sweep.smoothing * sweep.n_steps)
    smoothed = _smooth(losses, width)
    lowest = int(smoothed.argmin())
    return LearningRateCurve(
        rates,
        losses,
        smoothed,
        _find_steepest(rates, losses, smoothed, min(width // 2, len(losses) // 2 - 1)),
        float(rates[lowest]),
    )


def _find_steepest(
    rates: Values, losses: Values, smoothed: Values, reach: int
) -> float | None:
    """Find where the loss falls fastest on its way down, if it does.

    The slope is that of a line through the losses within reach on both sides: the
    smoothed curve's own differences are those of two single losses, and its ends are
    averages of few.
    """
    stop = min(int(smoothed.argmin()), len(losses) - 1 - reach) + 1
    if stop <= reach:
        return None
    if reach == 0:
        slopes = np.gradient(losses, np.log(rates))[:stop]
    else:
        # Least squares; the rates are evenly spaced on their logarithm.
        steps = np.arange(-reach, reach + 1)
        slopes = np.correlate(losses, steps / (steps**2).sum(), "valid")[: stop - reach]
    noise = _NORMAL_OVER_MEDIAN * np.median(np.abs(losses - smoothed)[:stop])
    fall = smoothed[reach] - smoothed[:stop].min()
    if not (slopes.min() < 0 and fall > _CLEARLY * noise / math.sqrt(2 * reach + 1)):
        return None
    return float(rates[reach + int(slopes.argmin())])


def _smooth(losses: Values, width: int) -> Values:
    """Average over neighbours, as many on either side; fewer at the ends."""
    reach = np.minimum(width // 2, np.arange(len(losses)))
    reach = np.minimum(reach, reach[::-1])
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    places = np.arange(len(losses))
    totals = sums[places + reach + 1] - sums[places - reach]
    return np.asarray(totals / (2 * reach + 1))
