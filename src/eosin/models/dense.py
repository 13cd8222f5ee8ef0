"""A dense layer for many instances at a time."""

from typing import Any

from eosin.models.keras_backend import keras

can_take: Any = None
multiply: Any = None
if keras.backend.backend() == "torch":
    from eosin.models.torch_products import can_take, multiply


@keras.saving.register_keras_serializable(package="eosin")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense`, whose product and bias are one call of PyTorch.

    Results differ from Keras' by rounding, and are the same to the bit on other
    backends. Named as Keras' own, after which files name the weights, so that files of
    either load.
    """

    def run(self, inputs: Any) -> Any:
        """Call a built layer, on PyTorch past what Keras does around each call.

        That takes 0.15 ms; `call` computes in the layer's own precision whoever calls
        it there, and elsewhere Keras sees to it.
        """
        return self(inputs) if can_take is None else self.call(inputs)

    def call(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: FBT001 - Keras' signature
        """Run as `keras.layers.Dense` does."""
        # What is kept, not as a caller's precision shows it.
        kernel = self._kernel._value
        if can_take is None or not can_take(inputs, kernel):
            return super().call(inputs, training=training)
        bias = None if self.bias is None else self.bias._value
        outputs = multiply(inputs, kernel, bias, dtype=self.compute_dtype)
        return outputs if self.activation is None else self.activation(outputs)
