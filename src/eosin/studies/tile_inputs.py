"""What the folds of a run are trained on: a classifier, labels, encoded tiles."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock

from eosin.core import Progress, hash_object
from eosin.inference import (
    CACHE_NAME,
    EncodedTiles,
    encode_tiles,
    find_encoded,
    make_room,
    open_encoded,
    open_session,
    read_encoded,
)
from eosin.models import (
    Depth,
    ExportedModel,
    build_classifier,
    build_encoder,
    build_stem,
    export_onnx,
    hash_weights,
    split_model,
)
from eosin.settings import TileTraining
from eosin.tiles import StainJitter, TileFolder, TileReader
from eosin.training import ChosenTiles, TrainingTiles, Views


class TileInputs:
    """Makes what training a fold needs; the encoder runs over each tile once for all.

    Attributes:
        tiles: The labelled tiles that any fold trains or validates on.
    """

    def __init__(
        self,
        folder: TileFolder,
        splits: pd.DataFrame,
        config: TileTraining,
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._splits = splits
        self._config = config
        self._progress = progress
        used = set(splits.loc[splits["split"] != "test", "slide_id"])
        is_used = folder.tiles["slide_id"].isin(used) & folder.tiles["label"].notna()
        self._rows = np.flatnonzero(is_used)
        self.tiles = folder.tiles[is_used].reset_index(drop=True)

    def build(self) -> Any:
        """Build the untrained classifier."""
        config, info = self._config, self._folder.info
        encoder = build_encoder(
            config.encoder,
            tile_px=info.tile_px,
            weights=config.weights,
            seed=config.seed,
        )
        return build_classifier(
            encoder,
            n_classes=len(info.class_names),
            dropout=config.dropout,
            seed=config.seed,
        )

    def open_reader(self) -> TileReader:
        """Open a reader of `tiles`."""
        return self._folder.open_reader(self.tiles)

    def find_tiles(self, fold: int, split: str) -> pd.DataFrame:
        """Find every studied tile of the slides of one split of a fold."""
        tiles = self._folder.studied_tiles
        is_own = tiles["slide_id"].map(self._list_splits(fold)) == split
        return tiles[is_own].reset_index(drop=True)

    def arrange(self, fold: int) -> TrainingTiles:
        """Say which of `tiles` a fold trains and validates on."""
        splits = self.tiles["slide_id"].map(self._list_splits(fold)).to_numpy()
        return TrainingTiles(
            labels=self.tiles["label"].to_numpy(np.int64),
            slide_ids=self.tiles["slide_id"].to_numpy(str),
            train_rows=np.flatnonzero(splits == "train"),
            val_rows=np.flatnonzero(splits == "val"),
            class_names=self._folder.info.class_names,
        )

    def _list_splits(self, fold: int) -> dict[str, str]:
        slides = self._splits[self._splits["fold"] == fold]
        return dict(zip(slides["slide_id"], slides["split"], strict=True))

    def encode(self, classifier: Any) -> dict[str, Views]:
        """Encode `tiles` in all views, or find it done.

        Gives `features`, `(views, tiles, dimension)`, by the encoder as it was built,
        and, where the last block is to be trained, `activations`, `(views, tiles,
        height, width, channels)`.
        """
        config, weights = self._config, hash_weights(classifier)
        if config.depth in ("last", "progressive"):
            return self._encode_part(classifier, "last", weights)
        if config.stain_jitter:
            return self._encode_part(classifier, "head", weights)
        encoded = find_encoded(self._folder, weights=weights)
        if (
            encoded is None
            or not encoded.is_done(self._rows, config.cached_views).all()
        ):
            with tempfile.TemporaryDirectory() as place:
                stem = Path(place) / "stem.onnx"
                exported = export_onnx(build_stem(classifier, "head"), stem)
                encoded = self._open_encoded(classifier, exported, weights)
                encoded.encode(
                    self._rows,
                    config.cached_views,
                    lambda: open_session(stem, device=config.device),
                    progress=self._progress,
                )
        features = encoded.read(config.cached_views)
        if len(self._rows) == features.shape[1]:
            return {"features": features}
        return {"features": ChosenTiles(features, self._rows)}

    def _open_encoded(
        self, classifier: Any, exported: ExportedModel, weights: str
    ) -> EncodedTiles:
        """Open what the encoder gave of any of the folder's tiles before."""
        trunk, _ = split_model(classifier, "head")
        return open_encoded(
            self._folder,
            encoder=self._config.encoder,
            graph=exported.encoder_hash or weights,
            dimension=trunk.output_shape[-1],
            weights=weights,
        )

    def _encode_part(
        self, classifier: Any, depth: Depth, weights: str
    ) -> dict[str, Views]:
        """Encode what only trainings of these settings need: activations, stains."""
        config = self._config
        names = ["features"] if depth == "head" else ["activations", "features"]
        # What was encoded for the last block holds the head's features as well.
        depths: tuple[Depth, ...] = (depth, "last")
        for other in depths:
            key = self._make_key(other, weights)
            read = partial(read_encoded, self._find_part(key), key, len(self.tiles))
            known = {name: read(name) for name in names}
            arrays = {name: own for name, own in known.items() if own is not None}
            if len(arrays) == len(names):
                return dict(arrays)
        key = self._make_key(depth, weights)
        cache = self._find_part(key)
        cache.parent.mkdir(parents=True, exist_ok=True)
        stem = cache / "stem.onnx"
        exported = export_onnx(build_stem(classifier, depth), stem)
        jitter = StainJitter(config.stain_jitter)

        def augment(
            tiles: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], view: int
        ) -> npt.NDArray[np.uint8]:
            # View 0 stays as it is: validation looks at it.
            if view == 0:
                return tiles
            rng = np.random.default_rng((config.seed, view, int(rows[0])))
            return jitter.apply(tiles, rng)

        # A second training of the same tiles waits here, and finds them encoded.
        with FileLock(f"{cache}.lock"), self.open_reader() as reader:
            make_room(self._folder, cache)
            arrays = encode_tiles(
                reader.read,
                len(self.tiles),
                open_session(stem, device=config.device),
                cache,
                key=key,
                views=config.cached_views,
                outputs=names,
                augment=augment if config.stain_jitter else None,
                progress=self._progress,
            )
            # Within the lock, without which what was just encoded may have to go.
            self._open_encoded(classifier, exported, weights).put(
                self._rows,
                1 if config.stain_jitter else config.cached_views,
                arrays["features"],
            )
        return dict(arrays)

    def _make_key(self, depth: Depth, weights: str) -> str:
        config = self._config
        return hash_object(
            {
                "tiles": self._folder.sha256,
                "rows": list(self.tiles["tile_id"]),
                "encoder": config.encoder,
                "weights": weights,
                "depth": depth,
                "views": config.cached_views,
                "stain_jitter": config.stain_jitter,
                "seed": config.seed if config.stain_jitter else 0,
            }
        )

    def _find_part(self, key: str) -> Path:
        return self._folder.path / CACHE_NAME / f"{self._config.encoder}-{key[:16]}"
