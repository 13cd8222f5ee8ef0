"""Gated attention, as Ilse et al., 2018."""

from eosin.models.aggregators.attention import AttentionAggregator
from eosin.models.attention import GatedAttentionScores
from eosin.models.keras_backend import keras


@keras.saving.register_keras_serializable(package="eosin")
class GatedAttentionAggregator(AttentionAggregator):
    """Classify the mean of the instances, weighted by gated attention.

    As `AttentionAggregator`, with a sigmoid layer that gates the tanh layer
    (Ilse et al., 2018, eq. 9).
    """

    scores_kind = GatedAttentionScores
