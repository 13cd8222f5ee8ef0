import json
import shutil
import sys
import types
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from eosin.core import ConfigError, MissingExtraError, ModelError, hash_file
from eosin.models import TorchEncoder, TorchEncoderSpec
from eosin.studies import encoders as module
from eosin.studies.encoders import (
    ENCODER_FILE,
    open_tile_encoder,
    require_tiles_of,
    wrap_torch_encoder,
)
from eosin.tiles.folder import open_tile_folder

SPEC = TorchEncoderSpec(
    name="tiny",
    source="tiny",
    tile_px=64,
    mpp=1.0,
    dimension=3,
    licence="CC0-1.0",
)


class MeanColour(torch.nn.Module):
    def forward(self, pixels):
        return pixels.mean((2, 3))


@pytest.fixture
def folder(tile_folder):
    return open_tile_folder(tile_folder)


@pytest.fixture
def tiles(folder):
    with folder.open_reader() as reader:
        return reader.read(np.arange(4))


def open_by(folder, name, place, **options):
    given = {"weights": "auto", "device": "cpu", "place": place} | options
    return open_tile_encoder(folder, str(name), **given)


def test_a_run_has_its_own_encoder(folder, tiles, run_folder, tmp_path):
    found = open_by(folder, run_folder, tmp_path)
    assert found.name == "smallcnn of run"
    assert found.licence == "own"
    assert found.sha256 == hash_file(run_folder / "model.onnx")
    assert found.dimension == 192
    assert found.model.run(tiles)["features"].shape == (4, 192)


def test_an_encoder_of_the_registry_is_made_once(folder, tiles, tmp_path):
    first = open_by(folder, "smallcnn", tmp_path, weights="none")
    assert (first.name, first.licence) == ("smallcnn", "own")
    assert first.model.run(tiles)["features"].shape == (4, 192)
    made = (tmp_path / ENCODER_FILE).stat().st_mtime_ns
    # Made anew, it is the same; known, it is not made at all.
    again = open_by(folder, "smallcnn", tmp_path, weights="none")
    assert again.sha256 == first.sha256
    assert (tmp_path / ENCODER_FILE).stat().st_mtime_ns == made
    known = {"known_sha256": first.sha256}
    assert open_by(folder, "nonsense", tmp_path, **known).sha256 == first.sha256
    # Damaged, it is made anew.
    (tmp_path / ENCODER_FILE).write_bytes(b"")
    again = open_by(folder, "smallcnn", tmp_path, weights="none", **known)
    assert again.sha256 == first.sha256


def test_weights_from_a_file_are_their_owners(folder, run_folder, tmp_path):
    from eosin.models import build_encoder

    encoder = build_encoder("smallcnn", tile_px=64, weights="none", seed=3)
    encoder.save_weights(tmp_path / "w.weights.h5")
    found = open_by(
        folder, "smallcnn", tmp_path, weights=str(tmp_path / "w.weights.h5")
    )
    assert found.licence == "as its file's owner states"


def test_published_weights_of_the_registry_are_imagenets(folder, tmp_path):
    with pytest.raises(ModelError, match="nobody has published ImageNet weights"):
        open_by(folder, "smallcnn", tmp_path)
    with pytest.raises(ConfigError, match=r"one of xception, .*, uni, .*'nonsense'"):
        open_by(folder, "nonsense", tmp_path)
    with pytest.raises(ModelError, match=r"has no card\.json"):
        open_by(folder, tmp_path, tmp_path)


def test_a_run_takes_no_other_weights_and_no_other_tiles(folder, run_folder, tmp_path):
    with pytest.raises(ModelError, match="a run has weights of its own"):
        open_by(folder, run_folder, tmp_path, weights="imagenet")
    other = replace(folder, info=replace(folder.info, tile_px=32))
    with pytest.raises(ModelError, match="tile_px 64, these have 32; tile again"):
        open_by(other, run_folder, tmp_path)


def test_an_ensemble_has_no_features_of_its_own(
    folder, run_folder, tmp_path, monkeypatch
):
    shutil.copytree(run_folder, tmp_path / "run")
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    card["folds"] *= 2
    (tmp_path / "run" / "card.json").write_text(json.dumps(card))
    # Folds whose encoder was not trained have one together.
    assert open_by(folder, tmp_path / "run", tmp_path).dimension == 192
    for hashes in (["one", "another"], [None, None]):
        sessions = [Mock(encoder_hash=own) for own in hashes]
        monkeypatch.setattr(module, "open_session", Mock(side_effect=sessions))
        with pytest.raises(ModelError, match="an ensemble of 2 folds"):
            open_by(folder, tmp_path / "run", tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile_px": 32}, "needs tiles of 64 px at 1 mpp, these have 32 px at 1;"),
        ({"mpp": 0.5}, "these have 64 px at 0.5; tile again with --mpp 1 --tile-px 64"),
        ({"context": 2.0}, "these have 64 px at 2"),
        ({"mpp": None}, "nobody stated the mpp"),
    ],
)
def test_a_pytorch_encoder_refuses_tiles_of_another_kind(folder, changes, message):
    for fitting in ({"mpp": 0.5, "context": 2.0}, {"mpp": 0.95}):
        require_tiles_of(replace(folder, info=replace(folder.info, **fitting)), SPEC)
    other = replace(folder, info=replace(folder.info, **changes))
    with pytest.raises(ModelError, match=message):
        require_tiles_of(other, SPEC)


def test_a_pytorch_module_is_taken_with_its_entry(folder, tiles):
    found = wrap_torch_encoder(folder, TorchEncoder(MeanColour(), SPEC))
    assert (found.name, found.licence, found.dimension) == ("tiny", "CC0-1.0", 3)
    assert found.model.run(tiles)["features"].shape == (4, 3)
    # The same weights, looked at through other eyes.
    other = replace(SPEC, mean=(0.0, 0.0, 0.0))
    again = wrap_torch_encoder(folder, TorchEncoder(MeanColour(), other))
    assert again.sha256 != found.sha256


def test_an_encoder_can_be_described_in_a_file(folder, tmp_path, monkeypatch):
    timm = types.ModuleType("timm")
    timm.create_model = lambda _name, **_options: MeanColour()
    monkeypatch.setitem(sys.modules, "timm", timm)
    (tmp_path / "tiny.toml").write_text(
        'name = "tiny"\nsource = "tiny"\ntile_px = 64\nmpp = 1.0\ndimension = 3\n'
        'licence = "CC0-1.0"\n'
    )
    found = open_by(folder, tmp_path / "tiny.toml", tmp_path)
    assert (found.name, found.dimension) == ("tiny", 3)


def test_pathologys_encoders_are_known_by_name(folder, tmp_path, monkeypatch):
    # Their tiles are checked first, before gigabytes are loaded.
    with pytest.raises(ModelError, match=r"uni needs tiles of 224 px at 0\.5"):
        open_by(folder, "uni", tmp_path)
    right = replace(folder, info=replace(folder.info, tile_px=224, mpp=0.5))
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match="package timm"):
        open_by(right, "uni", tmp_path)
