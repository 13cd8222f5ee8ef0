"""Where the weights of clinical columns begin."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from eosin.models import MILModel
from eosin.training.bag_data import TrainingBags


def start_clinical(model: MILModel, bags: TrainingBags) -> None:
    """Begin with what a logistic regression of the training bags' columns says.

    From 0 they would learn next to nothing: features of a few dozen bags soon tell all
    of these apart, and what is told apart gives no gradient. So the columns come
    first, and the features learn what those leave over. The regression weighs classes
    alike and is held back by a normal prior of unit spread on each coefficient, which
    leaves a column without meaning, or a level that no training patient had, near 0.

    Args:
        model: Changed in place; untouched where it takes no columns.
        bags: Whose training rows are looked at.
    """
    if model.clinical is None:
        return
    columns = np.stack([model.encode_clinical(bags.bags[i]) for i in bags.train_rows])
    labels = bags.labels[bags.train_rows]
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    regression.fit(columns, labels)
    model.clinical_head.set_weights([regression.coef_.T.astype(np.float32)])
