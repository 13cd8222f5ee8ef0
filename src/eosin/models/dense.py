"""A dense layer for many instances at a time."""

from typing import Any

from eosin.models.keras_backend import keras

Product: Any = None
is_faster: Any = None
if keras.backend.backend() == "torch":
    from eosin.models.torch_products import Product, is_faster


@keras.saving.register_keras_serializable(package="eosin")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense`, with the faster product where there is one.

    Results differ from Keras' by rounding, and are the same to the bit wherever
    `torch_products` has nothing to gain: on other backends, on a GPU, on Intel's
    processors, in half precision and for small batches. Named as Keras' own, after
    which files name the weights, so that files of either load.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:  # noqa: FBT001 - Keras' signature
        """Run as `keras.layers.Dense` does."""
        if is_faster is None:
            return super().call(inputs, training=training)
        kernel = keras.ops.convert_to_tensor(self.kernel)
        if not is_faster(inputs, kernel):
            return super().call(inputs, training=training)
        bias = None if self.bias is None else keras.ops.convert_to_tensor(self.bias)
        outputs = Product.apply(inputs, kernel, bias)
        return outputs if self.activation is None else self.activation(outputs)
