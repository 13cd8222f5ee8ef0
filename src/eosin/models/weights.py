"""Weight files: checked against the encoder before anything is loaded."""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from eosin.core import ModelError, raising
from eosin.core.hdf5 import HDF5File, open_hdf5
from eosin.models.registry import ENCODERS, EncoderSpec

_Shapes = Counter[tuple[int, ...]]

# Of groups within groups; a group may hold itself.
_DEEPEST = 32


def load_weights(encoder: Any, spec: EncoderSpec, path: Path) -> None:
    """Load a Keras HDF5 file without a head into an encoder built for `spec`, in place.

    Both layouts are read: that of Keras 3 (`*.weights.h5`) and the older one that
    keras.applications publishes (`*_notop.h5`). The numbers may be stored as float16.

    Raises:
        ModelError: The file is missing, not HDF5, of another architecture or
            with a head, or holds numbers that are not finite.
    """
    shapes = _read_shapes(path)
    wanted: _Shapes = Counter(tuple(v.shape) for v in encoder.weights)
    if shapes != wanted:
        raise ModelError(_describe_mismatch(path, spec, wanted, shapes))
    failure = f"{path}: has the arrays of {spec.name} but not its layout"
    remedy = "save it with Keras as *.weights.h5"
    with raising(ModelError, failure, remedy=remedy), warnings.catch_warnings():
        # Where a part of the file is missing, Keras warns and leaves the layers as
        # they are: random.
        warnings.simplefilter("error", UserWarning)
        encoder.load_weights(str(path))
    if not all(np.isfinite(array).all() for array in encoder.get_weights()):
        raise ModelError(
            f"{path}: holds numbers that are not finite (damaged, or too large "
            "for float16); give another file"
        )


def _read_shapes(path: Path) -> _Shapes:
    """Count the shapes of a file's weights, whatever its layout."""
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file")
    if path.suffix not in (".h5", ".hdf5"):
        raise ModelError(
            f"{path}: weights must be a Keras HDF5 file (*.weights.h5, or *.h5 "
            "of keras.applications)"
        )
    with open_hdf5(path, ModelError, "not a readable HDF5 file") as file:
        is_keras_3 = (
            "layer_names" not in file.find("/").attrs and "layers" in file.names
        )
        if is_keras_3 and not path.name.endswith(".weights.h5"):
            raise ModelError(
                f"{path}: is in Keras 3's layout, which Keras reads only from "
                "files called *.weights.h5; rename it"
            )
        return Counter(_iter_shapes(file, ""))


def _iter_shapes(file: HDF5File, place: str) -> Iterator[tuple[int, ...]]:
    if place.count("/") > _DEEPEST:
        raise ModelError(f"its groups are more than {_DEEPEST} deep")
    for name in file.find(place):
        # Neither an optimiser's state nor a dropout's seed is a weight.
        if name.startswith("optimizer") or name == "seed_generator":
            continue
        item = file.find(f"{place}/{name}")
        if isinstance(item, h5py.Dataset):
            yield tuple(item.shape)
        elif item is not None:
            yield from _iter_shapes(file, f"{place}/{name}")


def _describe_mismatch(
    path: Path, spec: EncoderSpec, wanted: _Shapes, found: _Shapes
) -> str:
    """Name both sides, and the encoder that the file seems to belong to."""
    message = (
        f"{path}: must hold {spec.name} without a classification head "
        f"({_describe(wanted)}), but holds {_describe(found)}"
    )
    matching = [e.name for e in ENCODERS.values() if e.n_parameters == _count(found)]
    if matching and matching != [spec.name]:
        return f"{message}, as {matching[0]} has; choose --encoder {matching[0]}"
    if wanted < found:
        return f"{message}; it seems to have a head, so save it without one"
    return f"{message}; give a file of {spec.name}"


def _describe(shapes: _Shapes) -> str:
    return f"{_count(shapes):,} numbers in {shapes.total()} arrays"


def _count(shapes: _Shapes) -> int:
    return sum(int(np.prod(shape)) * n for shape, n in shapes.items())
