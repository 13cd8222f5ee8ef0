"""Training of MIL models on bags."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from eosin.bags import Bag
from eosin.core import ConfigError
from eosin.models import MILModel
from eosin.settings import BagFit
from eosin.training.bag_batches import BagBatches
from eosin.training.freezing import find_resting, frozen
from eosin.training.history import FitResult
from eosin.training.loop import Listeners, run_epochs
from eosin.training.training_data import Rows, TrainingBags

Numbers = NDArray[np.float64]


def train_mil(
    model: MILModel,
    bags: TrainingBags,
    config: BagFit,
    listeners: Listeners | None = None,
) -> FitResult:
    """Train a MIL model in place and leave the best epoch's weights in it.

    The model's scaling is set from the training bags, and clinical columns begin with
    what a regression of them says.

    Args:
        model: From `build_mil_model` or `build_pixel_mil_model`.
        bags: The bags and their splits.
        config: The settings.
        listeners: Who hears of it, and where it keeps its state.

    Raises:
        ConfigError: The bags and the settings do not fit the model.
        ManifestError: A bag is too large for the model, or not finite.
        ModelError: The loss became NaN or infinite.
        RunError: The checkpoint belongs to another training.
    """
    if (model.n_classes, model.dimension) != (bags.n_classes, bags.n_features):
        raise ConfigError(
            f"the model takes {model.dimension} features and gives {model.n_classes} "
            f"classes, the bags have {bags.n_features} and {bags.n_classes}; build it "
            "for these bags"
        )
    if model.scaling is not None:
        mean, deviation = find_statistics(bags.bags, bags.train_rows)
        model.scaling.set_statistics(mean, deviation, clip=config.clip)
    start_clinical(model, bags)
    resting: Iterable[Any] = ()
    if model.encoder is not None:
        resting = find_resting(
            model.encoder, depth=config.depth, batch_norm=config.batch_norm
        )
    # Frozen before it is compiled: the optimiser takes what can be trained then.
    with frozen(resting):
        return run_epochs(BagBatches(model, bags, config), "mil", listeners)


def find_statistics(bags: Sequence[Bag], rows: Rows) -> tuple[Numbers, Numbers]:
    """Find each feature's mean and deviation over all instances of some bags.

    Computed block by block, so that memory is bounded whatever the bags' sizes.
    """
    n_seen = 0
    mean: Numbers = np.zeros(bags[rows[0]].n_features)
    squares = np.zeros_like(mean)
    for row in rows:
        bag = bags[row]
        for block in bag.list_blocks():
            # Merged as Chan et al., 1983, which loses no digits to a large mean.
            features = bag.read(block).astype(np.float64)
            n_new = len(features)
            step = features.mean(axis=0) - mean
            n_seen += n_new
            mean += step * (n_new / n_seen)
            squares += n_new * features.var(axis=0)
            squares += step**2 * (n_new * (n_seen - n_new) / n_seen)
    return mean, np.sqrt(squares / n_seen)


def start_clinical(model: MILModel, bags: TrainingBags) -> None:
    """Begin with what a logistic regression of the training bags' columns says.

    From 0 they would learn next to nothing: features of a few dozen bags soon tell all
    of these apart, and what is told apart gives no gradient. So the columns come
    first, and the features learn what those leave over. The regression weighs classes
    alike and is held back by a normal prior of unit spread on each coefficient, which
    leaves a column without meaning, or a level that no training patient had, near 0.
    """
    if model.clinical is None:
        return
    columns = np.stack([model.encode_clinical(bags.bags[i]) for i in bags.train_rows])
    labels = bags.labels[bags.train_rows]
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(columns, labels)
    model.clinical_head.set_weights([regression.coef_.T.astype(np.float32)])
