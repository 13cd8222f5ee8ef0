"""Bag models in ONNX Runtime: instances projected in parts, bags aggregated whole."""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eosin.bags import (
    Bag,
    BagScores,
    ClinicalEncoding,
    require_features,
    require_size,
)
from eosin.core import (
    AGGREGATOR_SUFFIX,
    PROJECTION_SUFFIX,
    ModelError,
    count_cores,
    raising,
)
from eosin.inference.read_ahead import Rows, iter_read_ahead
from eosin.inference.sessions import (
    Session,
    open_callers,
    run_graph,
    start_session,
)
from eosin.settings import Device

Floats = npt.NDArray[np.float32]

_MAX_INSTANCES = 1 << 16
_MAX_TILES = 64
# Numbers that a graph takes at once (2 MiB): what it makes of them stays in the cache.
_NUMBERS_PER_RUN = 1 << 19
# Several models together hold at most so many numbers of projected instances (1 GiB).
_MAX_HELD = 1 << 28


class BagHead:
    """A finished bag model; safe on many threads.

    Attributes:
        dimension: Numbers per instance that it takes.
        tile_px: Side of the tiles whose pixels it takes. None where it takes features.
        n_instances: The most instances that it takes. None means any number.
        n_outputs: Logits per bag.
        width: Numbers per projected instance.
        clinical: How the clinical columns that it takes are encoded. None takes none.

    Args:
        stem: Path of its two files up to their suffixes.
        clinical: The encoding in the run's card.
        device: As for `open_session`.

    Raises:
        ModelError: A file is missing or damaged, the two do not belong together, or the
            clinical encoding is not the model's.
        ConfigError: The device cannot be used.
    """

    def __init__(
        self,
        stem: Path,
        *,
        clinical: ClinicalEncoding | None = None,
        device: Device = "auto",
    ) -> None:
        self._path = Path(f"{stem}{AGGREGATOR_SUFFIX}")
        path = Path(f"{stem}{PROJECTION_SUFFIX}")
        self._projection = start_session(path, device=device)
        # A bag is one call. What was kept of it would be as much as the largest bag
        # took, for each model.
        self._aggregator = start_session(
            self._path, device=device, threads=count_cores(), keeps_memory=False
        )
        with raising(ModelError, f"{self._path}: is no model of bags"):
            (port,) = self._projection.get_inputs()
            self._tiles = (
                Session(self._projection, path) if len(port.shape) == 4 else None
            )
            self.tile_px = None if self._tiles is None else self._tiles.tile_px
            self.dimension = int(np.prod(port.shape[1:]))
            inputs = {port.name: port.shape for port in self._aggregator.get_inputs()}
            outputs = {port.name: port.shape for port in self._aggregator.get_outputs()}
            self._outputs = tuple(outputs)
            self.width, self.n_outputs = inputs["projected"][1], outputs["logits"][0]
            (size,) = outputs["attention"]
            self.n_instances = size if isinstance(size, int) else None
            known = inputs.get("clinical", (1, 0))[1]
        self.clinical = clinical
        given = 0 if clinical is None else clinical.width
        if known != given:
            raise ModelError(
                f"{self._path}: takes {known} numbers of clinical columns, and the "
                f"card's encoding gives {given}; train again"
            )
        if self._projection.get_outputs()[0].shape[1] != self.width:
            raise ModelError(
                f"{self._path} and {path.name} are of different models; train again"
            )

    def predict(self, bag: Bag, *, max_instances: int | None = None) -> BagScores:
        """Score a bag; see `score_bag`."""
        return score_bag([self], bag, max_instances=max_instances)[0]

    def require_fit(self, bag: Bag) -> None:
        """Stop where a bag is not one that the model takes; nothing is read."""
        require_features(bag, self.dimension, are_pixels=self.tile_px is not None)
        require_size(bag.bag_id, len(bag), self.n_instances)
        if self.clinical is not None:
            bag.encode_clinical(self.clinical)

    def project(self, instances: npt.NDArray[np.float32 | np.uint8]) -> Floats:
        """Project instances, each by itself, to `(instances, width)`.

        They are `(instances, dimension)`: features as they come, float32, or pixels in
        0..255. ModelError where ONNX Runtime fails, or pixels are no whole numbers.
        """
        if self._tiles is not None:
            px = self._tiles.tile_px
            tiles = instances.astype(np.uint8, copy=False)
            if (tiles != instances).any():
                raise ModelError(
                    f"{self._path}: takes the pixels of tiles, whole numbers in 0..255"
                )
            return self._tiles.run(tiles.reshape(-1, px, px, 3))["projected"]
        step = max(1, _NUMBERS_PER_RUN // self.dimension)

        def project(start: int) -> Floats:
            part = {"instances": instances[start : start + step]}
            return run_graph(self._projection, self._path, ["projected"], part)[0]

        parts = list(open_callers().map(project, range(0, len(instances), step)))
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def aggregate(self, projected: Floats, bag: Bag) -> BagScores:
        """Score a bag whose instances were projected, `(instances, width)`."""
        inputs = {"projected": projected}
        if self.clinical is not None:
            inputs["clinical"] = bag.encode_clinical(self.clinical)[None]
        outputs = run_graph(self._aggregator, self._path, self._outputs, inputs)
        by_name = dict(zip(self._outputs, outputs, strict=True))
        return BagScores(
            bag.bag_id,
            by_name["logits"],
            by_name["attention"][: len(bag)],
            by_name.get("instance_logits"),
        )


def score_bag(
    heads: Sequence[BagHead], bag: Bag, *, max_instances: int | None = None
) -> list[BagScores]:
    """Score one bag by several models, each instance read once for all of them.

    The next instances are read while the models run. Memory is bounded by the
    instances of two parts, and one short vector of each instance and model; where
    these vectors are more than 1 GiB, models go in groups that read the bag again.

    Args:
        heads: The models: all of features or all of pixels.
        bag: Of any size that they take.
        max_instances: In one part. None takes 65,536, but at most 32 MiB of features,
            and of tiles 64.

    Returns:
        One result for each model, in their order.

    Raises:
        ModelError: The bag has other features, or lacks the clinical columns, pixels
            are no whole numbers in 0..255, or ONNX Runtime fails.
        ManifestError: It has too many instances, a clinical value does not fit its
            column, or a feature is not finite.
        SlideError: A tile cannot be read.
    """
    for head in heads:
        head.require_fit(bag)
    widest = max((head.width for head in heads), default=1)
    n_at_once = max(1, _MAX_HELD // (len(bag) * widest))
    return [
        scores
        for start in range(0, len(heads), n_at_once)
        for scores in _score(heads[start : start + n_at_once], bag, max_instances)
    ]


def _score(
    heads: Sequence[BagHead], bag: Bag, max_instances: int | None
) -> list[BagScores]:
    """Score a bag by as many models as memory is there for."""
    are_pixels = heads[0].tile_px is not None
    size = max_instances or (
        _MAX_TILES if are_pixels else min(_MAX_INSTANCES, bag.list_blocks()[0].stop)
    )
    held = [np.empty((len(bag), head.width), np.float32) for head in heads]
    with closing(_iter_parts(bag, size, are_pixels=are_pixels)) as parts:
        for rows, instances in parts:
            for head, projected in zip(heads, held, strict=True):
                projected[rows[0] : rows[-1] + 1] = head.project(instances)
    return [
        head.aggregate(projected, bag)
        for head, projected in zip(heads, held, strict=True)
    ]


def _iter_parts(
    bag: Bag, size: int, *, are_pixels: bool
) -> Generator[tuple[Rows, npt.NDArray[np.float32 | np.uint8]], None, None]:
    """Read a bag part by part, a part ahead where there are several."""

    def read(rows: Rows) -> npt.NDArray[np.float32 | np.uint8]:
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        return np.asarray(bag.features[part]) if are_pixels else bag.read(part)

    if len(bag) > size:
        yield from iter_read_ahead(read, range(len(bag)), size)
    else:
        rows = np.arange(len(bag))
        yield rows, read(rows)
