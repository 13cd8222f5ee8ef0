"""Feature tensors that PyTorch saved (`.pt`), read without PyTorch.

Such a file is a zip: a pickle that says how the tensor lies, and its numbers as they
are. A pickle may run anything; here it may only describe tensors.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.core import ManifestError

_STORAGES = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "DoubleStorage": np.float64,
}
# A member's header in a zip: 26 bytes in stand the lengths of its name and its extras.
_HEADER_BYTES = 30


@dataclass(frozen=True)
class _Tensor:
    """How a tensor lies in the numbers of a member of the zip."""

    dtype: type[np.floating[Any]]
    member: str
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Knows tensors, and nothing that could do harm."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name} in it")

    def persistent_load(self, key: Any) -> tuple[type[np.floating[Any]], str]:
        # ("storage", its type, name of the member, device, numbers in it)
        return key[1], f"data/{key[2]}"


def _rebuild(
    storage: tuple[type[np.floating[Any]], str],
    start: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *_: Any,
) -> _Tensor:
    return _Tensor(*storage, start, tuple(shape), tuple(strides))


def open_tensor_file(path: Path) -> npt.NDArray[Any]:
    """Map one slide's features, `(tiles, dimension)`, that PyTorch saved.

    Nothing is read yet. CLAM and TRIDENT write such `.pt` files, of one tensor.

    Raises:
        ManifestError: The file is missing, cut short, or holds something else.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            # Every member lies in a folder named after the file as it was saved.
            root = archive.namelist()[0].split("/")[0]
            content = archive.read(f"{root}/data.pkl")
            found = _Unpickler(io.BytesIO(content)).load()
            if not isinstance(found, _Tensor) or len(found.shape) not in (1, 2, 3):
                raise _refuse(path, "it holds something else")
            if len(found.shape) == 1:
                raise _refuse(path, "it holds one vector, as of a whole slide")
            member = archive.getinfo(f"{root}/{found.member}")
    except (OSError, zipfile.BadZipFile, IndexError, KeyError) as error:
        raise _refuse(path, f"missing, cut short, or very old: {error}") from error
    except (pickle.UnpicklingError, AttributeError, TypeError, EOFError) as error:
        raise _refuse(path, str(error)) from error
    return _map(path, member, found)


def _map(path: Path, member: zipfile.ZipInfo, found: _Tensor) -> npt.NDArray[Any]:
    # TRIDENT's older versions and others keep (1, tiles, dimension).
    is_nested = len(found.shape) == 3 and found.shape[0] == 1
    shape = found.shape[is_nested:]
    dtype = np.dtype(found.dtype)
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    is_plain = found.strides[is_nested:] == (shape[-1], 1) or shape[0] < 2
    if len(shape) != 2 or not is_plain or member.compress_type != zipfile.ZIP_STORED:
        raise _refuse(path, f"its tensor of shape {found.shape} does not lie plainly")
    start = found.start * dtype.itemsize
    if start + n_bytes > member.file_size:
        raise _refuse(path, "its tensor is longer than the file")
    if not n_bytes:
        return np.empty(shape, dtype)
    with path.open("rb") as stream:
        stream.seek(member.header_offset)
        header = stream.read(_HEADER_BYTES)
    name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
    offset = member.header_offset + _HEADER_BYTES + name_bytes + extra_bytes + start
    return np.memmap(path, dtype, "r", offset, shape)


def _refuse(path: Path, reason: str) -> ManifestError:
    return ManifestError(
        f"{path}: must be a tensor (tiles, dimension) that PyTorch saved ({reason}); "
        "use the .h5 file of the slide, or embed it again"
    )
