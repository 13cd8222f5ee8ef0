import importlib
import os
import sys

import pytest

from eosin.workflows import doctor
from eosin.workflows.doctor import examine_machine


@pytest.fixture
def quick(monkeypatch):
    """Keras is not asked, which takes a second."""
    monkeypatch.setattr(doctor, "_ask_keras", lambda _: ("3", "CPU"))


def find(name, folder):
    return next(f for f in examine_machine(folder) if f.name == name)


def test_this_machine_is_ready(tmp_path, monkeypatch):
    # The quick way must be enough.
    monkeypatch.setattr(doctor, "_ASK_KERAS", doctor._ASK_KERAS[:1])
    findings = {f.name: f for f in examine_machine(tmp_path)}
    for name in ("Python", "eosin", "pandas", "OpenSlide", "ONNX Runtime", "Keras"):
        assert findings[name].status == "ok"
    assert "backend" in findings["Keras"].text
    assert "free" in findings["Disk"].text


@pytest.mark.parametrize(
    ("package", "name", "status"),
    [
        ("openslide", "OpenSlide", "missing"),
        ("onnxruntime", "ONNX Runtime", "missing"),
        ("cv2", "opencv-python-headless", "missing"),
        ("psutil", "Memory", "warning"),
    ],
)
@pytest.mark.usefixtures("quick")
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


@pytest.mark.parametrize("package", ["keras", "torch"])
def test_a_package_of_the_training_that_breaks_is_found(tmp_path, monkeypatch, package):
    (tmp_path / f"{package}.py").write_text(f"raise OSError('no {package} here')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    monkeypatch.setenv("PYTHONPATH", path)
    finding = find("Keras", tmp_path)
    assert finding.status == "warning"
    assert f"no {package} here" in finding.text
    assert "does not train" in finding.text


@pytest.mark.parametrize("wrong", ["raise SystemExit(1)", "import os; os.abort()"])
def test_where_the_quick_look_at_keras_fails_the_whole_import_decides(
    tmp_path, monkeypatch, wrong
):
    asked = (wrong, "print('9.8.7 cuda:0')")
    monkeypatch.setattr(doctor, "_ASK_KERAS", asked)
    finding = find("Keras", tmp_path)
    assert finding.status == "ok"
    assert finding.text == "9.8.7, backend torch, on GPU"


def test_a_backend_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "abacus")
    finding = find("Keras", tmp_path)
    assert finding.status == "warning"
    assert "abacus" in finding.text


@pytest.mark.usefixtures("quick")
def test_cached_weights_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert find("ImageNet weights", tmp_path).status == "warning"
    (tmp_path / "models").mkdir()
    name = "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"
    (tmp_path / "models" / name).write_bytes(b"")
    finding = find("ImageNet weights", tmp_path)
    assert finding.status == "ok"
    assert "densenet121" in finding.text


@pytest.mark.usefixtures("quick")
def test_little_disk_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_LEAST_DISK_GB", 1e9)
    assert find("Disk", tmp_path).status == "warning"


@pytest.mark.usefixtures("quick")
def test_the_disk_of_a_folder_that_is_not_there_yet_is_the_one_above(tmp_path):
    finding = find("Disk", tmp_path / "not" / "there")
    assert finding.text.endswith(f"free in {tmp_path}")


def test_a_broken_package_that_keras_can_do_without_is_found(tmp_path, monkeypatch):
    (tmp_path / "h5py.py").write_text("raise ImportError('libhdf5 is missing')")
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    finding = find("Keras", tmp_path)
    assert finding.status == "warning"
    assert "libhdf5 is missing" in finding.text
