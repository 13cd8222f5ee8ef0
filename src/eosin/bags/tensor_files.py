"""Feature tensors that PyTorch saved (`.pt`), read without PyTorch.

Such a file is a zip: a pickle that says how the tensor lies, and its numbers as they
are. A pickle may run anything; here it may only describe tensors.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.core import ManifestError, raising, require_regular

# A description of one tensor has some 300 bytes.
_MOST_PICKLE_BYTES = 1 << 16
# A member's header in a zip: 26 bytes in stand the lengths of its name and its extras.
_HEADER_BYTES = 30
_ENCRYPTED = 1
_REMEDY = "use the .h5 file of the slide, or embed it again"


@dataclass(frozen=True)
class _Storage:
    """How numbers are kept; bfloat16 is the upper half of a float32."""

    dtype: str
    is_half_float32: bool = False


_STORAGES = {
    "FloatStorage": _Storage("f4"),
    "HalfStorage": _Storage("f2"),
    "DoubleStorage": _Storage("f8"),
    "BFloat16Storage": _Storage("u2", is_half_float32=True),
}


@dataclass(frozen=True)
class _Tensor:
    """How a tensor lies in the numbers of a member of the zip."""

    storage: _Storage
    member: str
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


# That of Python, because the one in C takes memory for as many names as a file says.
class _Unpickler(pickle._Unpickler):
    """Knows tensors, and nothing that could do harm."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name} in it")

    def persistent_load(self, key: Any) -> tuple[_Storage, str]:
        # ("storage", its type, name of the member, device, numbers in it)
        return key[1], f"data/{key[2]}"


def _rebuild(
    storage: tuple[_Storage, str],
    start: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *_: Any,
) -> _Tensor:
    return _Tensor(*storage, int(start), tuple(map(int, shape)), tuple(strides))


def open_tensor_file(path: Path) -> npt.NDArray[Any]:
    """Map one slide's features, `(tiles, dimension)`, that PyTorch saved.

    Nothing is read yet, but for bfloat16, which NumPy has not: it becomes float32,
    exactly. CLAM and TRIDENT write such `.pt` files, of one tensor.

    Raises:
        ManifestError: The file is missing, cut short, or holds something else.
    """
    path = Path(path)
    failure = (
        f"{path}: must be a tensor (tiles, dimension) that PyTorch 1.6 or newer saved"
    )
    with (
        raising(ManifestError, failure, remedy=_REMEDY),
        _open_archive(path) as file,
    ):
        # Every member lies in a folder named after the file as it was saved.
        root = file.namelist()[0].split("/")[0]
        content = _read_short(file, f"{root}/data.pkl")
        found = _Unpickler(io.BytesIO(content)).load()
        if not isinstance(found, _Tensor) or len(found.shape) not in (1, 2, 3):
            raise _refuse(path, "it holds something else")
        if len(found.shape) == 1:
            raise _refuse(path, "it holds one vector, as of a whole slide")
        order = "<"
        if f"{root}/byteorder" in file.namelist():
            is_big = _read_short(file, f"{root}/byteorder") == b"big"
            order = ">" if is_big else "<"
        member = file.getinfo(f"{root}/{found.member}")
        numbers = _map(path, member, found, np.dtype(order + found.storage.dtype))
        if not found.storage.is_half_float32:
            return numbers
        wide = numbers.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)


def _read_short(file: zipfile.ZipFile, name: str) -> bytes:
    """Read a member that is short, whatever the zip says of it."""
    with file.open(name) as stream:
        content = stream.read(_MOST_PICKLE_BYTES + 1)
    if len(content) > _MOST_PICKLE_BYTES:
        raise pickle.UnpicklingError(f"{name} describes more than one tensor")
    return content


def _map(
    path: Path, member: zipfile.ZipInfo, found: _Tensor, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    # TRIDENT's older versions and others keep (1, tiles, dimension).
    is_nested = len(found.shape) == 3 and found.shape[0] == 1
    shape = found.shape[is_nested:]
    n_bytes = math.prod(shape) * dtype.itemsize
    is_plain = len(shape) == 2 and all(
        stride == plain or length < 2
        for stride, plain, length in zip(
            found.strides[is_nested:], (shape[-1], 1), shape, strict=True
        )
    )
    is_stored = member.compress_type == zipfile.ZIP_STORED
    if not is_plain or not is_stored or member.flag_bits & _ENCRYPTED:
        raise _refuse(path, f"its tensor of shape {found.shape} does not lie plainly")
    start = found.start * dtype.itemsize
    if min(start, *shape) < 0 or start + n_bytes > member.file_size:
        raise _refuse(path, "its tensor is longer than the file")
    if not n_bytes:
        return np.empty(shape, dtype)
    with path.open("rb") as stream:
        stream.seek(member.header_offset)
        header = stream.read(_HEADER_BYTES)
    name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
    offset = member.header_offset + _HEADER_BYTES + name_bytes + extra_bytes + start
    return np.memmap(path, dtype, "r", offset, shape)


def _open_archive(path: Path) -> zipfile.ZipFile:
    require_regular(path)
    return zipfile.ZipFile(path)


def _refuse(path: Path, reason: str) -> ManifestError:
    return ManifestError(
        f"{path}: must be a tensor (tiles, dimension) that PyTorch saved ({reason}); "
        f"{_REMEDY}"
    )
