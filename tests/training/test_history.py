import numpy as np
import pytest

from eosin.training import EpochMetrics, FitResult
from eosin.training.history import HISTORY_COLUMNS, find_best


def _make(epoch, val_loss, auc):
    return EpochMetrics("head", epoch, 1e-3, 0.5, val_loss, auc, 1.0)


def test_the_highest_auc_is_best():
    rows = [_make(1, 0.2, 0.7), _make(2, 0.9, 0.8), _make(3, 0.1, 0.75)]
    assert find_best(rows, "val_roc_auc").epoch == 2
    assert find_best(rows, "val_loss").epoch == 3


def test_a_tie_in_the_auc_goes_to_the_lower_loss():
    rows = [_make(1, 0.3, 1.0), _make(2, 0.2, 1.0), _make(3, 0.25, 1.0)]
    assert find_best(rows, "val_roc_auc").epoch == 2


def test_of_equal_epochs_the_first_is_best():
    rows = [_make(1, 0.3, 0.9), _make(2, 0.3, 0.9)]
    assert find_best(rows, "val_roc_auc").epoch == 1


def test_without_validation_the_last_is_best():
    rows = [_make(1, np.nan, None), _make(2, np.nan, None)]
    assert find_best(rows, None).epoch == 2


def test_the_table_has_the_columns_and_nan_for_no_auc():
    rows = (_make(1, 0.3, None), _make(2, 0.2, None))
    result = FitResult(rows, rows[1], "val_loss", warnings=())
    assert tuple(result.history.columns) == HISTORY_COLUMNS
    assert result.history["epoch"].tolist() == [1, 2]
    assert np.isnan(result.history["val_roc_auc"]).all()
    assert result.history["val_loss"].tolist() == pytest.approx([0.3, 0.2])
