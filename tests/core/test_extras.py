import importlib.util
import subprocess
import sys

import pytest

from eosin.core import ConfigError, MissingExtraError, require_extra, require_keras


def test_what_is_missing_is_named_with_its_extra():
    with pytest.raises(MissingExtraError, match=r"no_such, .*eosin\[train\]") as caught:
        require_extra("train", modules=("json", "no_such"), purpose="training")
    assert "json" not in str(caught.value)
    require_extra("train", modules=("json", "csv"), purpose="training")


def test_whoever_needs_keras_says_how_it_is_had():
    code = (
        "import sys\n"
        "sys.modules['keras'] = None\n"
        "import eosin.core\n"
        "try:\n"
        "    import eosin.models\n"
        "except eosin.core.MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "keras" in done.stdout
    assert "pip install 'eosin[train]'" in done.stdout


@pytest.mark.parametrize(
    ("backend", "missing", "extra"),
    [
        (None, "onnxscript", "train"),
        ("", "onnx", "train"),
        ("torch", "keras", "train"),
        ("tensorflow", "tensorflow", "train,tensorflow"),
        ("jax", "jaxlib", "train,jax"),
        # Whatever a model is trained with, PyTorch writes its file.
        ("jax", "torch", "train,jax"),
    ],
)
def test_what_a_backend_lacks_is_named_with_its_extra(
    monkeypatch, backend, missing, extra
):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if backend is not None:
        monkeypatch.setenv("KERAS_BACKEND", backend)
    absent = {missing}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else name
    )
    with pytest.raises(MissingExtraError) as caught:
        require_keras("training")
    said = str(caught.value)
    assert f"training needs {missing}, which is not installed" in said
    assert f"'eosin[{extra}]'" in said
    absent.clear()
    assert require_keras("training") == (backend or "torch")


@pytest.mark.parametrize("backend", ["numpy", "openvino", "Torch"])
def test_a_backend_that_does_not_train_is_refused(monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(ConfigError, match=f"torch, tensorflow, jax, got '{backend}'"):
        require_keras("training")
