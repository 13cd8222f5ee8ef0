import sys
import types

import numpy as np
import pytest
import torch

from eosin.core import ConfigError, MissingExtraError, ModelError, load_config
from eosin.models import (
    TORCH_ENCODERS,
    TorchEncoder,
    TorchEncoderSpec,
    open_torch_encoder,
)

PX = 8


def make_spec(**changes):
    given = {
        "name": "tiny",
        "source": "hf-hub:somebody/tiny",
        "tile_px": PX,
        "mpp": 0.5,
        "dimension": 3,
        "licence": "CC0-1.0",
        "mean": (0.5, 0.25, 0.0),
        "deviation": (0.5, 0.25, 2.0),
    }
    return TorchEncoderSpec(**(given | changes))


class MeanColour(torch.nn.Module):
    """Gives the mean of each normalised channel; dropout must be off."""

    def __init__(self):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.5)
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, pixels):
        return self.dropout(pixels.mean((2, 3))) * self.gain


class Tokens(torch.nn.Module):
    """Gives a class token of ones, a register of 100s, and patches of 1, 2 and 3."""

    def forward(self, pixels):
        rows = torch.tensor([[1.0] * 2, [100.0] * 2, [1.0] * 2, [2.0] * 2, [3.0] * 2])
        return rows.expand(len(pixels), -1, -1)


class Output(torch.nn.Module):
    def forward(self, pixels):
        return types.SimpleNamespace(last_hidden_state=Tokens()(pixels))


@pytest.fixture
def tiles():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (5, PX, PX, 3), dtype=np.uint8)


def test_tiles_are_normalised_and_encoded(tiles):
    encoder = TorchEncoder(MeanColour(), make_spec(), device="cpu")
    assert encoder.outputs == {"features": (3,)}
    found = encoder.run(tiles, batch=2)["features"]
    colour = tiles.mean((1, 2)) / 255
    expected = (colour - [0.5, 0.25, 0.0]) / [0.5, 0.25, 2.0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32
    assert encoder.run(tiles[:0])["features"].shape == (0, 3)


@pytest.mark.parametrize(
    ("pooling", "expected"), [("class", [1, 1]), ("class_mean", [1, 1, 2, 2])]
)
@pytest.mark.parametrize("module", [Tokens, Output])
def test_tokens_are_pooled(tiles, module, pooling, expected):
    spec = make_spec(pooling=pooling, n_registers=1, dimension=len(expected))
    found = TorchEncoder(module(), spec).run(tiles)["features"]
    assert found.tolist() == [expected] * 5


def test_what_does_not_fit_is_refused(tiles):
    encoder = TorchEncoder(MeanColour(), make_spec(dimension=4))
    with pytest.raises(ModelError, match=r"shape \(5, 4\), gave \(5, 3\)"):
        encoder.run(tiles)
    encoder = TorchEncoder(MeanColour(), make_spec(pooling="class"))
    with pytest.raises(ModelError, match="needs tokens"):
        encoder.run(tiles)
    for wrong in (tiles[:, :4], tiles.astype(np.float32)):
        with pytest.raises(ValueError, match="takes tiles of 8 px"):
            encoder.run(wrong)


def test_a_gpu_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="PyTorch finds no GPU"):
        TorchEncoder(MeanColour(), make_spec(), device="cuda")


def test_weights_are_told_apart():
    module = MeanColour()
    encoder = TorchEncoder(module, make_spec())
    before = encoder.hash_weights()
    assert before == TorchEncoder(MeanColour(), make_spec()).hash_weights()
    with torch.no_grad():
        module.gain += 1
    assert encoder.hash_weights() != before
    # A type that NumPy does not know.
    assert TorchEncoder(module.bfloat16(), make_spec()).hash_weights() != before


@pytest.mark.parametrize(
    "wrong",
    [
        {"tile_px": 0},
        {"mpp": -1.0},
        {"deviation": (1.0, 0.0, 1.0)},
        {"n_registers": -1},
    ],
)
def test_an_entry_must_make_sense(wrong):
    with pytest.raises(ConfigError, match="must be above 0"):
        make_spec(**wrong)


def test_an_entry_can_be_read_from_a_file(tmp_path):
    (tmp_path / "tiny.toml").write_text(
        'name = "tiny"\nsource = "hf-hub:somebody/tiny"\ntile_px = 8\nmpp = 0.5\n'
        'dimension = 3\nlicence = "CC0-1.0"\nmean = [0.5, 0.25, 0.0]\n'
        "deviation = [0.5, 0.25, 2.0]\n"
    )
    assert load_config(TorchEncoderSpec, path=tmp_path / "tiny.toml") == make_spec()


@pytest.fixture
def timm(monkeypatch):
    """A stand-in for timm that remembers what it was asked for."""
    module = types.ModuleType("timm")
    module.calls = []

    def create_model(name, **options):
        module.calls.append((name, options))
        if "gated" in name:
            raise OSError("401 Client Error\nAccess is restricted")
        return MeanColour()

    module.create_model = create_model
    module.layers = types.ModuleType("timm.layers")
    module.layers.SwiGLUPacked = object()
    monkeypatch.setitem(sys.modules, "timm", module)
    monkeypatch.setitem(sys.modules, "timm.layers", module.layers)
    return module


def test_timm_is_asked_for_an_encoder_by_its_options(timm, tiles):
    encoder = open_torch_encoder(TORCH_ENCODERS["virchow2"], device="cpu")
    ((name, options),) = timm.calls
    assert name == "hf-hub:paige-ai/Virchow2"
    assert options["pretrained"] is True
    assert options["mlp_layer"] is timm.layers.SwiGLUPacked
    assert options["act_layer"] is torch.nn.SiLU
    assert options["reg_tokens"] == encoder.spec.n_registers == 4
    spec = make_spec()
    assert open_torch_encoder(spec).run(tiles)["features"].shape == (5, 3)


def test_weights_may_lie_in_a_file(timm, tmp_path):
    spec = make_spec(architecture="vit_tiny")
    with pytest.raises(ModelError, match=r"none\.bin: no such weights of tiny"):
        open_torch_encoder(spec, weights=tmp_path / "none.bin")
    (tmp_path / "w.bin").write_bytes(b"")
    open_torch_encoder(spec, weights=tmp_path / "w.bin")
    assert timm.calls == [
        (
            "vit_tiny",
            {"pretrained": False, "checkpoint_path": str(tmp_path / "w.bin")},
        )
    ]


def test_weights_that_cannot_be_had_are_said(timm):
    with pytest.raises(ModelError, match=r"cannot be had \(401 Client Error\); ask"):
        open_torch_encoder(make_spec(source="hf-hub:gated/tiny"))
    assert len(timm.calls) == 1


def test_transformers_is_asked_for_an_encoder(monkeypatch, tmp_path):
    asked = []

    class AutoModel:
        @staticmethod
        def from_pretrained(place):
            asked.append(place)
            return Output()

    module = types.ModuleType("transformers")
    module.AutoModel = AutoModel
    monkeypatch.setitem(sys.modules, "transformers", module)
    open_torch_encoder(TORCH_ENCODERS["phikon_v2"])
    open_torch_encoder(TORCH_ENCODERS["phikon_v2"], weights=tmp_path)
    assert asked == ["owkin/phikon-v2", str(tmp_path)]


@pytest.mark.parametrize("name", TORCH_ENCODERS)
def test_a_missing_package_is_named(monkeypatch, name):
    spec = TORCH_ENCODERS[name]
    for module in list(sys.modules):
        if module.split(".")[0] in ("timm", "transformers"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Refuser(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=f"package {spec.library}, .*encoders"):
        open_torch_encoder(spec)


class Refuser:
    """Finds nothing, and lets nobody else find it."""

    def find_spec(self, name, *_):
        if name.split(".")[0] in ("timm", "transformers"):
            raise ImportError(name)


@pytest.mark.parametrize("name", TORCH_ENCODERS)
def test_every_entry_says_what_must_be_known(name):
    spec = TORCH_ENCODERS[name]
    assert spec.name == name
    assert spec.licence
    assert (spec.tile_px, spec.mpp) == (224, 0.5)
    # Where the class token and the patches' mean stand side by side, two halves.
    assert spec.pooling != "class_mean" or spec.dimension % 2 == 0
    assert spec.library == "transformers" or spec.architecture
