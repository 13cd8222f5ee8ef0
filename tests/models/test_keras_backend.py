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
    assert "unheard-of" in _run(KERAS_BACKEND="unheard-of").stderr


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
