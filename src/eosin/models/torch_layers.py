"""Keras' layers of images by PyTorch's own kernels, for whoever trains them.

Under its torch backend Keras copies what a convolution or a pooling takes to another
order in memory and back, and puts a batch normalisation together from elementwise
steps: MobileNetV2 and DenseNet121 trained at 0.4 to 0.7 of PyTorch's speed. Memory in
Keras' order, `(batch, height, width, channels)`, is what PyTorch calls channels-last,
so that its kernels can be called on it as it lies.

The layers keep their weights, settings and names; only what they call is another, and
results differ by rounding. What stands alone between two layers is done in one pass: a
batch normalisation that rests is part of the convolution before it, and a ReLU is done
in place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from eosin.models.keras_backend import keras

layers = keras.layers
to_tensor = keras.ops.convert_to_tensor

Call = Callable[..., Any]


def find_direct_calls(model: Any) -> dict[Any, Call]:
    """Find what to call instead of `call`, for each layer of which it is known.

    It holds for the model as a whole, and while no layer begins to be trained or ceases
    to be.
    """
    calls: dict[Any, Call] = {}
    for part in model._flatten_layers():
        ends = {id(tensor) for tensor in getattr(part, "outputs", ())}
        for layer in getattr(part, "operations", ()):
            if layer in calls or not _is_known(layer):
                continue
            norm = _find_follower(layer, ends)
            norm = norm if _can_fold(layer, norm) else None
            relu = _find_follower(layer if norm is None else norm, ends)
            relu = relu if _is_relu(relu) else None
            calls[layer] = _Chain(layer, norm, relu)
            calls |= {done: _pass_on for done in (norm, relu) if done is not None}
    return calls


@dataclass(frozen=True)
class _Chain:
    """A layer with what is done in the same pass behind it."""

    layer: Any
    norm: Any
    relu: Any

    def __call__(
        self,
        inputs: torch.Tensor,
        training: bool | None = None,  # noqa: FBT001 - Keras' signature
        mask: Any = None,
    ) -> Any:
        layer = self.layer
        maps = inputs.permute(0, 3, 1, 2)
        if type(layer) in _CONVOLUTIONS:
            maps = _CONVOLUTIONS[type(layer)](layer, maps, self.norm)
        elif type(layer) in _POOLINGS:
            maps = _POOLINGS[type(layer)](layer, maps)
        elif mask is None and len(inputs) * inputs.shape[1] * inputs.shape[2] > 1:
            is_trained = bool(training and layer.trainable)
            maps = _normalise(layer, maps, is_trained=is_trained)
        else:
            # PyTorch takes no mask, and finds no variance of a single value.
            maps = type(layer).call(layer, inputs, training=training, mask=mask)
            maps = maps.permute(0, 3, 1, 2)
        if self.relu is not None:
            # In place: no gradient needs what the layer before it gave.
            is_cut = getattr(self.relu, "max_value", None) is not None
            clip = functional.relu6 if is_cut else functional.relu
            maps = clip(maps, inplace=True)
        return maps.permute(0, 2, 3, 1)


def _pass_on(inputs: Any, **_: Any) -> Any:
    """Stand for a layer whose work is done already."""
    return inputs


def _convolve(layer: Any, maps: torch.Tensor, norm: Any) -> torch.Tensor:
    kernel, bias = _fold(norm, to_tensor(layer.kernel), layer.bias)
    return _slide(layer, maps, kernel, bias, layer.groups)


def _convolve_depthwise(layer: Any, maps: torch.Tensor, norm: Any) -> torch.Tensor:
    kernel, bias = _fold(norm, _join_depths(layer.kernel), layer.bias)
    return _slide(layer, maps, kernel, bias, maps.shape[1])


def _convolve_separably(layer: Any, maps: torch.Tensor, norm: Any) -> torch.Tensor:
    depths = _join_depths(layer.depthwise_kernel)
    maps = _slide(layer, maps, depths, None, maps.shape[1])
    kernel, bias = _fold(norm, to_tensor(layer.pointwise_kernel), layer.bias)
    return functional.conv2d(maps, kernel.permute(3, 2, 0, 1), bias)


def _join_depths(kernel: Any) -> torch.Tensor:
    """Turn `(height, width, channels, multiplier)` into one input of many groups."""
    joined: torch.Tensor = to_tensor(kernel).flatten(2)[:, :, None]
    return joined


def _slide(
    layer: Any, maps: torch.Tensor, kernel: torch.Tensor, bias: Any, groups: int
) -> torch.Tensor:
    """Convolve by a kernel `(height, width, inputs, outputs)` as a layer says."""
    reach = [
        (size - 1) * spacing + 1
        for size, spacing in zip(layer.kernel_size, layer.dilation_rate, strict=True)
    ]
    maps, padding = _pad(layer, maps, reach, 0.0)
    return functional.conv2d(
        maps,
        kernel.permute(3, 2, 0, 1),
        bias,
        layer.strides,
        padding,
        layer.dilation_rate,
        groups,
    )


def _pad(
    layer: Any, maps: torch.Tensor, reach: Sequence[int], value: float
) -> tuple[torch.Tensor, Any]:
    """Pad maps where PyTorch cannot do so itself, and say what is left for it to do."""
    if layer.padding == "valid":
        return maps, 0
    totals = [
        max(0, (-(-length // stride) - 1) * stride + size - length)
        for length, size, stride in zip(
            maps.shape[2:], reach, layer.strides, strict=True
        )
    ]
    if all(total % 2 == 0 for total in totals):
        return maps, [total // 2 for total in totals]
    # What is odd goes to the bottom and the right.
    (top, bottom), (left, right) = [(n // 2, n - n // 2) for n in totals]
    return functional.pad(maps, (left, right, top, bottom), value=value), 0


def _pool_max(layer: Any, maps: torch.Tensor) -> torch.Tensor:
    maps, padding = _pad(layer, maps, layer.pool_size, -torch.inf)
    return functional.max_pool2d(maps, layer.pool_size, layer.strides, padding)


def _pool_average(layer: Any, maps: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(maps, layer.pool_size, layer.strides)


def _normalise(layer: Any, maps: torch.Tensor, *, is_trained: bool) -> torch.Tensor:
    scale, shift = (None if v is None else v.value for v in (layer.gamma, layer.beta))
    moving = (layer.moving_mean, layer.moving_variance)
    if not is_trained:
        mean, variance = (variable.value for variable in moving)
        return functional.batch_norm(
            maps, mean, variance, scale, shift, eps=layer.epsilon
        )
    mean, variance = torch.zeros_like(moving[0].value), torch.ones_like(moving[1].value)
    normalised = functional.batch_norm(
        maps, mean, variance, scale, shift, training=True, momentum=1, eps=layer.epsilon
    )
    # PyTorch keeps the variance of the population, Keras that of the batch.
    n = maps.numel() // maps.shape[1]
    for variable, found in zip(moving, (mean, variance * ((n - 1) / n)), strict=True):
        variable.assign(variable.value.lerp(found, 1 - layer.momentum))
    return normalised


def _fold(norm: Any, kernel: torch.Tensor, bias: Any) -> tuple[torch.Tensor, Any]:
    """Let a convolution do what a resting normalisation would do behind it."""
    bias = None if bias is None else to_tensor(bias)
    if norm is None:
        return kernel, bias
    scale = torch.rsqrt(norm.moving_variance.value + norm.epsilon)
    if norm.gamma is not None:
        scale = scale * norm.gamma.value
    shift = -norm.moving_mean.value if bias is None else bias - norm.moving_mean.value
    shift = shift * scale
    if norm.beta is not None:
        shift = shift + norm.beta.value
    return kernel * scale, shift


def _find_follower(layer: Any, ends: set[int]) -> Any:
    """Find the one layer that takes all that another gives, and nothing else."""
    followers = {node.operation for node in layer._outbound_nodes}
    outputs = {id(x) for node in layer._inbound_nodes for x in node.output_tensors}
    if len(followers) != 1 or outputs & ends or layer.activity_regularizer is not None:
        return None
    (follower,) = followers
    sources = {
        parent.operation
        for node in follower._inbound_nodes
        for parent in node.parent_nodes
    }
    return follower if sources == {layer} else None


def _is_known(layer: Any) -> bool:
    """Say whether a layer is one of images whose settings PyTorch has too."""
    kind = type(layer)
    if kind is layers.BatchNormalization:
        is_plain = not (layer.synchronized or getattr(layer, "renorm", False))
        return is_plain and layer.axis in (-1, 3) and len(layer.output.shape) == 4
    if kind in _CONVOLUTIONS:
        is_plain = layer.activation is keras.activations.linear
    elif kind in _POOLINGS:
        is_plain = layer.padding == "valid" or kind is layers.MaxPooling2D
    else:
        return False
    return is_plain and layer.data_format == "channels_last"


def _can_fold(layer: Any, norm: Any) -> bool:
    """Say whether a layer can do what follows it: a normalisation that rests."""
    return (
        type(layer) in _CONVOLUTIONS
        and type(norm) is layers.BatchNormalization
        and _is_known(norm)
        and not norm.trainable
        # In half precision the scaled kernel would be rounded once more.
        and layer.compute_dtype in {"float32", "float64"}
    )


def _is_relu(layer: Any) -> bool:
    """Say whether a layer is a ReLU, or one that ends at 6."""
    if type(layer) is layers.Activation:
        return layer.activation is keras.activations.relu
    return (
        type(layer) is layers.ReLU
        and layer.negative_slope == layer.threshold == 0
        and layer.max_value in (None, 6)
    )


_CONVOLUTIONS = {
    layers.Conv2D: _convolve,
    layers.DepthwiseConv2D: _convolve_depthwise,
    layers.SeparableConv2D: _convolve_separably,
}
_POOLINGS = {
    layers.MaxPooling2D: _pool_max,
    layers.AveragePooling2D: _pool_average,
}
