"""Packages that only some work needs, and how they are had."""

import importlib.util
import os
from collections.abc import Mapping, Sequence

from eosin.core.errors import ConfigError, MissingExtraError

# What Keras computes with, and the packages of that. PyTorch belongs to `train`, since
# whatever a model was trained with, PyTorch writes it for ONNX Runtime.
_BACKENDS: Mapping[str, Sequence[str]] = {
    "torch": (),
    "tensorflow": ("tensorflow",),
    "jax": ("jax", "jaxlib"),
}


def require_extra(extra: str, *, modules: Sequence[str], purpose: str) -> None:
    """Stop where packages of an extra are not installed; nothing is imported.

    `purpose` begins the message, such as `training`; `modules` are what the extra
    brings, by the names under which it is imported.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{purpose} needs {' and '.join(missing)}, which "
            f"{'are' if len(missing) > 1 else 'is'} not installed: "
            f"pip install 'eosin[{extra}]'"
        )


def require_keras(purpose: str) -> str:
    """Stop where Keras, its backend or what writes its models is not installed.

    Returns:
        The backend, as `KERAS_BACKEND` names it; torch without.

    Raises:
        ConfigError: eosin does not train with this backend.
        MissingExtraError: A package is not installed.
    """
    backend = os.environ.get("KERAS_BACKEND") or "torch"
    if backend not in _BACKENDS:
        raise ConfigError(
            f"KERAS_BACKEND must be {', '.join(_BACKENDS)}, got '{backend}'; unset it"
        )
    extra = "train" if backend == "torch" else f"train,{backend}"
    require_extra(
        extra,
        modules=("keras", "torch", "onnx", "onnxscript", *_BACKENDS[backend]),
        purpose=purpose,
    )
    return backend
