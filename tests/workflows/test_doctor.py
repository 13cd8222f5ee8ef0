import importlib

import pytest

from eosin.workflows import doctor
from eosin.workflows.doctor import examine_machine


def find(name, folder):
    return next(f for f in examine_machine(folder) if f.name == name)


def test_this_machine_is_ready(tmp_path):
    findings = {f.name: f for f in examine_machine(tmp_path)}
    for name in ("Python", "eosin", "OpenSlide", "ONNX Runtime", "Keras"):
        assert findings[name].status == "ok"
    assert "backend" in findings["Keras"].text
    assert "free" in findings["Disk"].text


@pytest.mark.parametrize(
    ("package", "name", "status"),
    [
        ("openslide", "OpenSlide", "missing"),
        ("onnxruntime", "ONNX Runtime", "missing"),
        ("eosin.models", "Keras", "warning"),
        ("psutil", "Memory", "warning"),
    ],
)
def test_a_missing_package_is_named_and_stops_nothing(
    tmp_path, monkeypatch, package, name, status
):
    real = importlib.import_module

    def refuse(wanted, *args):
        if wanted == package:
            raise ImportError(f"no {package} here")
        return real(wanted, *args)

    monkeypatch.setattr(doctor.importlib, "import_module", refuse)
    finding = find(name, tmp_path)
    assert finding.status == status
    assert f"no {package} here" in finding.text


def test_cached_weights_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert find("ImageNet weights", tmp_path).status == "warning"
    (tmp_path / "models").mkdir()
    name = "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"
    (tmp_path / "models" / name).write_bytes(b"")
    finding = find("ImageNet weights", tmp_path)
    assert finding.status == "ok"
    assert "densenet121" in finding.text


def test_little_disk_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_LEAST_DISK_GB", 1e9)
    assert find("Disk", tmp_path).status == "warning"


def test_the_disk_of_a_folder_that_is_not_there_yet_is_the_one_above(tmp_path):
    finding = find("Disk", tmp_path / "not" / "there")
    assert finding.text.endswith(f"free in {tmp_path}")
