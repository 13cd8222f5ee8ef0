"""Layers that commute with quarter turns and reflections (the group p4m).

A feature map on the group holds, at every place, one value per channel and per
element of the group, which are 4 turns and their reflections. It is kept flat,
`(batch, height, width, channels * elements)`, with a channel's elements side by side.
So maps are joined by an ordinary concatenation of channels, and an ordinary pooling or
activation may stand between two layers.

Turning or reflecting the tiles turns or reflects the maps, and permutes each
channel's elements; pooling over the elements leaves the turn alone. This is
exact, but for rounding, as long as whatever moves the window treats both ends of
an axis alike: every convolution here has a stride of 1, an odd kernel and no padding,
and a 2x2 pooling between them needs maps of even size.

After Cohen and Welling, "Group equivariant convolutional networks" (ICML 2016),
and Veeling et al., "Rotation equivariant CNNs for digital pathology" (MICCAI
2018, arXiv 1806.03962).
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.models.keras_backend import keras

ops = keras.ops

N_ELEMENTS = 8


@functools.cache
def _list_elements() -> tuple[NDArray[np.int64], ...]:
    """List the group as matrices that act on (row, column) from the centre."""
    turn = np.array([[0, -1], [1, 0]])
    mirror = np.array([[1, 0], [0, -1]])
    turns = [np.linalg.matrix_power(turn, i) for i in range(4)]
    return (*turns, *(turned @ mirror for turned in turns))


@functools.cache
def _index_places(size: int) -> NDArray[np.int64]:
    """Say where a turned kernel finds its numbers: `(elements, size * size)`.

    The kernel of the element g holds at the place x what the base kernel holds
    at the place that g takes to x.
    """
    steps = np.arange(size) - size // 2
    places = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    # A matrix here is orthogonal: its transpose undoes it.
    sources = [places @ element + size // 2 for element in _list_elements()]
    return np.stack([row * size + column for row, column in (s.T for s in sources)])


@functools.cache
def _index_elements() -> NDArray[np.int64]:
    """Tell, for elements g and h, which element is h after g is undone."""
    elements = _list_elements()
    number = {element.tobytes(): i for i, element in enumerate(elements)}
    return np.array(
        [
            [number[np.ascontiguousarray(g.T @ h).tobytes()] for h in elements]
            for g in elements
        ]
    )


class OrientedConvolution(keras.layers.Layer):
    """What both convolutions share: one filter bank out of one kernel.

    The kernel is gathered into the filters of all elements, and these run as one
    ordinary convolution.
    """

    def __init__(self, channels: int, kernel_size: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if channels < 1:
            raise ValueError(f"channels must be 1 or more, got {channels}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd, so that a kernel has a centre to turn "
                f"about, got {kernel_size}"
            )
        self.channels, self.kernel_size = channels, kernel_size

    def _add_kernel(self, *inner: int) -> None:
        size = self.kernel_size
        self.kernel = self.add_weight(
            name="kernel",
            shape=(size, size, *inner, self.channels),
            initializer="he_normal",
        )

    def call(self, maps: Any) -> Any:
        """Run as the class says."""
        return ops.conv(
            maps, self.expand_kernel(), padding="valid", data_format="channels_last"
        )

    def expand_kernel(self) -> Any:
        """Gather all filters, `(size, size, channels in, channels out)`."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Give the shape of what comes out."""
        lost = self.kernel_size - 1
        size = [None if side is None else side - lost for side in input_shape[1:3]]
        return (input_shape[0], *size, self.channels * N_ELEMENTS)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make another."""
        own = {"channels": self.channels, "kernel_size": self.kernel_size}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="eosin")
class LiftingConvolution(OrientedConvolution):
    """Take an image to a map on the group: each filter in every orientation.

    Args:
        channels: Channels of the map; it has as many values per place as
            channels times elements.
        kernel_size: Width and height of the filters, odd.

    Call arguments:
        maps: `(batch, height, width, image channels)`, float.

    Returns:
        `(batch, height, width, channels * elements)`.

    Raises:
        ValueError: An argument is out of range.
    """

    def build(self, input_shape: Any) -> None:
        """Make the kernel, `(size, size, image channels, channels)`."""
        self._add_kernel(input_shape[-1])
        super().build(input_shape)

    def expand_kernel(self) -> Any:
        """Gather the filters of all elements, for an ordinary convolution."""
        size, n_in, n = self.kernel_size, self.kernel.shape[2], N_ELEMENTS
        # A table of rows: the one form of gathering that goes into ONNX.
        table = ops.reshape(self.kernel, (size * size, n_in * self.channels))
        turned = ops.take(table, _index_places(size).ravel(), axis=0)
        turned = ops.reshape(turned, (n, size, size, n_in, self.channels))
        filters = ops.transpose(turned, (1, 2, 3, 4, 0))
        return ops.reshape(filters, (size, size, n_in, self.channels * n))


@keras.saving.register_keras_serializable(package="eosin")
class GroupConvolution(OrientedConvolution):
    """Take a map on the group to another one.

    Args:
        channels: Channels of the map that comes out.
        kernel_size: Width and height of the filters, odd.

    Call arguments:
        maps: `(batch, height, width, channels in * elements)`, float.

    Returns:
        `(batch, height, width, channels * elements)`.

    Raises:
        ValueError: An argument is out of range, or the map is not on the group.
    """

    def build(self, input_shape: Any) -> None:
        """Make the kernel, `(size, size, channels in, elements, channels)`."""
        self._add_kernel(_count_channels(self.name, input_shape), N_ELEMENTS)
        super().build(input_shape)

    def expand_kernel(self) -> Any:
        """Gather the filters of all elements, for an ordinary convolution."""
        size, n_in, n = self.kernel_size, self.kernel.shape[2], N_ELEMENTS
        # Places and elements move together, so they are gathered as one axis.
        table = ops.transpose(self.kernel, (0, 1, 3, 2, 4))
        table = ops.reshape(table, (size * size * n, n_in * self.channels))
        sources = _index_places(size)[:, :, None] * n + _index_elements()[:, None, :]
        turned = ops.take(table, sources.ravel(), axis=0)
        turned = ops.reshape(turned, (n, size, size, n, n_in, self.channels))
        filters = ops.transpose(turned, (1, 2, 4, 3, 5, 0))
        return ops.reshape(filters, (size, size, n_in * n, self.channels * n))


@keras.saving.register_keras_serializable(package="eosin")
class GroupBatchNormalization(keras.layers.BatchNormalization):
    """Normalise a map on the group; a channel's elements share their statistics.

    It is a batch normalisation in all else: frozen, it uses what it has stored.

    Args:
        momentum: How slowly the stored statistics follow, [0, 1).
        epsilon: Added to the variance.

    Call arguments:
        maps: `(batch, height, width, channels * elements)`, float.
        training: Whether the batch's own statistics are used.

    Returns:
        A map of the same shape.

    Raises:
        ValueError: The map is not on the group.
    """

    def __init__(
        self, *, momentum: float = 0.99, epsilon: float = 1e-3, **kwargs: Any
    ) -> None:
        super().__init__(axis=-2, momentum=momentum, epsilon=epsilon, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Make the statistics, one of each per channel."""
        n_channels = _count_channels(self.name, input_shape)
        super().build((*input_shape[:-1], n_channels, N_ELEMENTS))
        # What comes in has them flat.
        self.input_spec = keras.InputSpec(ndim=4, axes={-1: input_shape[-1]})

    def call(self, maps: Any, training: bool | None = None) -> Any:  # noqa: FBT001 - Keras' signature
        """Run as the class says."""
        # Half precision cannot hold the sums of a large map.
        values = ops.cast(maps, "float32")
        if training and self.trainable:
            mean, variance = _find_moments(values)
            self._follow(self.moving_mean, mean)
            self._follow(self.moving_variance, variance)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        # One factor and one summand per value: two passes over the map, where
        # the textbook's order takes four. On a CPU the passes are the cost.
        factor = self.gamma * ops.rsqrt(variance + self.epsilon)
        summand = self.beta - mean * factor
        normalised = values * ops.repeat(factor, N_ELEMENTS)
        normalised = normalised + ops.repeat(summand, N_ELEMENTS)
        return ops.cast(normalised, self.compute_dtype)

    def _follow(self, stored: Any, current: Any) -> None:
        current = ops.cast(ops.stop_gradient(current), stored.dtype)
        stored.assign(stored * self.momentum + current * (1 - self.momentum))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Give the shape of what comes out."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Give the arguments that make another."""
        names = ("name", "trainable", "dtype", "momentum", "epsilon")
        config = super().get_config()
        return {name: config[name] for name in names}


@keras.saving.register_keras_serializable(package="eosin")
class GroupPooling(keras.layers.Layer):
    """Average a map over the elements of the group.

    What comes out turns with the tiles, and is not changed otherwise.

    Call arguments:
        maps: `(batch, height, width, channels * elements)`, float.

    Returns:
        `(batch, height, width, channels)`.

    Raises:
        ValueError: The map is not on the group.
    """

    def build(self, input_shape: Any) -> None:
        """Check what comes in."""
        _count_channels(self.name, input_shape)
        super().build(input_shape)

    def call(self, maps: Any) -> Any:
        """Run as the class says."""
        shape = (-1, *maps.shape[1:3], maps.shape[3] // N_ELEMENTS, N_ELEMENTS)
        return ops.mean(ops.reshape(maps, shape), axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Give the shape of what comes out."""
        return (*input_shape[:-1], input_shape[-1] // N_ELEMENTS)


def _find_moments(values: Any) -> tuple[Any, Any]:
    """Give each channel's mean and variance over places and elements."""
    moments = []
    for power in (values, ops.square(values)):
        flat = ops.mean(power, axis=(0, 1, 2))
        moments.append(ops.mean(ops.reshape(flat, (-1, N_ELEMENTS)), axis=1))
    mean, square = moments
    return mean, ops.maximum(square - ops.square(mean), 0.0)


def _count_channels(name: str, input_shape: tuple[int, ...]) -> int:
    """Count a map's channels, of which each has all elements."""
    n_channels, rest = divmod(input_shape[-1], N_ELEMENTS)
    if rest or not n_channels:
        raise ValueError(
            f"{name}: a map on the group must hold a multiple of {N_ELEMENTS} values "
            f"per place, got {input_shape[-1]}; begin with a LiftingConvolution"
        )
    return n_channels
