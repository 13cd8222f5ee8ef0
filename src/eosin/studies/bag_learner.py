"""Training models of bags: on features, or with their encoder on pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import Bag, BagScores, fit_clinical
from eosin.core import Progress, atomic_path, to_file_name
from eosin.inference import BagHead
from eosin.models import (
    MILModel,
    build_mil_model,
    build_pixel_mil_model,
    check_mil_export,
    export_mil_model,
    predict_bags,
    save_model,
)
from eosin.settings import BagModel, BagTraining, PixelTraining
from eosin.studies.folds import Fitted
from eosin.studies.nested_choices import Choice, choose_settings
from eosin.studies.splits import Sides
from eosin.studies.study import BagStudy
from eosin.training import FitResult, Listeners, TrainingBags, train_mil

_CHECKED_BAGS = 2
_CHECKPOINT = "training.npz"


class BagLearner:
    """Trains models of bags of features.

    Args:
        study: The bags.
        settings: How to train.
        out: The run folder, to which models are written.
        progress: Told how far it is.
    """

    def __init__(
        self, study: BagStudy, settings: BagTraining, out: Path, progress: Progress
    ) -> None:
        self._study, self._settings = study, settings
        self._out, self._progress = out, progress
        self.n_seeds = settings.n_seeds
        self._choices: dict[int, Choice] = {}

    def find_model(self, fold: int, seed: int) -> str:
        """Name the stem of a model's files."""
        return f"fold_{fold}/model_{seed}"

    def fit(self, fold: int, seed: int, state: Path) -> Fitted:
        """Train one model; see `Learner`."""
        study, split = self._study, self._study.sides[fold]
        settings = self._choose(fold)
        model, fit = self.train(split, settings, seed, state)
        self._progress.say(
            f"fold {fold}, seed {seed}: best epoch {fit.best.epoch}, validation loss "
            f"{fit.best.val_loss:.4f}"
        )
        self._export(model, fold, seed)
        held = np.flatnonzero((split == "val") | (split == "test"))
        predictions = predict_bags(model, [study.bags[int(row)] for row in held])
        for row, prediction in zip(held, predictions, strict=True):
            if seed == 0 and split[row] == "test":
                self._write_attention(study.bags[int(row)], prediction.attention)
        (state / _CHECKPOINT).unlink(missing_ok=True)
        return Fitted(
            held_out=tabulate(study, held, split, predictions),
            history=fit.history,
            facts={
                "aggregator": settings.aggregator,
                "settings": dict(self._choices[fold].settings)
                if fold in self._choices
                else {},
                "clinical": model.clinical.to_config() if model.clinical else None,
            },
            warnings=fit.warnings,
        )

    def train(
        self, split: Sides, settings: BagModel, seed: int, state: Path
    ) -> tuple[MILModel, FitResult]:
        """Train one model on the bags whose split is `train`; `val` stops it.

        Scaling and the encoding of clinical columns come from `train` alone.
        """
        bags = TrainingBags(
            self._study.bags,
            np.flatnonzero(split == "train"),
            np.flatnonzero(split == "val"),
            self._study.class_names,
        )
        model = self._build(bags, settings, seed=1000 * seed + settings.seed)
        state.mkdir(parents=True, exist_ok=True)
        listeners = Listeners(state / _CHECKPOINT, self._progress)
        return model, train_mil(model, bags, settings, listeners)

    def _build(self, bags: TrainingBags, settings: Any, *, seed: int) -> MILModel:
        clinical = None
        if self._study.kinds:
            values = self._study.list_clinical(bags.train_rows)
            clinical = fit_clinical(values, self._study.kinds)
        return build_mil_model(
            settings.aggregator,
            dimension=bags.n_features,
            n_classes=bags.n_classes,
            widths=settings.widths,
            dropout=settings.dropout,
            precision=settings.precision,
            seed=seed,
            clinical=clinical,
        )

    def tabulate_choices(self) -> pd.DataFrame | None:
        """List what each fold chose among, and how it scored; None without a choice."""
        if not getattr(self._settings, "choose", ()):
            return None
        # Folds that were finished before an interruption read what they chose.
        folds = range(self._study.n_folds)
        table = pd.concat(
            [self._find_choice(fold).table.assign(fold=fold) for fold in folds]
        )
        table.insert(0, "fold", table.pop("fold"))
        return table

    def _choose(self, fold: int) -> BagModel:
        """Let a fold choose its settings, by its training patients."""
        if not getattr(self._settings, "choose", ()):
            return self._settings
        return self._find_choice(fold).chosen

    def _find_choice(self, fold: int) -> Choice:
        if fold not in self._choices:
            self._choices[fold] = choose_settings(
                self._study,
                self._settings,
                fold,
                self._train_and_score,
                state=self._out / "state" / f"inner_{fold}",
                progress=self._progress,
            )
        return self._choices[fold]

    def _train_and_score(
        self, split: Sides, settings: BagTraining, state: Path
    ) -> Fitted:
        """Train one setting on an inner fold, and score what that holds out."""
        model, fit = self.train(split, settings, 0, state)
        rows = np.flatnonzero(split == "test")
        predictions = predict_bags(model, [self._study.bags[int(row)] for row in rows])
        return Fitted(
            held_out=tabulate(self._study, rows, split, predictions),
            history=fit.history,
        )

    def _export(self, model: MILModel, fold: int, seed: int) -> None:
        """Write a model for Keras and for ONNX Runtime, and compare both."""
        stem = self._out / self.find_model(fold, seed)
        save_model(model, Path(f"{stem}.keras"))
        export_mil_model(model, stem)
        head = BagHead(stem, clinical=model.clinical, device="cpu")
        check_mil_export(model, head.predict, self._study.bags[:_CHECKED_BAGS])

    def _write_attention(self, bag: Bag, attention: npt.NDArray[np.floating]) -> None:
        """Write a held-out bag's attention, the most attended instance first."""
        table = pd.DataFrame({"instance": range(len(bag)), "attention": attention})
        if bag.coords is not None:
            table[["x_px0", "y_px0"]] = bag.coords
        path = self._out / "attention" / f"{to_file_name(bag.bag_id)}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = table.sort_values("attention", ascending=False)
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")


class PixelLearner(BagLearner):
    """Trains an encoder and an aggregator together, on bags of tiles' pixels.

    Args:
        study: The bags, whose instances are `(px * px * 3,)`, uint8.
        settings: How to train.
        tile_px: Side of a tile.
        out: The run folder, to which models are written.
        progress: Told how far it is.
    """

    def __init__(
        self,
        study: BagStudy,
        settings: PixelTraining,
        tile_px: int,
        out: Path,
        progress: Progress,
    ) -> None:
        super().__init__(study, settings, out, progress)  # type: ignore[arg-type]
        self._tile_px = tile_px

    def _build(self, bags: TrainingBags, settings: Any, *, seed: int) -> MILModel:
        return build_pixel_mil_model(
            settings.aggregator,
            settings.encoder,
            tile_px=self._tile_px,
            weights=settings.weights,
            n_classes=bags.n_classes,
            widths=settings.widths,
            dropout=settings.dropout,
            seed=seed,
        )


def tabulate(
    study: BagStudy,
    rows: npt.NDArray[np.int64],
    split: Sides,
    predictions: Sequence[BagScores],
) -> pd.DataFrame:
    """Say of some bags whose they are, and what a model says of them.

    Returns:
        `id, slide_id, patient_id, label, split` and `logit_<i>`; a bag of several
        slides is of the slide that is called as the bag is.
    """
    bags = [study.bags[int(row)] for row in rows]
    table = pd.DataFrame(
        {
            "id": [bag.bag_id for bag in bags],
            "slide_id": [bag.bag_id for bag in bags],
            "patient_id": [str(bag.patient_id) for bag in bags],
            "label": pd.array([bag.label for bag in bags], "Int64"),
            "split": split[rows],
        }
    )
    logits = np.array([p.logits for p in predictions], np.float64)
    return table.join(pd.DataFrame(logits).add_prefix("logit_"))
