"""A plain PyTorch network of the same weights as a Keras model, channels-last.

What somebody who writes PyTorch by hand would have: `torch.nn` layers only, NCHW
tensors in channels-last memory. It takes `(tiles, 3, px, px)`, raw RGB, and gives
logits.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

MakeLayer = Callable[[Any], nn.Module]
MAKERS: dict[str, MakeLayer] = {}


class Plain(nn.Module):
    """The layers of a functional Keras model, called in its order."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.steps: list[tuple[str, list[str]]] = []
        self.layers = nn.ModuleDict()
        names: dict[int, str] = {}
        for operation in model.operations:
            node = operation._inbound_nodes[0]
            names[id(node.outputs[0])] = operation.name
            if type(operation).__name__ == "InputLayer":
                self.given = operation.name
                continue
            self.layers[operation.name] = convert(operation)
            taken = [names[id(tensor)] for tensor in node.input_tensors]
            self.steps.append((operation.name, taken))
        self.result = names[id(model.outputs[0])]
        users = Counter(name for _, taken in self.steps for name in taken)
        for name, taken in self.steps:
            if isinstance(self.layers[name], nn.ReLU | nn.ReLU6):
                self.layers[name].inplace = users[taken[0]] == 1
        self.last = {name: made for made, taken in self.steps for name in taken}

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        known = {self.given: tiles}
        for made, taken in self.steps:
            known[made] = self.layers[made](*(known[name] for name in taken))
            for name in taken:
                if self.last[name] == made:
                    known.pop(name, None)
        return known[self.result]


def build_plain(model: Any) -> nn.Module:
    """Copy a functional Keras model of convolutions to plain PyTorch."""
    return Plain(model).to(memory_format=torch.channels_last)


class Rescale(nn.Module):
    def __init__(self, scale: list[float], offset: list[float]) -> None:
        super().__init__()
        self.scale = nn.Buffer(torch.tensor(scale).reshape(-1, 1, 1))
        self.offset = nn.Buffer(torch.tensor(offset).reshape(-1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.offset


class Add(nn.Module):
    def forward(self, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        return sum(others, first)


class Concatenate(nn.Module):
    def forward(self, *parts: torch.Tensor) -> torch.Tensor:
        return torch.cat(parts, 1)


def convert(layer: Any) -> nn.Module:
    """Make the PyTorch layer that does what a Keras layer does."""
    name = type(layer).__name__
    if name not in MAKERS:
        raise TypeError(f"{layer.name}: no plain PyTorch layer for {name}")
    return MAKERS[name](layer)


def makes(name: str) -> Callable[[MakeLayer], MakeLayer]:
    """Register what makes the layer for one of Keras', known by its name.

    So that a saved network loads without Keras.
    """

    def register(make: MakeLayer) -> MakeLayer:
        MAKERS[name] = make
        return make

    return register


@makes("Rescaling")
def make_rescaling(layer: Any) -> nn.Module:
    return Rescale(layer.scale, layer.offset)


@makes("Conv2D")
def make_conv(layer: Any) -> nn.Module:
    return conv(layer, layer.kernel)


@makes("DepthwiseConv2D")
def make_depthwise_conv(layer: Any) -> nn.Module:
    return conv(layer, layer.kernel, is_depthwise=True)


@makes("SeparableConv2D")
def make_separable_conv(layer: Any) -> nn.Module:
    depth = conv(layer, layer.depthwise_kernel, is_depthwise=True)
    point = nn.Conv2d(*layer.pointwise_kernel.shape[2:], 1, bias=False)
    fill(point.weight, value(layer.pointwise_kernel).permute(3, 2, 0, 1))
    return nn.Sequential(depth, point)


@makes("BatchNormalization")
def make_batch_normalization(layer: Any) -> nn.Module:
    made = nn.BatchNorm2d(layer.gamma.shape[0], layer.epsilon, 1 - layer.momentum)
    fill(made.weight, value(layer.gamma))
    fill(made.bias, value(layer.beta))
    made.running_mean.copy_(value(layer.moving_mean))
    made.running_var.copy_(value(layer.moving_variance))
    return made


@makes("ReLU")
def make_relu(layer: Any) -> nn.Module:
    return nn.ReLU6() if layer.max_value == 6 else nn.ReLU()


@makes("Activation")
def make_activation(layer: Any) -> nn.Module:
    if layer.activation.__name__ != "relu":
        raise TypeError(f"{layer.name}: only relu has a plain PyTorch layer here")
    return nn.ReLU()


@makes("ZeroPadding2D")
def make_zero_padding(layer: Any) -> nn.Module:
    (top, bottom), (left, right) = layer.padding
    return nn.ZeroPad2d((left, right, top, bottom))


@makes("MaxPooling2D")
def make_max_pooling(layer: Any) -> nn.Module:
    side, stride = layer.pool_size[0], layer.strides[0]
    pool = nn.MaxPool2d(side, stride)
    if layer.padding == "valid":
        return pool
    return nn.Sequential(EvenPad(side, stride, -torch.inf), pool)


@makes("AveragePooling2D")
def make_average_pooling(layer: Any) -> nn.Module:
    return nn.AvgPool2d(layer.pool_size, layer.strides)


@makes("GlobalAveragePooling2D")
def make_global_average_pooling(_: Any) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


@makes("Dropout")
def make_dropout(layer: Any) -> nn.Module:
    return nn.Dropout(layer.rate)


@makes("Dense")
def make_dense(layer: Any) -> nn.Module:
    made = nn.Linear(*layer.kernel.shape)
    fill(made.weight, value(layer.kernel).T)
    fill(made.bias, value(layer.bias))
    return made


@makes("Add")
def make_add(_: Any) -> nn.Module:
    return Add()


@makes("Concatenate")
def make_concatenate(_: Any) -> nn.Module:
    return Concatenate()


class EvenPad(nn.Module):
    """Keras' padding "same": what is odd goes to the right and the bottom."""

    def __init__(self, side: int, stride: int, value: float = 0.0) -> None:
        super().__init__()
        self.side, self.stride, self.value = side, stride, value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads: list[int] = []
        for length in (x.shape[3], x.shape[2]):
            over = (-length) % self.stride or self.stride
            total = max(0, self.side - over)
            pads += [total // 2, total - total // 2]
        return nn.functional.pad(x, pads, value=self.value)


def conv(layer: Any, kernel: Any, *, is_depthwise: bool = False) -> nn.Module:
    """Make a convolution without bias, with padding where PyTorch's does not fit."""
    weights = value(kernel)
    weights = (
        weights.permute(2, 3, 0, 1) if is_depthwise else weights.permute(3, 2, 0, 1)
    )
    n_out, n_in, side, _ = weights.shape
    stride, is_even = (
        layer.strides[0],
        layer.padding == "same" and layer.strides[0] == 1,
    )
    made = nn.Conv2d(
        n_out if is_depthwise else n_in,
        n_out,
        side,
        stride,
        side // 2 if is_even else 0,
        groups=n_out if is_depthwise else 1,
        bias=False,
    )
    fill(made.weight, weights)
    if layer.use_bias:
        raise TypeError(f"{layer.name}: has a bias, which no network here has")
    if layer.padding == "same" and not is_even:
        return nn.Sequential(EvenPad(side, stride), made)
    return made


def value(variable: Any) -> torch.Tensor:
    """Return a copy of what a Keras variable holds."""
    return torch.tensor(variable.numpy())


def fill(parameter: nn.Parameter, values: torch.Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(values)
