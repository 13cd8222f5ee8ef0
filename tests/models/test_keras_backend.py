import os
import subprocess
import sys

import numpy as np
import pytest

from eosin.models import keras_backend

CODE = """
import os
from eosin.models.keras_backend import keras
print(os.environ["OMP_WAIT_POLICY"], keras.config.backend())
"""


def _run(**environment):
    return subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_default_backend_is_torch_with_threads_that_do_not_spin(monkeypatch):
    for name in ("KERAS_BACKEND", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert _run().stdout.split() == ["PASSIVE", "torch"]


def test_the_environment_chooses_another_backend():
    # One that nobody has: a real one need not be installed.
    assert "got 'unheard-of'" in _run(KERAS_BACKEND="unheard-of").stderr


def test_packages_that_do_not_fit_together_are_named(tmp_path):
    # Installed, found, and broken.
    (tmp_path / "jax.py").write_text("raise ImportError('jaxlib is too old')")
    (tmp_path / "jaxlib.py").touch()
    said = _run(KERAS_BACKEND="jax", PYTHONPATH=_put_first(tmp_path)).stderr
    assert "MissingExtraError: Keras cannot be imported with its backend jax" in said
    assert "jaxlib is too old" in said


def _put_first(folder):
    paths = [str(folder), os.environ.get("PYTHONPATH")]
    return os.pathsep.join(path for path in paths if path)


def test_no_layer_takes_a_name_that_a_backend_refuses():
    # Keras names a layer after its class; TensorFlow wants a letter or a digit first.
    import eosin.training  # noqa: F401 - defines a model of its own

    classes = [keras_backend.keras.layers.Layer]
    for one in classes:
        classes += one.__subclasses__()
    names = {one.__name__ for one in classes if one.__module__.startswith("eosin.")}
    assert {"LearningModel", "MILModel", "Tail"} <= names
    assert not [name for name in names if name.startswith("_")]


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cuda:0", True), ("/device:GPU:0", True), ("cpu", False), ("TFRT_CPU_0", False)],
)
def test_a_gpu_is_known_by_any_backends_name_for_it(monkeypatch, device, expected):
    class Tensor:
        pass

    tensor = Tensor()
    tensor.device = device
    monkeypatch.setattr(keras_backend.keras.ops, "zeros", lambda shape: tensor)
    assert keras_backend.has_gpu() is expected


def test_an_array_is_handed_over_without_a_copy():
    array = np.zeros((2, 3), np.float32)
    tensor = keras_backend.share_array(array)
    array[1, 2] = 7
    assert keras_backend.keras.ops.convert_to_numpy(tensor)[1, 2] == 7
