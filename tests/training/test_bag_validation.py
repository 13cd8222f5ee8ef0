import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from eosin.bags import Bag
from eosin.core import ModelError
from eosin.models import build_mil_model, predict_bags
from eosin.training import TrainingBags
from eosin.training.bag_validation import validate_bags


def _build():
    return build_mil_model("gated_attention", dimension=5, widths=(8,), seed=3)


@pytest.fixture(scope="module")
def bags():
    rng = np.random.default_rng(0)
    own = [
        Bag(bag_id=f"{i}", features=rng.normal(size=(3 + i, 5)), label=i % 2)
        for i in range(20)
    ]
    return TrainingBags(own, np.arange(8), np.arange(8, 20), ("normal", "tumour"))


def test_nothing_to_validate_on_gives_no_figures(bags):
    alone = TrainingBags(
        bags.bags, bags.train_rows, np.array([], int), bags.class_names
    )
    assert validate_bags(_build(), alone) is None


def test_one_class_has_a_loss_and_no_auc(bags):
    one = TrainingBags(bags.bags, bags.train_rows, np.array([8, 10]), bags.class_names)
    found = validate_bags(_build(), one)
    assert found.loss > 0
    assert found.roc_auc is None


def test_validation_gives_scikit_learns_figures(bags):
    model = _build()
    found = validate_bags(model, bags)
    val = [bags.bags[row] for row in bags.val_rows]
    logits = np.array([p.logits[0] for p in predict_bags(model, val)], np.float64)
    labels = [bag.label for bag in val]
    assert found.loss == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-logits))))
    assert found.roc_auc == pytest.approx(roc_auc_score(labels, logits))


def test_logits_that_are_not_finite_stop_validation(bags):
    model = _build()
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    with pytest.raises(ModelError, match="logits of validation bags are not finite"):
        validate_bags(model, bags)
