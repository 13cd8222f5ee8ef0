"""Products of float32 matrices on a processor, by the faster of PyTorch's libraries.

PyTorch multiplies float32 matrices by MKL, which leaves AVX-512 unused on processors
that Intel did not make: 90 GFLOPS on one core of an AMD EPYC where oneDNN, which
PyTorch also holds and uses for convolutions, reaches 160 to 200 on the same numbers.
"""

import functools
import platform
from pathlib import Path
from typing import Any

import torch

# Below so many multiplications, or so few columns, the call costs more than it saves.
_LEAST_PRODUCTS = 1 << 20
_LEAST_COLUMNS = 16

_CPU_INFO = Path("/proc/cpuinfo")


def can_take(inputs: Any, kernel: Any) -> bool:
    """Say whether `multiply` can take a layer's inputs, `(..., n)`."""
    return (
        isinstance(inputs, torch.Tensor)
        and inputs.device == kernel.device
        and not inputs.is_meta
        # Whoever exports a layer finds Keras' own.
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and not torch.compiler.is_compiling()
    )


def multiply(
    inputs: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None, *, dtype: str
) -> torch.Tensor:
    """Compute `inputs @ kernel + bias` in a precision, bias and product in one call.

    From `(..., n)` to `(..., columns)`.
    """
    kind = getattr(torch, dtype)
    left, right = inputs.to(kind), kernel.to(kind)
    offset = None if bias is None else bias.to(kind)
    if is_faster(left, right):
        outputs: torch.Tensor = Product.apply(left, right, offset)  # type: ignore[no-untyped-call]
        return outputs
    rows = left.reshape(-1, left.shape[-1])
    product = rows @ right if offset is None else torch.addmm(offset, rows, right)
    return product.view(*left.shape[:-1], -1)


def draw_uniform(inputs: torch.Tensor, seed: Any) -> torch.Tensor:
    """Draw what `keras.random.uniform` does for the shape of some inputs, float32.

    Keras goes over the numbers twice more, to scale and to shift them by nothing.
    """
    generator = torch.Generator(device=inputs.device)
    generator.manual_seed(int(seed.next().sum()) & 0xFFFFFFFF)
    return torch.rand(inputs.shape, generator=generator, device=inputs.device)


def is_faster(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Say whether `Product` can take `(..., n)` and `(n, columns)`, and gains by it."""
    return (
        left.device.type == right.device.type == "cpu"
        and left.dtype == right.dtype == torch.float32
        and right.shape[1] >= _LEAST_COLUMNS
        and left.numel() * right.shape[1] >= _LEAST_PRODUCTS
        and has_faster_library()
    )


@functools.cache
def has_faster_library() -> bool:
    """Say whether this processor has AVX-512 that MKL leaves unused."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or _is_intel():
        return False
    try:
        return _multiply(torch.ones(1, 2), torch.ones(2, 1)).item() == 2
    except (AttributeError, RuntimeError):
        # A build without oneDNN, or one that names the product otherwise.
        return False


class Product(torch.autograd.Function):
    """`left @ right + bias` in oneDNN, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Multiply `(..., n)` by `(n, columns)`, float32 on a processor."""
        ctx.save_for_backward(left, right)
        return _multiply(left, right, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Give the gradients of both factors and the bias."""
        left, right = ctx.saved_tensors
        to_left = None
        if ctx.needs_input_grad[0]:
            to_left = _multiply(gradient.contiguous(), right.T)
        rows = left.reshape(-1, left.shape[-1])
        columns = gradient.reshape(-1, gradient.shape[-1])
        # Turned round, because what stands first is copied where it is transposed,
        # and instances have more features than a layer has units.
        to_right = _multiply(columns.T.contiguous(), rows).T
        return to_left, to_right, columns.sum(0) if ctx.needs_input_grad[2] else None


def _multiply(
    left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    # It takes the second as a linear layer keeps its weights: transposed.
    linear = torch.ops.mkldnn._linear_pointwise
    product: torch.Tensor = linear(left, right.T, bias, "none", [], "")
    return product


def _is_intel() -> bool:
    try:
        words = _CPU_INFO.read_text()
    except OSError:
        words = platform.processor()
    return "GenuineIntel" in words
