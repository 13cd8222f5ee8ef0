"""Models in ONNX Runtime."""

import base64
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from eosin.core import (
    ENCODER_HASH,
    HEAD,
    ConfigError,
    ModelError,
    count_cores,
    find_stop,
    raising,
)
from eosin.settings import Device

Floats = npt.NDArray[np.float32]

# Tiles of a call on a GPU.
_GPU_BATCH = 32
# Pixels of a call on a CPU, so that what layers hand on stays in a core's cache: of
# MobileNetV2 at 64, 96 and 224 px 4, 2 and 1 tiles a call are 1.17, 1.41 and 1.82 times
# as fast as 32. So are, by less, other encoders; docs/measurements/speed.md.
_CALL_PIXELS = 128**2
_MOST_PER_CALL = 32
# A MobileNetV2's first layers take some 400 bytes for each pixel of a call.
_MOST_PIXELS = 64 * 256**2
_INPUT_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


def count_at_once(tile_px: int) -> int:
    """Count the tiles that a model may take at once for memory's sake."""
    return max(1, _MOST_PIXELS // tile_px**2)


class Session:
    """A model that takes raw tiles; safe on many threads.

    On a CPU each core makes calls of its own, of one thread and a few tiles, and the
    same number of tiles in each, the last one filled up. So a tile's outputs are equal
    to the byte whatever tiles are beside it and however many cores there are.

    Attributes:
        tile_px: Side of the tiles it takes.
        outputs: Shape of each output without the batch, by name.
        encoder_hash: Hash of all that it computes up to its features, from its export.
            Two models of one hash give the same features of the same tile, but for the
            rounding (2e-5) of how a version of eosin writes the graph, whatever
            head follows. None of a model without features, and of some with loops.
    """

    def __init__(self, session: Any, path: Path) -> None:
        """Take what `start_session` started on a file, if it takes tiles."""
        self._session, self._path = session, path
        inputs = session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if not _takes_tiles(shape) or inputs[0].type not in _INPUT_TYPES:
            raise ModelError(
                f"{path}: a model of eosin takes tiles (batch, px, px, 3) of float32 "
                "or uint8; this one takes "
                f"{[(i.name, i.shape, i.type) for i in inputs]}"
            )
        self._is_on_gpu = session.get_providers()[0] == _CUDA
        self._input_name = inputs[0].name
        self._dtype = _INPUT_TYPES[inputs[0].type]
        # Tiles that every call of the model takes; None for any number.
        self._fixed_batch = shape[0] if isinstance(shape[0], int) else None
        self.tile_px = int(shape[1])
        self.outputs = {
            output.name: tuple(output.shape[1:]) for output in session.get_outputs()
        }
        self._notes: dict[str, str] = session.get_modelmeta().custom_metadata_map
        self.encoder_hash = self._notes.get(ENCODER_HASH)

    def run(
        self, tiles: npt.NDArray[np.uint8], *, batch: int | None = None
    ) -> dict[str, Floats]:
        """Run the model over tiles of any number.

        Args:
            tiles: `(tiles, px, px, 3)`, raw RGB.
            batch: Tiles in one call, fewer of those larger than 256 px, so that memory
                is bounded; None chooses by their size. A model with a fixed batch keeps
                its own. Other batches give other roundings, up to some 1e-5.

        Returns:
            Each output by name, `(tiles, ...)`.

        Raises:
            ValueError: The tiles are not uint8 or of the model's size, or `batch` is
                below 1.
            ModelError: ONNX Runtime fails, as when memory runs out.
        """
        if tiles.shape[1:] != (self.tile_px, self.tile_px, 3):
            raise ValueError(
                f"the model takes tiles of {self.tile_px} px, got {tiles.shape[1:]}"
            )
        # Tiles scaled to 0..1 would be taken for nearly black ones.
        if tiles.dtype != np.uint8:
            raise ValueError(f"tiles must be raw RGB of uint8, got {tiles.dtype}")
        step = self._fixed_batch or _choose_batch(
            self.tile_px, batch, is_on_gpu=self._is_on_gpu
        )
        calls = [tiles[start : start + step] for start in range(0, len(tiles), step)]
        run_call = functools.partial(
            self._run_call, n_filled=0 if batch and not self._fixed_batch else step
        )
        # Whoever interrupts does not want to wait for the other calls.
        work = find_stop().bind(run_call)
        parts = (map if self._is_on_gpu else open_callers().map)(work, calls)
        # Of no tiles an empty array, not none.
        empty = [np.empty((0, *shape), np.float32) for shape in self.outputs.values()]
        every = [np.concatenate(each) for each in zip(empty, *parts, strict=True)]
        return dict(zip(self.outputs, every, strict=True))

    def open_head(self) -> Callable[[Floats], Floats]:
        """Open the part of a classifier behind its features.

        It gives the logits, `(tiles, ...)`, of features `(tiles, dimension)`.
        """
        if HEAD not in self._notes:
            raise ModelError(
                f"{self._path}: a classifier that this version of eosin exported is "
                f"needed; this model gives {', '.join(self.outputs)}"
            )
        with raising(ModelError, f"{self._path}: its head cannot be opened"):
            graph = base64.b64decode(self._notes[HEAD])
            head = ort.InferenceSession(graph, _make_options(1), providers=[_CPU])
        return lambda features: head.run(["logits"], {"features": features})[0]

    def _run_call(self, tiles: npt.NDArray[np.uint8], n_filled: int) -> list[Floats]:
        """Run a call of some tiles, or of more where it is to be filled up."""
        n = len(tiles)
        given = tiles.astype(self._dtype, copy=False)
        if n < n_filled:
            given = np.pad(given, ((0, n_filled - n), (0, 0), (0, 0), (0, 0)))
        found = run_graph(
            self._session, self._path, list(self.outputs), {self._input_name: given}
        )
        return [output[:n] for output in found]


def open_session(path: Path, *, device: Device = "auto") -> Session:
    """Open an ONNX model, with all of ONNX Runtime's graph optimisation.

    Args:
        path: The file.
        device: `auto` takes a CUDA GPU where ONNX Runtime has one that works.

    Raises:
        ModelError: The file is missing, damaged, or no model of tiles.
        ConfigError: The device is none of the three, or CUDA is asked for and
            ONNX Runtime cannot use it.
    """
    started = start_session(path, device=device)
    with raising(ModelError, f"{path}: its names and notes cannot be read"):
        return Session(started, Path(path))


def note_calls(
    tile_px: int | None, *, device: Device = "auto", batch: int | None = None
) -> dict[str, Any]:
    """Note for a record how `Session.run` calls models of tiles, as `model_calls`.

    The `device` that ONNX Runtime offers, `callers` at once, `threads` of each and the
    tiles of a call (`batch`). Empty where models take no tiles (`tile_px` is None).
    """
    if tile_px is None:
        return {}
    is_on_gpu = _CUDA in _choose_providers(device)
    calls = {
        "device": "cuda" if is_on_gpu else "cpu",
        "callers": 1 if is_on_gpu else count_cores(),
        "threads": 1,
        "batch": _choose_batch(tile_px, batch, is_on_gpu=is_on_gpu),
    }
    return {"model_calls": calls}


def _choose_batch(tile_px: int, batch: int | None, *, is_on_gpu: bool) -> int:
    """Take the batch that was asked for, within memory, or choose one."""
    if batch is None:
        by_size = max(1, min(_MOST_PER_CALL, round(_CALL_PIXELS / tile_px**2)))
        batch = _GPU_BATCH if is_on_gpu else by_size
    if batch < 1:
        raise ValueError(f"batch must be 1 or more, got {batch}")
    return min(batch, count_at_once(tile_px))


def open_callers() -> ThreadPoolExecutor:
    """Return the threads that call models on this process' cores, one for each.

    All models share them, so that several slides in work do not take the processor
    from one another.
    """
    # A forked process has none of its parent's threads.
    return _open_callers(os.getpid())


@functools.cache
def _open_callers(process: int) -> ThreadPoolExecutor:
    del process
    return ThreadPoolExecutor(count_cores(), thread_name_prefix="model")


def run_graph(
    session: Any,
    path: Path,
    outputs: Sequence[str],
    inputs: Mapping[str, npt.NDArray[Any]],
) -> list[Floats]:
    """Run what `start_session` started; ModelError as when memory runs out."""
    given = " and ".join(f"{len(array)} {name}" for name, array in inputs.items())
    failure = f"{path}: ONNX Runtime failed on {given}"
    remedy = "where memory ran out, ask for smaller batches"
    with raising(ModelError, failure, remedy=remedy):
        found: list[Floats] = session.run(outputs, dict(inputs))
    return found


def start_session(
    path: Path, *, device: Device, threads: int = 1, keeps_memory: bool = True
) -> Any:
    """Start ONNX Runtime on a graph of any kind, as `open_session` does.

    Args:
        path: The file.
        device: As for `open_session`.
        threads: Threads within one operator on a CPU.
        keeps_memory: Whether what one run took is kept for the next, which is for
            graphs whose inputs are always of one size.
    """
    path = Path(path)
    providers = _choose_providers(device)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    options = _make_options(threads)
    options.enable_cpu_mem_arena = keeps_memory
    remedy = "the file is damaged, no ONNX model, or keeps numbers in other files"
    with raising(ModelError, f"{path}: ONNX Runtime cannot open it", remedy=remedy):
        session = ort.InferenceSession(str(path), options, providers=providers)
    # Where its CUDA libraries do not load, ONNX Runtime goes on with the CPU.
    if device == "cuda" and _CUDA not in session.get_providers():
        raise ConfigError(
            "device cuda was asked for, and ONNX Runtime could not start it; check "
            "the driver and the CUDA and cuDNN libraries, or use --device cpu"
        )
    return session


def _make_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    # Threads that stay busy while they wait take the processor from all others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _choose_providers(device: Device) -> list[str]:
    if device not in get_args(Device):
        raise ConfigError(
            f"device must be one of {', '.join(get_args(Device))}; got {device!r}"
        )
    has_cuda = _CUDA in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise ConfigError(
            "device cuda was asked for, and this ONNX Runtime knows no CUDA; install "
            "onnxruntime-gpu in place of onnxruntime, or use --device cpu"
        )
    return [_CUDA, _CPU] if has_cuda and device != "cpu" else [_CPU]


def _takes_tiles(shape: list[Any]) -> bool:
    """Whether an input is `(batch, px, px, 3)` with a known px."""
    return len(shape) == 4 and isinstance(shape[1], int) and shape[2:] == [shape[1], 3]
