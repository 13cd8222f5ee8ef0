"""Training one fold: encode once, fit the head, fine-tune, export, check."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import (
    ModelError,
    Progress,
    read_json,
    write_json,
)
from eosin.inference import open_session
from eosin.models import export_onnx, save_classifier
from eosin.tiles import N_VIEWS, StainJitter, apply_view
from eosin.training import (
    FINE_TUNE_STAGE,
    CachedViews,
    EpochMetrics,
    FineTuneConfig,
    FitResult,
    PixelTiles,
    SnapshotKeeper,
    fine_tune,
    fit_head,
    plan_unfreezing,
)
from eosin.workflows.fold_inputs import FoldInputs
from eosin.workflows.scoring import score_by_features
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
        validation_logits: Their logits, mean over the views of prediction.
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
        self._config = config
        self._progress = progress
        self._inputs = FoldInputs(folder, splits, config, progress)

    def train(self, fold: int, place: Path, state: Path) -> FoldResult:
        """Train one fold, or take up where it was interrupted.

        Args:
            fold: Its number.
            place: Where `model.keras`, `model.onnx` and `snapshots/` go.
            state: Where checkpoints and the finished fold's numbers are kept.

        Raises:
            ConfigError: A class has no training tile, or settings contradict.
            ModelError: Training diverged, or the exported model differs.
        """
        validation = self._inputs.find_validation(fold)
        if (state / "result.json").exists():
            return _read_result(state, validation)
        classifier = self._inputs.build()
        fits = self._fit(classifier, fold, state)
        save_classifier(classifier, place / "model.keras")
        export_onnx(classifier, place / "model.onnx")
        self._check_export(classifier, place / "model.onnx")
        if self._config.snapshots:
            keeper = SnapshotKeeper(state / "snapshots", self._config.snapshots)
            keeper.export(place / "snapshots")
        warnings = [warning for fit in fits for warning in fit.warnings]
        scored = score_by_features(
            self._folder,
            validation,
            [place / "model.onnx"],
            views=self._config.views,
            device=self._config.device,
            progress=self._progress,
        )
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

    def _fit(self, classifier: Any, fold: int, state: Path) -> list[FitResult]:
        """Run the stages that the config asks for."""
        config = self._config
        tiles = self._inputs.arrange(fold)
        snapshots = SnapshotKeeper(state / "snapshots", max(1, config.snapshots))

        def keep(metrics: EpochMetrics) -> None:
            if config.snapshots:
                snapshots.offer(classifier, metrics)

        shared: dict[str, Any] = {
            "progress": self._progress,
            "on_epoch": self._say_epoch,
            "on_best": keep,
        }
        fits: list[FitResult] = []
        activations = None
        if config.weights != "none" or config.depth != "all":
            arrays = self._inputs.encode(classifier)
            activations = arrays.get("activations")
            fits.append(
                fit_head(
                    classifier,
                    arrays["features"],
                    tiles,
                    config.head,
                    checkpoint=state / "head.npz",
                    **shared,
                )
            )
        if config.depth == "none":
            return fits
        with self._inputs.open_reader() as reader:
            pixels = PixelTiles(
                reader.read,
                len(self._inputs.tiles),
                augment=Augmentation(config.stain_jitter),
            )
            for number, step in enumerate(self._plan(classifier), start=1):
                # The trunk's activations are those of the untrained encoder, and only
                # the first step leaves it as it is.
                source: CachedViews | PixelTiles = pixels
                if number == 1 and activations is not None:
                    source = CachedViews(activations)
                stage = (
                    FINE_TUNE_STAGE if number == 1 else f"{FINE_TUNE_STAGE}_{number}"
                )
                fits.append(
                    fine_tune(
                        classifier,
                        source,
                        tiles,
                        step,
                        checkpoint=state / f"{stage}.npz",
                        stage=stage,
                        **shared,
                    )
                )
        return fits

    def _plan(self, classifier: Any) -> tuple[FineTuneConfig, ...]:
        """List the steps of fine-tuning."""
        config = self._config
        if config.depth != "progressive":
            return (config.tuning,)
        return plan_unfreezing(
            classifier,
            config.tuning,
            n_steps=config.unfreeze_steps,
            factor=config.unfreeze_factor,
        )

    def _check_export(self, classifier: Any, path: Path) -> None:
        """Compare the exported model with the trained one on real tiles."""
        n_tiles = len(self._inputs.tiles)
        n = min(_CHECKED_TILES, n_tiles)
        rows = np.linspace(0, n_tiles - 1, n).astype(np.int64)
        with self._inputs.open_reader() as reader:
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
