"""The one place that imports Keras, after its backend was chosen.

Keras reads the environment variable `KERAS_BACKEND` once, when it is first imported.
eosin's default is torch, which installs and finds a GPU on Linux, Windows and macOS;
whoever sets the variable (`tensorflow`, `jax`) gets theirs. Keras' own settings file
does not count: Keras writes it by itself. Every other module takes `keras` from here,
so that the choice comes first whatever the order of imports.

OpenMP reads `OMP_WAIT_POLICY` when its library is loaded, which is now too. By default
its threads spin while they wait for each other. Beside one more busy thread they then
wait for one that is not running: training a head took 29 s instead of 2.5 s on 2 cores.
"""

import os

from eosin.core import MissingExtraError, require_keras

_BACKEND = require_keras("working with Keras models")
os.environ["KERAS_BACKEND"] = _BACKEND
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

try:
    import keras
except ImportError as error:
    # Installed, and yet it cannot be used: of another version, or for another machine.
    raise MissingExtraError(
        f"Keras cannot be imported with its backend {_BACKEND} ({error}); install both "
        f"anew, or choose another by KERAS_BACKEND"
    ) from error

if keras.backend.backend() == "torch":
    # Keras would copy it, which took a tenth of the time that bags train for.
    from torch import from_numpy as share_array
else:
    share_array = keras.ops.convert_to_tensor

__all__ = ["has_gpu", "keras", "share_array"]


def has_gpu() -> bool:
    """Say whether new tensors land on a GPU."""
    # Each backend's device writes itself its own way; all name what it is.
    device = str(keras.ops.zeros((1,)).device).lower()
    return "cuda" in device or "gpu" in device
