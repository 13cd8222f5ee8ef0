"""Is this machine ready? Versions, readers, devices, memory, disk, weights."""

import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eosin.core import ConfigError, MissingExtraError, require_keras
from eosin.settings.names import KNOWN_ENCODERS

Status = Literal["ok", "warning", "missing"]

# By the names under which they are imported.
_PACKAGES: Mapping[str, str] = {
    "numpy": "numpy",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
    "cv2": "opencv-python-headless",
    "shapely": "shapely",
    "tifffile": "tifffile",
    "matplotlib": "matplotlib",
}
# Run by Pythons of their own, beside the rest. The first leaves out what Keras takes
# where it is there, and torch's compiler, of which Keras asks only not to compile: 1.0
# in place of 2.4 seconds. Where it fails, whatever the cause, the second decides.
_SAY_KERAS = """
import h5py, keras, onnx, os
print(keras.__version__, keras.ops.zeros((1,)).device, flush=True)
os._exit(0)
"""
_ASK_KERAS = (
    """
import gc, sys, types
gc.disable()
sys.modules.update(dict.fromkeys(("matplotlib", "pandas", "sklearn")))
sys.modules["torch._dynamo"] = types.ModuleType("torch._dynamo")
sys.modules["torch._dynamo"].disable = lambda: lambda function: function
"""
    + _SAY_KERAS,
    "import eosin.models" + _SAY_KERAS,
)
_GB = 1e9
_LEAST_MEMORY_GB = 4
_LEAST_DISK_GB = 5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        status: `missing` where eosin cannot work without it.
        text: What was found, and what to do where something is wrong.
    """

    name: str
    status: Status
    text: str


def examine_machine(folder: Path = Path()) -> list[Finding]:
    """Look at everything that eosin needs; nothing that is missing stops it.

    Args:
        folder: Where results would be written; its disk is looked at. One that is
            not there yet counts as the nearest folder above it that is.
    """
    folder = Path(folder).resolve()
    folder = next(path for path in (folder, *folder.parents) if path.exists())
    with ThreadPoolExecutor(1) as pool:
        keras = pool.submit(lambda: list(_check_keras()))
        found = [*_check_versions(), *_check_openslide(), *_check_onnxruntime()]
        return [*found, *keras.result(), *_check_machine(folder)]


def _check_versions() -> Iterator[Finding]:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("Python", "ok", text)
    for module, name in {"eosin": "eosin", **_PACKAGES}.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "missing", f"not installed; pip install {name}")
            continue
        imported, error = _try_import(module)
        if imported is None:
            text = f"{version}, {error}; pip install --force-reinstall {name}"
            yield Finding(name, "missing", text)
        else:
            yield Finding(name, "ok", version)


def _try_import(name: str) -> tuple[Any, str]:
    """Import a package; a broken one may raise anything."""
    try:
        return importlib.import_module(name), ""
    except Exception as error:  # noqa: BLE001 - a broken install fails in any way
        return None, f"{type(error).__name__}: {error}"


def _check_openslide() -> Iterator[Finding]:
    openslide, error = _try_import("openslide")
    if openslide is None:
        hint = "pip install openslide-python openslide-bin"
        yield Finding("OpenSlide", "missing", f"{error}; {hint}")
        return
    yield Finding(
        "OpenSlide",
        "ok",
        f"{openslide.__library_version__} (python {openslide.__version__}): Aperio, "
        "Hamamatsu, Leica, MIRAX, Philips, Ventana, DICOM, generic TIFF",
    )


def _check_onnxruntime() -> Iterator[Finding]:
    runtime, error = _try_import("onnxruntime")
    if runtime is None:
        yield Finding("ONNX Runtime", "missing", f"{error}; pip install onnxruntime")
        return
    providers = [
        p.removesuffix("ExecutionProvider") for p in runtime.get_available_providers()
    ]
    yield Finding(
        "ONNX Runtime", "ok", f"{runtime.__version__}: {', '.join(providers)}"
    )


def _check_keras() -> Iterator[Finding]:
    try:
        backend = require_keras("training")
        version, device = _ask_keras(backend)
    except (ConfigError, MissingExtraError) as error:
        text = f"{error}; this machine predicts, and does not train"
        yield Finding("Keras", "warning", text)
        return
    yield Finding("Keras", "ok", f"{version}, backend {backend}, on {device}")
    if backend == "jax" and device == "CPU":
        yield Finding(
            "Keras backend",
            "warning",
            "JAX on a CPU is far too slow for Xception and MobileNetV2; unset "
            "KERAS_BACKEND, or set it to torch",
        )
    yield _check_weights()


def _ask_keras(backend: str) -> tuple[str, str]:
    """Import Keras; give its version, and GPU or CPU."""
    environment = {**os.environ, "KERAS_BACKEND": backend}
    for code in _ASK_KERAS:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            version, device = done.stdout.splitlines()[-1].lower().split(maxsplit=1)
            return version, "GPU" if "cuda" in device or "gpu" in device else "CPU"
    problem = (done.stderr.splitlines() or [f"ended by {done.returncode}"])[-1]
    raise MissingExtraError(problem.removeprefix("eosin.core.errors."))


def _check_weights() -> Finding:
    folder = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    files = sorted(folder.glob("*notop*.h5")) if folder.is_dir() else []
    names = {file.name.lower().replace("_", "").replace("-", "") for file in files}
    cached = [
        encoder
        for encoder in KNOWN_ENCODERS
        if any(name.startswith(encoder) for name in names)
    ]
    if cached:
        return Finding("ImageNet weights", "ok", f"in {folder}: {', '.join(cached)}")
    text = "'eosin train' downloads them once, or takes a file by --weights FILE"
    return Finding("ImageNet weights", "warning", f"none in {folder}; {text}")


def _check_machine(folder: Path) -> Iterator[Finding]:
    n_cores = os.cpu_count() or 1
    yield Finding("Processor", "ok", f"{n_cores} cores")
    psutil, error = _try_import("psutil")
    if psutil is None:
        yield Finding("Memory", "warning", f"unknown ({error}); pip install psutil")
    else:
        memory = psutil.virtual_memory()
        text = f" of {memory.total / _GB:.1f} GB free"
        yield _judge("Memory", memory.available, _LEAST_MEMORY_GB, text)
    free = shutil.disk_usage(folder).free
    yield _judge("Disk", free, _LEAST_DISK_GB, f" free in {folder}")
    if not os.access(folder, os.W_OK):
        yield Finding("Folder", "missing", f"{folder} cannot be written")


def _judge(name: str, n_bytes: int, least_gb: float, text: str) -> Finding:
    """Say how much there is, and whether that is enough."""
    text = f"{n_bytes / _GB:.1f} GB{text}"
    if n_bytes / _GB >= least_gb:
        return Finding(name, "ok", text)
    return Finding(name, "warning", f"{text}; {least_gb} GB or more are advised")
