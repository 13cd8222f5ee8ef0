"""Training models of bags: on features, or with their encoder on pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import Bag, BagScores, fit_clinical
from eosin.core import Progress, to_file_name, write_csv
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
from eosin.settings import BagTraining, PixelTraining
from eosin.studies.folds import Fitted
from eosin.studies.nested_choices import Choice, choose_settings
from eosin.studies.splits import Sides
from eosin.studies.study import BagStudy
from eosin.training import FitResult, Listeners, TrainingBags, train_mil

_CHECKED_BAGS = 2
_CHECKPOINT = "training.npz"


class BagLearner:
    """Trains models of bags of features, or with their encoder on tiles' pixels.

    Models are written to the run folder `out`. Instances of pixels are `(px * px *
    3,)`, uint8, of tiles of `tile_px`, which is 0 for features.
    """

    def __init__(
        self,
        study: BagStudy,
        settings: BagTraining | PixelTraining,
        out: Path,
        progress: Progress,
        *,
        tile_px: int = 0,
    ) -> None:
        self._study, self._settings = study, settings
        self._out, self._progress = out, progress
        self._tile_px = tile_px
        self.n_seeds = settings.n_seeds
        self._choices: dict[int, Choice] = {}

    def find_model(self, fold: int, seed: int) -> str:
        """Name the stem of a model's files."""
        return f"fold_{fold}/model_{seed}"

    def fit(self, fold: int, seed: int, state: Path) -> Fitted:
        """Train one model; see `Learner`."""
        split, choice = self._study.sides[fold], self._choose(fold)
        settings = choice.chosen if choice else self._settings
        model, fit = self.train(split, settings, seed, state)
        self._progress.say(
            f"fold {fold}, seed {seed}: best epoch {fit.best.epoch}, validation loss "
            f"{fit.best.val_loss:.4f}"
        )
        self._export(model, fold, seed)
        held = np.flatnonzero((split == "val") | (split == "test"))
        scores = predict_bags(model, self._study.take(held))
        if seed == 0:
            for row, scored in zip(held, scores, strict=True):
                if split[row] == "test":
                    self._write_attention(self._study.bags[int(row)], scored.attention)
        (state / _CHECKPOINT).unlink(missing_ok=True)
        return Fitted(
            held_out=tabulate(self._study.take(held), split[held], scores),
            history=fit.history,
            facts={
                "aggregator": settings.aggregator,
                "settings": dict(choice.settings) if choice else {},
                "clinical": model.clinical.to_config() if model.clinical else None,
            },
            warnings=fit.warnings,
        )

    def train(
        self,
        split: Sides,
        settings: BagTraining | PixelTraining,
        seed: int,
        state: Path,
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

    def _build(
        self, bags: TrainingBags, settings: BagTraining | PixelTraining, *, seed: int
    ) -> MILModel:
        shared: dict[str, Any] = {
            "n_classes": bags.n_classes,
            "widths": settings.widths,
            "dropout": settings.dropout,
            "seed": seed,
        }
        if isinstance(settings, PixelTraining):
            return build_pixel_mil_model(
                settings.aggregator,
                settings.encoder,
                tile_px=self._tile_px,
                weights=settings.weights,
                **shared,
            )
        clinical = None
        if self._study.kinds:
            values = self._study.list_clinical(bags.train_rows)
            clinical = fit_clinical(values, self._study.kinds)
        return build_mil_model(
            settings.aggregator,
            dimension=bags.n_features,
            precision=settings.precision,
            clinical=clinical,
            **shared,
        )

    def tabulate_choices(self) -> pd.DataFrame | None:
        """List what each fold chose among, and how it scored; None without a choice."""
        # Folds that were finished before an interruption read what they chose.
        choices = {fold: self._choose(fold) for fold in range(self._study.n_folds)}
        tables = {fold: choice.table for fold, choice in choices.items() if choice}
        if not tables:
            return None
        return pd.concat(tables, names=["fold", None]).reset_index(level="fold")

    def _choose(self, fold: int) -> Choice | None:
        """Let a fold choose its settings, by its training patients, if it is to."""
        settings = self._settings
        if isinstance(settings, PixelTraining) or not settings.choose:
            return None
        if fold not in self._choices:
            self._choices[fold] = choose_settings(
                self._study,
                settings,
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
        bags = self._study.take(rows)
        held_out = tabulate(bags, split[rows], predict_bags(model, bags))
        return Fitted(held_out=held_out, history=fit.history)

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
        table = table.sort_values("attention", ascending=False)
        write_csv(path, table, float_format="%.6g")


def tabulate(
    bags: Sequence[Bag], split: Sides, scores: Sequence[BagScores]
) -> pd.DataFrame:
    """Say of some bags whose they are, and what a model says of them.

    `id, slide_id, patient_id, label, split` and `logit_<i>`; a bag of several slides is
    of the slide that is called as the bag is.
    """
    table = pd.DataFrame(
        {
            "id": [bag.bag_id for bag in bags],
            "slide_id": [bag.bag_id for bag in bags],
            "patient_id": [str(bag.patient_id) for bag in bags],
            "label": pd.array([bag.label for bag in bags], "Int64"),
            "split": split,
        }
    )
    logits = np.array([bag.logits for bag in scores], np.float64)
    return table.join(pd.DataFrame(logits).add_prefix("logit_"))
