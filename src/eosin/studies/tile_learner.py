"""Training one fold: encode once, fit the head, fine-tune, export, check."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import ModelError, Progress
from eosin.inference import count_at_once, open_session, score_by_features
from eosin.models import export_onnx, save_model
from eosin.settings import TileTraining, TuneFit
from eosin.studies.folds import Fitted
from eosin.studies.study import Study
from eosin.studies.tile_inputs import TileInputs
from eosin.tiles import N_VIEWS, StainJitter, TileFolder, apply_view
from eosin.training import (
    FINE_TUNE_STAGE,
    CachedViews,
    EpochMetrics,
    FitResult,
    Listeners,
    PixelTiles,
    SnapshotKeeper,
    Views,
    fine_tune,
    fit_head,
    plan_unfreezing,
)

_CHECKED_TILES = 64
_TOLERANCE = 1e-4


class TileLearner:
    """Trains tile classifiers; the encoder runs over each tile once for all folds.

    Models are written to the run folder `out`.
    """

    n_seeds = 1

    def __init__(
        self,
        folder: TileFolder,
        study: Study,
        settings: TileTraining,
        out: Path,
        progress: Progress,
    ) -> None:
        self._folder, self._study, self._config = folder, study, settings
        self._out, self._progress = out, progress
        self._inputs = TileInputs(folder, study.splits, settings, progress)

    def find_model(self, fold: int, seed: int) -> str:
        """Name a fold's model; a single one lies at the top."""
        del seed
        return f"fold_{fold}/model.onnx" if self._study.n_folds > 1 else "model.onnx"

    def fit(self, fold: int, seed: int, state: Path) -> Fitted:
        """Train one fold; see `Learner`."""
        path = self._out / self.find_model(fold, seed)
        classifier = self._inputs.build()
        fits = self._fit(classifier, fold, state)
        save_model(classifier, path.with_suffix(".keras"))
        export_onnx(classifier, path)
        self._check_export(classifier, path)
        if self._config.snapshots:
            keeper = SnapshotKeeper(state / "snapshots", self._config.snapshots)
            keeper.export(path.parent / "snapshots")
        warnings = [warning for fit in fits for warning in fit.warnings]
        held = [self._score(fold, split, path, warnings) for split in ("val", "test")]
        return Fitted(
            held_out=pd.concat(held, ignore_index=True),
            history=pd.concat([fit.history for fit in fits], ignore_index=True),
            warnings=tuple(warnings),
        )

    def _score(
        self, fold: int, split: str, path: Path, warnings: list[str]
    ) -> pd.DataFrame:
        """Score every studied tile of the slides of one split, labelled or not."""
        scored = score_by_features(
            self._folder,
            self._inputs.find_tiles(fold, split),
            [path],
            views=self._config.views,
            device=self._config.device,
            progress=self._progress,
        )
        if scored.n_unreadable:
            side = "validation" if split == "val" else "held-out"
            warnings.append(f"{scored.n_unreadable} {side} tiles are damaged.")
        table = scored.tiles[["tile_id", "slide_id", "patient_id", "label"]]
        table = table.rename(columns={"tile_id": "id"}).assign(split=split)
        return table.join(pd.DataFrame(scored.logits).add_prefix("logit_"))

    def _fit(self, classifier: Any, fold: int, state: Path) -> list[FitResult]:
        """Run the stages that the config asks for."""
        config, tiles = self._config, self._inputs.arrange(fold)
        on_best: Callable[[EpochMetrics], None] | None = None
        if config.snapshots:
            keeper = SnapshotKeeper(state / "snapshots", config.snapshots)
            on_best = partial(keeper.offer, classifier)

        def listen(stage: str) -> Listeners:
            return Listeners(
                state / f"{stage}.npz", self._progress, self._say_epoch, on_best
            )

        fits: list[FitResult] = []
        activations: Views | None = None
        if config.weights != "none" or config.depth != "all":
            arrays = self._inputs.encode(classifier)
            features, activations = arrays["features"], arrays.get("activations")
            fits.append(fit_head(classifier, features, tiles, config, listen("head")))
        if config.depth == "none":
            return fits
        with self._inputs.open_reader() as reader:
            augment = Augmentation(config.stain_jitter)
            pixels = PixelTiles(reader.read, len(self._inputs.tiles), augment=augment)
            # The trunk's activations are those of the untrained encoder, and only the
            # first step leaves it as it is.
            first: PixelTiles | CachedViews = pixels
            if activations is not None:
                first = CachedViews(activations)
            for number, step in enumerate(self._plan(classifier)):
                stage = f"{FINE_TUNE_STAGE}_{number + 1}" if number else FINE_TUNE_STAGE
                source = pixels if number else first
                fits.append(
                    fine_tune(
                        classifier, source, tiles, step, listen(stage), stage=stage
                    )
                )
        return fits

    def _plan(self, classifier: Any) -> tuple[TuneFit, ...]:
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
        session, n_tiles = open_session(path, device="cpu"), len(self._inputs.tiles)
        n = min(_CHECKED_TILES, n_tiles, count_at_once(session.tile_px))
        rows = np.linspace(0, n_tiles - 1, n).astype(np.int64)
        with self._inputs.open_reader() as reader:
            tiles = reader.read(rows)
        exported = session.run(tiles)["logits"]
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
    """Random turns, flips and staining (0 for none) of training tiles."""

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
