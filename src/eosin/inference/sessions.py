"""Models in ONNX Runtime."""

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from eosin.core import ENCODER_HASH, HEAD, ConfigError, ModelError, raising
from eosin.settings import Device

Floats = npt.NDArray[np.float32]

DEFAULT_BATCH = 32
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

    Attributes:
        tile_px: Side of the tiles it takes.
        outputs: Shape of each output without the batch, by name.
        encoder_hash: Hash of all that it computes up to its features, from its export.
            Two models of one hash give the same features of the same tile, whatever
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
        self, tiles: npt.NDArray[np.uint8], *, batch: int = DEFAULT_BATCH
    ) -> dict[str, Floats]:
        """Run the model over tiles of any number.

        Args:
            tiles: `(tiles, px, px, 3)`, raw RGB.
            batch: Tiles in one call, fewer of those larger than 256 px, so that memory
                is bounded; a model with a fixed batch keeps its own.

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
        if batch < 1:
            raise ValueError(f"batch must be 1 or more, got {batch}")
        step = self._fixed_batch or min(batch, count_at_once(self.tile_px))
        parts = [
            self._run_batch(tiles[start : start + step])
            for start in range(0, len(tiles), step)
        ]
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
            head = ort.InferenceSession(graph, providers=[_CPU])
        return lambda features: head.run(["logits"], {"features": features})[0]

    def _run_batch(self, tiles: npt.NDArray[np.uint8]) -> list[Floats]:
        n = len(tiles)
        given = tiles.astype(self._dtype, copy=False)
        if self._fixed_batch is not None:
            given = np.pad(given, ((0, self._fixed_batch - n), (0, 0), (0, 0), (0, 0)))
        found = run_graph(
            self._session, self._path, list(self.outputs), {self._input_name: given}
        )
        return [output[:n] for output in found]


def open_session(
    path: Path, *, device: Device = "auto", threads: int | None = None
) -> Session:
    """Open an ONNX model, with all of ONNX Runtime's graph optimisation.

    Args:
        path: The file.
        device: `auto` takes a CUDA GPU where ONNX Runtime has one that works.
        threads: Threads within one operator on a CPU; None is one per core.

    Raises:
        ModelError: The file is missing, damaged, or no model of tiles.
        ConfigError: The device is none of the three, or CUDA is asked for and
            ONNX Runtime cannot use it.
    """
    started = start_session(path, device=device, threads=threads)
    with raising(ModelError, f"{path}: its names and notes cannot be read"):
        return Session(started, Path(path))


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
    path: Path,
    *,
    device: Device,
    threads: int | None = None,
    spins: bool = True,
    keeps_memory: bool = True,
) -> Any:
    """Start ONNX Runtime on a graph of any kind, as `open_session` does.

    Args:
        path: The file.
        device: As for `open_session`.
        threads: As for `open_session`.
        spins: Whether threads stay busy while they wait for more to do. Graphs that run
            in turn would take the processor from one another.
        keeps_memory: Whether what one run took is kept for the next, which is for
            graphs whose inputs are always of one size.
    """
    path = Path(path)
    providers = _choose_providers(device)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    options.enable_cpu_mem_arena = keeps_memory
    if threads is not None:
        options.intra_op_num_threads = threads
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
