"""Training one fold: encode once, fit the head, fine-tune, export, check."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock

from eosin.core import (
    ModelError,
    Progress,
    hash_object,
    read_json,
    write_json,
)
from eosin.inference import encode_tiles, open_session
from eosin.models import (
    Depth,
    build_classifier,
    build_encoder,
    build_stem,
    export_onnx,
    hash_weights,
    save_classifier,
)
from eosin.tiles import N_VIEWS, StainJitter, apply_view
from eosin.training import (
    CachedViews,
    EpochMetrics,
    FitResult,
    PixelTiles,
    TrainingTiles,
    fine_tune,
    fit_head,
)
from eosin.workflows.scoring import score_rows
from eosin.workflows.tile_folder import TileFolder

if TYPE_CHECKING:
    from eosin.workflows.train_tiles import TrainConfig

_CHECKED_TILES = 64
_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class FoldResult:
    """What came of one fold.

    Attributes:
        history: One row per epoch of each stage.
        validation: Every tile of the validation slides, with and without label.
        validation_logits: The exported model's logits of these.
        warnings: What the user should know, as sentences.
    """

    history: pd.DataFrame
    validation: pd.DataFrame
    validation_logits: npt.NDArray[np.float32]
    warnings: tuple[str, ...]


class FoldTrainer:
    """Trains the folds of one run; the encoder runs over each tile once for all.

    Args:
        folder: The tiles.
        splits: One row per fold and slide.
        config: How to train.
        progress: Told how far it is.
    """

    def __init__(
        self,
        folder: TileFolder,
        splits: pd.DataFrame,
        config: "TrainConfig",
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._splits = splits
        self._config = config
        self._progress = progress
        used = set(splits.loc[splits["split"] != "test", "slide_id"])
        is_used = folder.tiles["slide_id"].isin(used) & folder.tiles["label"].notna()
        self._tiles = folder.tiles[is_used].reset_index(drop=True)

    def train(self, fold: int, place: Path, state: Path) -> FoldResult:
        """Train one fold, or take up where it was interrupted.

        Args:
            fold: Its number.
            place: Where `model.keras` and `model.onnx` go.
            state: Where checkpoints and the finished fold's numbers are kept.

        Raises:
            ConfigError: A class has no training tile, or settings contradict.
            ModelError: Training diverged, or the exported model differs.
        """
        slides = self._splits[self._splits["fold"] == fold]
        validation = self._find_validation(slides)
        if (state / "result.json").exists():
            return _read_result(state, validation)
        classifier = self._build()
        fits = self._fit(classifier, self._arrange(slides), state)
        save_classifier(classifier, place / "model.keras")
        export_onnx(classifier, place / "model.onnx")
        self._check_export(classifier, place / "model.onnx")
        scored = score_rows(
            self._folder,
            validation,
            [open_session(place / "model.onnx", device=self._config.device)],
            views=self._config.views,
            progress=self._progress,
        )
        warnings = [warning for fit in fits for warning in fit.warnings]
        if scored.n_unreadable:
            warnings.append(f"{scored.n_unreadable} validation tiles are damaged")
        result = FoldResult(
            pd.concat([fit.history for fit in fits], ignore_index=True),
            scored.tiles,
            scored.logits,
            tuple(warnings),
        )
        _write_result(state, result)
        return result

    def _build(self) -> Any:
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

    def _find_validation(self, slides: pd.DataFrame) -> pd.DataFrame:
        ids = set(slides.loc[slides["split"] == "val", "slide_id"])
        tiles = self._folder.tiles
        return tiles[tiles["slide_id"].isin(ids)].reset_index(drop=True)

    def _arrange(self, slides: pd.DataFrame) -> TrainingTiles:
        split_of = dict(zip(slides["slide_id"], slides["split"], strict=True))
        splits = self._tiles["slide_id"].map(split_of).to_numpy()
        return TrainingTiles(
            labels=self._tiles["label"].to_numpy(np.int64),
            slide_ids=self._tiles["slide_id"].to_numpy(str),
            train_rows=np.flatnonzero(splits == "train"),
            val_rows=np.flatnonzero(splits == "val"),
            class_names=self._folder.info.class_names,
        )

    def _fit(
        self, classifier: Any, tiles: TrainingTiles, state: Path
    ) -> list[FitResult]:
        """Run the stages that the config asks for."""
        config = self._config
        fits: list[FitResult] = []
        activations = None
        if config.weights != "none" or config.depth != "all":
            arrays = self._encode(classifier)
            activations = arrays.get("activations")
            fits.append(
                fit_head(
                    classifier,
                    arrays["features"],
                    tiles,
                    config.head,
                    checkpoint=state / "head.npz",
                    progress=self._progress,
                    on_epoch=self._say_epoch,
                )
            )
        if config.depth == "none":
            return fits
        with self._folder.open_reader(self._tiles) as reader:
            source = (
                CachedViews(activations)
                if activations is not None
                else PixelTiles(
                    reader.read,
                    len(self._tiles),
                    augment=Augmentation(config.stain_jitter),
                )
            )
            fits.append(
                fine_tune(
                    classifier,
                    source,
                    tiles,
                    config.tuning,
                    checkpoint=state / "fine_tune.npz",
                    progress=self._progress,
                    on_epoch=self._say_epoch,
                )
            )
        return fits

    def _encode(self, classifier: Any) -> dict[str, npt.NDArray[Any]]:
        """Encode every training and validation tile in all views, or find it done."""
        config = self._config
        depth: Depth = "last" if config.depth == "last" else "head"
        key = hash_object(
            {
                "tiles": self._folder.sha256,
                "rows": list(self._tiles["tile_id"]),
                "encoder": config.encoder,
                "weights": hash_weights(classifier),
                "depth": depth,
                "views": config.cached_views,
                "stain_jitter": config.stain_jitter,
                "seed": config.seed if config.stain_jitter else 0,
            }
        )
        cache = self._folder.path / "cache" / f"{config.encoder}-{key[:16]}"
        cache.parent.mkdir(parents=True, exist_ok=True)
        stem = cache / "stem.onnx"
        exported = export_onnx(build_stem(classifier, depth), stem)
        jitter = StainJitter(config.stain_jitter)

        def augment(
            tiles: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], view: int
        ) -> npt.NDArray[np.uint8]:
            # View 0 stays as it is: validation looks at it.
            if view == 0 or config.stain_jitter == 0:
                return tiles
            rng = np.random.default_rng((config.seed, view, int(rows[0])))
            return jitter.apply(tiles, rng)

        # A second training of the same tiles waits here, and finds them encoded.
        with FileLock(f"{cache}.lock"), self._folder.open_reader(self._tiles) as reader:
            return encode_tiles(
                reader.read,
                len(self._tiles),
                open_session(stem, device=config.device),
                cache,
                key=key,
                views=config.cached_views,
                outputs=exported.outputs,
                augment=augment,
                progress=self._progress,
            )

    def _check_export(self, classifier: Any, path: Path) -> None:
        """Compare the exported model with the trained one on real tiles."""
        n = min(_CHECKED_TILES, len(self._tiles))
        rows = np.linspace(0, len(self._tiles) - 1, n).astype(np.int64)
        with self._folder.open_reader(self._tiles) as reader:
            tiles = reader.read(rows)
        exported = open_session(path, device="cpu").run(tiles)["logits"]
        trained = np.asarray(
            classifier.predict(tiles.astype(np.float32), batch_size=16, verbose=0)
        )
        worst = float(np.abs(exported - trained).max())
        if not worst < _TOLERANCE * max(1.0, float(np.abs(trained).max())):
            raise ModelError(
                f"{path}: the exported model must give the trained one's logits to "
                f"{_TOLERANCE:g}; on {n} tiles they differ by up to {worst:.2g}; try "
                "another encoder or Keras backend"
            )

    def _say_epoch(self, metrics: EpochMetrics) -> None:
        auc = "-" if metrics.val_roc_auc is None else f"{metrics.val_roc_auc:.4f}"
        self._progress.say(
            f"{metrics.stage.replace('_', '-')} epoch {metrics.epoch}: loss "
            f"{metrics.loss:.4f}, validation loss {metrics.val_loss:.4f}, AUC {auc}"
        )


class Augmentation:
    """Random turns, flips and staining of training tiles.

    Args:
        stain_jitter: Strength of the staining, 0 for none.
    """

    def __init__(self, stain_jitter: float) -> None:
        self._jitter = StainJitter(stain_jitter)
        self._has_jitter = stain_jitter > 0

    def __call__(
        self, tiles: npt.NDArray[np.uint8], rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Augment `(tiles, px, px, 3)`."""
        views = rng.integers(N_VIEWS, size=len(tiles))
        turned = np.empty_like(tiles)
        for view in np.unique(views):
            turned[views == view] = apply_view(tiles[views == view], int(view))
        return self._jitter.apply(turned, rng) if self._has_jitter else turned


def _write_result(state: Path, result: FoldResult) -> None:
    write_json(
        state / "result.json",
        {
            "history": result.history.astype(object)
            .where(result.history.notna(), None)
            .to_dict("records"),
            "tile_ids": list(result.validation["tile_id"]),
            "logits": result.validation_logits.astype(float).tolist(),
            "warnings": list(result.warnings),
        },
    )


def _read_result(state: Path, validation: pd.DataFrame) -> FoldResult:
    content = read_json(state / "result.json")
    tiles = validation.set_index("tile_id").loc[content["tile_ids"]].reset_index()
    history = pd.DataFrame(content["history"])
    return FoldResult(
        history.astype({"val_roc_auc": "float64"}),
        tiles[validation.columns],
        np.array(content["logits"], np.float32),
        tuple(content["warnings"]),
    )
