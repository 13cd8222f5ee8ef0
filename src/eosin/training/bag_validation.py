"""How well a MIL model does on the bags that choose its best epoch."""

import numpy as np

from eosin.core import ModelError
from eosin.evaluation import compute_roc_auc
from eosin.models import MILModel, predict_bags
from eosin.training.bag_data import TrainingBags
from eosin.training.losses import find_log_probabilities
from eosin.training.validation import Validation


def validate_bags(model: MILModel, bags: TrainingBags) -> Validation | None:
    """Score the validation bags, all of their instances; None without any.

    Raises:
        ModelError: A logit is not finite.
    """
    if len(bags.val_rows) == 0:
        return None
    chosen = [bags.bags[row] for row in bags.val_rows]
    logits = np.stack([found.logits for found in predict_bags(model, chosen)])
    if not np.isfinite(logits).all():
        raise ModelError("the model's logits of validation bags are not finite")
    labels = bags.labels[bags.val_rows]
    log_probabilities = find_log_probabilities(logits)
    loss = -log_probabilities[np.arange(len(labels)), labels].mean()
    roc_auc = None
    if not bags.find_missing(bags.val_rows):
        roc_auc = compute_roc_auc(labels, np.exp(log_probabilities))
    return Validation(float(loss), roc_auc)
