import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from eosin.bags import Bag
from eosin.core import ModelError
from eosin.models import build_mil_model, predict_bags
from eosin.settings import BagFit
from eosin.training import TrainingBags
from eosin.training.mil_training import (
    BagBatches,
    LearningModel,
    TorchLearningModel,
)
from eosin.training.optimisation import build_loss, build_optimiser


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


def _validate(model, bags, rows):
    chosen = TrainingBags(bags.bags, bags.train_rows, rows, bags.class_names)
    return BagBatches(model, chosen, BagFit()).validate()


def test_validation_gives_scikit_learns_figures(bags):
    model = _build()
    found = _validate(model, bags, bags.val_rows)
    val = [bags.bags[row] for row in bags.val_rows]
    logits = np.array([p.logits[0] for p in predict_bags(model, val)], np.float64)
    labels = [bag.label for bag in val]
    assert found.loss == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-logits))))
    assert found.roc_auc == pytest.approx(roc_auc_score(labels, logits))


def test_logits_that_are_not_finite_stop_validation(bags):
    model = _build()
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    with pytest.raises(ModelError, match="logits of validation bags are not finite"):
        _validate(model, bags, bags.val_rows)


def test_a_step_never_sees_more_than_the_config_allows(bags):
    config = BagFit(max_instances=7, max_padded=24)
    batches = BagBatches(_build(), bags, config)
    shown = [batch.inputs["features"].shape for _, batch in batches.iter_epoch(0)]
    assert max(shape[1] for shape in shown) == 7
    assert max(shape[0] * shape[1] for shape in shown) <= 24
    assert sum(shape[0] for shape in shown) == len(bags.train_rows)


def test_the_schedule_goes_on_however_many_steps_an_epoch_has(bags):
    batches = BagBatches(_build(), bags, BagFit(max_padded=24))
    ticks = [t for epoch in range(3) for t, _ in batches.iter_epoch(epoch)]
    assert ticks == sorted(set(ticks))
    assert ticks[0] == 0
    assert ticks[-1] < 3 * batches.n_ticks


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("method", ["gated_attention", "clam_sb", "transmil", "mean"])
def test_pytorchs_own_steps_are_those_of_keras(bags, method, precision):
    found = []
    for kind in (TorchLearningModel, LearningModel):
        model = build_mil_model(
            method, dimension=5, widths=(8,), seed=3, precision=precision
        )
        config = BagFit(batch=3)
        batches = BagBatches(model, bags, config)
        learning = kind(model, build_loss(2, label_smoothing=0.1))
        learning.compile(build_optimiser(config))
        learning.optimizer.build(learning.trainable_variables)
        losses = [
            learning.train_on_batch(
                batch.inputs, batch.targets, sample_weight=batch.weights
            )
            for epoch in range(3)
            for _, batch in batches.iter_epoch(epoch)
        ]
        found.append(np.array(losses, np.float64))
    np.testing.assert_allclose(*found, rtol=1e-5 if precision == "float32" else 1e-2)
