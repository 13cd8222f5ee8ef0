"""Is this machine ready? Versions, readers, devices, memory, disk, weights."""

import importlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Status = Literal["ok", "warning", "missing"]

_PACKAGES = (
    *("numpy", "pandas", "scikit-learn", "opencv-python-headless"),
    *("shapely", "tifffile", "matplotlib"),
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
    return [
        *_check_versions(),
        *_check_openslide(),
        *_check_onnxruntime(),
        *_check_keras(),
        *_check_machine(folder),
    ]


def _check_versions() -> Iterator[Finding]:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("Python", "ok", text)
    for name in ("eosin", *_PACKAGES):
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "missing", f"not installed; pip install {name}")


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
    models, error = _try_import("eosin.models")
    if models is None:
        text = f"{error}; this machine predicts, and does not train"
        yield Finding("Keras", "warning", text)
        return
    keras = importlib.import_module("keras")
    backend = keras.config.backend()
    device = "GPU" if models.has_gpu() else "CPU"
    yield Finding("Keras", "ok", f"{keras.__version__}, backend {backend}, on {device}")
    if backend == "jax" and device == "CPU":
        yield Finding(
            "Keras backend",
            "warning",
            "JAX on a CPU is far too slow for Xception and MobileNetV2; unset "
            "KERAS_BACKEND, or set it to torch",
        )
    yield _check_weights(models)


def _check_weights(models: Any) -> Finding:
    folder = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "models"
    files = sorted(folder.glob("*notop*.h5")) if folder.is_dir() else []
    names = {file.name.lower().replace("_", "").replace("-", "") for file in files}
    cached = [
        encoder
        for encoder in models.ENCODERS
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
