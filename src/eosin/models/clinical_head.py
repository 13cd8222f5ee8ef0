"""What clinical columns add to a bag's logits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.models.keras_backend import keras

ops = keras.ops


@keras.saving.register_keras_serializable(package="eosin")
class ClinicalHead(keras.layers.Layer):
    """Weigh encoded clinical columns, linearly and without a constant.

    Starts at 0; training begins with what the columns say by themselves (see
    `start_clinical`).

    Args:
        n_outputs: Logits per bag.
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        clinical: `(batch, numbers)`, float.

    Returns:
        `(batch, outputs)`, float32.
    """

    def __init__(self, n_outputs: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.n_outputs = n_outputs

    def build(self, input_shape: Any) -> None:
        """Build the weights."""
        self.coefficients = self.add_weight(
            shape=(input_shape[-1], self.n_outputs),
            initializer="zeros",
            name="coefficients",
        )
        super().build(input_shape)

    def call(self, clinical: Any) -> Any:
        """Run as the class says."""
        return ops.matmul(clinical, self.coefficients)

    def predict(self, clinical: NDArray[np.float32]) -> NDArray[np.float32]:
        """Do what `call` does, in NumPy."""
        (coefficients,) = self.get_weights()
        return np.asarray(clinical @ coefficients, np.float32)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make another."""
        return {**super().get_config(), "n_outputs": self.n_outputs}
