"""An encoder of tiles, and what it gives of a folder's; needs no Keras."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.core import Progress
from eosin.inference import EncodedTiles, TileModel, open_encoded
from eosin.tiles import DAMAGED, TileFolder


@dataclass(frozen=True, eq=False)
class TileEncoder:
    """An encoder with its weights.

    Attributes:
        model: Gives `features`, a vector per tile.
        name: What it is called.
        licence: Terms of its weights, as far as they are known.
        sha256: Hash of its weights.
        learnt_from: Whom a run fine-tuned it on, from `find_learnt`.
    """

    model: TileModel
    name: str
    licence: str
    sha256: str
    learnt_from: Mapping[str, Any] = field(default_factory=dict)

    @property
    def graph(self) -> str:
        """Hash of what it computes; of its description and weights without a graph."""
        return getattr(self.model, "encoder_hash", None) or self.sha256

    @property
    def dimension(self) -> int:
        """Features per tile."""
        return int(self.model.outputs["features"][0])


def list_readable(folder: TileFolder) -> npt.NDArray[np.int64]:
    """List the rows of a folder's tile table that can be read."""
    is_damaged = folder.tiles["flags"].str.contains(DAMAGED).to_numpy(bool)
    return np.flatnonzero(~is_damaged)


def encode_rows(
    folder: TileFolder,
    encoder: TileEncoder,
    rows: npt.NDArray[np.int64],
    *,
    views: int = 1,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Encode rows of a tile table, as far as they have not been encoded before.

    `(rows of the tile table, dimension)`, means over the views; of one view a map of
    the store's file. Rows that nobody asked for hold nothing.
    """
    store = open_store(folder, encoder)
    store.encode(rows, views, lambda: encoder.model, progress=progress)
    features: npt.NDArray[np.float32] = store.read(views)
    return features[0] if views == 1 else np.asarray(features.mean(axis=0))


def open_store(folder: TileFolder, encoder: TileEncoder) -> EncodedTiles:
    """Open the place of an encoder's features of a folder's tiles."""
    return open_encoded(
        folder,
        encoder=encoder.name,
        graph=encoder.graph,
        dimension=encoder.dimension,
    )
