import numpy as np
import pytest
import torch

from eosin.models import torch_products
from eosin.models.torch_products import Product, has_faster_library, is_faster


@pytest.fixture
def rng():
    return np.random.default_rng(0)


needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN"
)


@needs_onednn
@pytest.mark.parametrize("shape", [(7,), (1, 7), (5, 7), (2, 5, 7)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_products_and_gradients_are_those_of_numpy(rng, shape, has_bias):
    left = torch.tensor(rng.normal(size=shape), dtype=torch.float32, requires_grad=True)
    right = torch.tensor(
        rng.normal(size=(7, 3)), dtype=torch.float32, requires_grad=True
    )
    bias = torch.tensor([1.0, -2.0, 0.5], requires_grad=True) if has_bias else None
    gradient = rng.normal(size=(*shape[:-1], 3))
    found = Product.apply(left, right, bias)
    found.backward(torch.tensor(gradient, dtype=torch.float32))
    a, b = left.detach().numpy().astype(float), right.detach().numpy().astype(float)
    offset = 0 if bias is None else bias.detach().numpy()
    np.testing.assert_allclose(found.detach(), a @ b + offset, atol=1e-5)
    np.testing.assert_allclose(left.grad, gradient @ b.T, atol=1e-5)
    rows, columns = a.reshape(-1, 7), gradient.reshape(-1, 3)
    np.testing.assert_allclose(right.grad, rows.T @ columns, atol=1e-5)
    if bias is not None:
        np.testing.assert_allclose(bias.grad, columns.sum(0), atol=1e-5)


@needs_onednn
def test_what_is_transposed_or_repeated_is_multiplied_as_it_is(rng):
    left = torch.tensor(rng.normal(size=(7, 5)), dtype=torch.float32).T
    right = torch.tensor(rng.normal(size=(7, 3)), dtype=torch.float32)
    left.requires_grad_()
    found = Product.apply(left, right, None)
    np.testing.assert_allclose(found.detach(), (left @ right).detach(), atol=1e-5)
    # The gradient of a sum is one number, repeated without being stored.
    found.sum().backward()
    np.testing.assert_allclose(left.grad, right.sum(1).repeat(5, 1), atol=1e-5)


def test_only_large_products_of_float32_on_a_processor_gain(monkeypatch):
    monkeypatch.setattr(torch_products, "has_faster_library", lambda: True)
    left, right = torch.zeros(1000, 64), torch.zeros(64, 32)
    assert is_faster(left, right)
    assert not is_faster(left[:10], right)
    assert not is_faster(left, right[:, :8])
    assert not is_faster(left.bfloat16(), right.bfloat16())
    assert not is_faster(left.double(), right.double())
    assert not is_faster(left.to("meta"), right)
    monkeypatch.setattr(torch_products, "has_faster_library", lambda: False)
    assert not is_faster(left, right)


@pytest.mark.parametrize(
    ("capability", "maker", "expected"),
    [
        ("AVX512", "AuthenticAMD", True),
        ("AVX512", "GenuineIntel", False),
        ("AVX2", "AuthenticAMD", False),
    ],
)
def test_intel_s_and_older_processors_keep_their_library(
    monkeypatch, tmp_path, capability, maker, expected
):
    place = tmp_path / "cpuinfo"
    place.write_text(f"vendor_id\t: {maker}\n")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch_products, "_CPU_INFO", place)
    monkeypatch.setattr(torch_products, "_multiply", lambda *_: torch.full((1, 1), 2))
    has_faster_library.cache_clear()
    assert has_faster_library() is expected
    # Where the system does not say it, Python may.
    place.unlink()
    monkeypatch.setattr(torch_products.platform, "processor", lambda: maker)
    has_faster_library.cache_clear()
    assert has_faster_library() is expected
    has_faster_library.cache_clear()


def test_a_build_without_the_library_falls_back(monkeypatch, tmp_path):
    def fail(*_):
        raise AttributeError("_linear_pointwise")

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch_products, "_CPU_INFO", tmp_path)
    monkeypatch.setattr(torch_products, "_multiply", fail)
    has_faster_library.cache_clear()
    assert not has_faster_library()
    has_faster_library.cache_clear()
