"""The baseline that every method has to beat."""

from eosin.models.aggregators.mean import MeanAggregator
from eosin.models.keras_backend import keras


@keras.saving.register_keras_serializable(package="eosin")
class LinearProbe(MeanAggregator):
    """Logistic regression on the mean of the features as they came.

    It is `MeanAggregator` without any layer before it; the registry says so.
    """
