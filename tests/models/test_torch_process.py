import onnx
import pytest

from eosin.core import ModelError, RunError
from eosin.models import export_onnx, torch_process


def test_a_process_of_its_own_exports_the_same(small_classifier, tmp_path, monkeypatch):
    here = export_onnx(small_classifier, tmp_path / "here.onnx")
    monkeypatch.setattr(torch_process.keras.config, "backend", lambda: "tensorflow")
    there = export_onnx(small_classifier, tmp_path / "there.onnx")
    assert (there.outputs, there.batch) == (here.outputs, here.batch)
    assert there.encoder_hash == here.encoder_hash
    graphs = [onnx.load(made.path).graph.SerializeToString() for made in (here, there)]
    assert graphs[0] == graphs[1]


def test_what_the_other_process_refuses_is_said_here(
    small_classifier, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(torch_process.keras.config, "backend", lambda: "jax")
    with pytest.raises(RunError, match=r"file.*cannot be written"):
        export_onnx(small_classifier, tmp_path / "file" / "model.onnx")


def test_a_process_that_fails_is_no_silence(small_classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(torch_process.keras.config, "backend", lambda: "jax")
    monkeypatch.setattr(torch_process, "_CODE", "raise SystemExit('out of memory')")
    with pytest.raises(ModelError, match=r"model\.onnx: .*PyTorch.*out of memory"):
        export_onnx(small_classifier, tmp_path / "model.onnx")
