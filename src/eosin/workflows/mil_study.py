"""The folds of a MIL study: trained, scored and written down."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import Bag
from eosin.core import Progress, write_json
from eosin.evaluation import (
    aggregate_slides,
    caution_bags,
    choose_threshold,
    compute_probabilities,
    evaluate_predictions,
    fit_temperature,
    probability_columns,
    write_predictions,
)
from eosin.models import MILModel, save_mil_model
from eosin.training import MILFitResult
from eosin.workflows.mil_choices import Choice, choose_settings
from eosin.workflows.mil_cohort import MILCohort
from eosin.workflows.mil_fitting import (
    Fitted,
    fit_model,
    keep_fitted,
    predict_rows,
    read_fitted,
)
from eosin.workflows.mil_run import MIL_FORMAT

if TYPE_CHECKING:
    from eosin.workflows.train_mil import MILStudyConfig

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Calling:
    """How logits become calls; `threshold` is None with more than two classes."""

    temperature: float
    threshold: float | None
    caution: str | None


class MILStudy:
    """The folds of one study.

    Args:
        cohort: What is learnt from.
        config: How.
        splits: Of every fold the split of each bag: `train`, `val` or `test`.
        out: The folder to write to.
        progress: Told how far it is.
        fit: Trains one model; takes and gives what `fit_model` does.
        card: Further entries of `card.json`.
    """

    def __init__(
        self,
        cohort: MILCohort,
        config: "MILStudyConfig",
        splits: Sequence[npt.NDArray[np.str_]],
        out: Path,
        progress: Progress,
        *,
        fit: Callable[..., tuple[MILModel, MILFitResult]] = fit_model,
        card: Mapping[str, Any] | None = None,
    ) -> None:
        self._cohort, self._config, self._splits = cohort, config, splits
        self._out, self._progress = out, progress
        self._bags, self._labels = cohort.bags, cohort.labels
        self._fit_model, self._card = fit, dict(card or {})

    def run(self) -> dict[str, Any]:
        """Train and score every fold; return the numbers."""
        cautions = list(self._cohort.cautions)
        choices = [self._choose(fold) for fold in range(len(self._splits))]
        logits = [self._run_fold(fold, own) for fold, own in enumerate(choices)]
        self._write_splits()
        self._write_choices(choices)
        self._write_held_out(logits)
        tables, ensemble, by_patient = self._judge(logits)
        result = evaluate_predictions(
            tables["test"],
            class_names=self._config.classes,
            threshold=None,
            slide_threshold=ensemble.threshold,
            group_thresholds=(by_patient, {}) if by_patient else None,
            n_bootstrap=self._config.n_bootstrap,
            seed=self._config.seed,
        )
        if "encoder" in self._card:
            result = caution_bags(result)
        for name, split in (("validation", "val"), ("predictions", "test")):
            path = self._out / f"{name}.parquet"
            write_predictions(path, tables[split], self._config.classes)
        self._write_card(ensemble, choices)
        write_json(self._out / "metrics.json", result.metrics)
        if ensemble.caution:
            cautions.append(f"Threshold: {ensemble.caution}.")
        return {
            "metrics": result.metrics,
            "cautions": list(dict.fromkeys((*result.cautions, *cautions))),
        }

    def _judge(
        self, logits: Sequence[Floats]
    ) -> tuple[dict[str, pd.DataFrame], _Calling, dict[str, float]]:
        """Turn logits into predictions.

        Returns:
            Tables of validation and of held-out bags, how the ensemble of all folds
            calls, and the threshold of each held-out patient: that of their fold, which
            has not seen their label.
        """
        everyone = self._pool(logits, "val")
        ensemble = self._fit_calling(*everyone)
        by_patient: dict[str, float] = {}
        held = []
        for fold, split in enumerate(self._splits):
            rows = np.flatnonzero(split == "val")
            own = self._fit_calling(rows, logits[fold][rows])
            rows = np.flatnonzero(split == "test")
            held.append(compute_probabilities(logits[fold][rows], own.temperature))
            if own.threshold is not None:
                patients = self._cohort.patients[rows].tolist()
                by_patient |= dict.fromkeys(patients, own.threshold)
        rows, _ = self._pool(logits, "test")
        tables = {
            "val": self._tabulate(
                everyone[0],
                compute_probabilities(everyone[1], ensemble.temperature),
                "val",
            ),
            "test": self._tabulate(rows, np.concatenate(held), "test"),
        }
        return tables, ensemble, by_patient

    def _fit_calling(self, rows: Rows, logits: Floats) -> _Calling:
        """Choose temperature and threshold on validation bags; of folds the mean."""
        labels = self._labels[rows]
        temperature = fit_temperature(logits, labels).temperature
        if len(self._config.classes) > 2:
            return _Calling(temperature, None, None)
        table = pd.DataFrame(compute_probabilities(logits, temperature))
        mean = table.groupby(rows).mean()
        choice = choose_threshold(
            self._labels[mean.index],
            mean[1].to_numpy(),
            rule=self._config.threshold_rule,
        )
        return _Calling(temperature, choice.threshold, choice.caution)

    def _write_card(self, calling: _Calling, choices: Sequence[Choice]) -> None:
        config = self._config
        methods = dict.fromkeys(choice.config.aggregator for choice in choices)
        write_json(
            self._out / "card.json",
            {
                "format": MIL_FORMAT,
                "aggregator": ", ".join(methods),
                "class_names": list(config.classes),
                "dimension": self._bags[0].n_features,
                "clinical": list(config.columns),
                "temperature": calling.temperature,
                "threshold": calling.threshold,
                "threshold_rule": config.threshold_rule,
                "per": config.per,
                "models": [
                    f"fold_{fold}/model_{seed}.keras"
                    for fold in range(len(self._splits))
                    for seed in range(config.n_seeds)
                ],
                "choices": [dict(choice.settings) for choice in choices],
                **self._card,
            },
        )

    def _write_choices(self, choices: Sequence[Choice]) -> None:
        """Write what each fold chose among, and how it scored."""
        tables = [choice.table.assign(fold=fold) for fold, choice in enumerate(choices)]
        table = pd.concat(tables)
        if len(table):
            table.insert(0, "fold", table.pop("fold"))
            table.to_csv(self._out / "choices.csv", index=False, float_format="%.6g")

    def _choose(self, fold: int) -> Choice:
        """Let a fold choose its settings, by its training patients."""
        return choose_settings(
            self._cohort,
            self._config,
            self._splits[fold],
            fold=fold,
            state=self._out / "state" / f"inner_{fold}",
            progress=self._progress,
        )

    def _run_fold(self, fold: int, choice: Choice) -> Floats:
        """Train a fold's models; return every held-out bag's mean logits."""
        held = np.flatnonzero(self._splits[fold] != "train")
        found = [
            self._fit(fold, seed, choice.config, held)
            for seed in range(self._config.n_seeds)
        ]
        history = [own.history.assign(seed=seed) for seed, own in enumerate(found)]
        self._keep_history(fold, pd.concat(history, ignore_index=True))
        logits = np.full((len(self._bags), found[0].logits.shape[1]), np.nan)
        logits[held] = np.mean([own.logits for own in found], axis=0)
        return logits

    def _fit(
        self, fold: int, seed: int, config: "MILStudyConfig", held: Rows
    ) -> Fitted:
        """Train one model and score what its fold holds out, or read what it gave."""
        state = self._out / "state" / f"fold_{fold}_{seed}"
        if fitted := read_fitted(state):
            return fitted
        split = self._splits[fold]
        model, fit = self._fit_model(
            self._cohort, config, split, seed=seed, state=state, progress=self._progress
        )
        self._progress.say(
            f"fold {fold}, seed {seed}: best epoch {fit.best.epoch}, validation loss "
            f"{fit.best.val_loss:.4f}"
        )
        save_mil_model(model, self._out / f"fold_{fold}" / f"model_{seed}.keras")
        predictions = predict_rows(model, self._cohort, held)
        for row, prediction in zip(held, predictions, strict=True):
            if seed == 0 and split[row] == "test":
                self._write_attention(self._bags[row], prediction.attention)
        keep_fitted(state, predictions, fit.history)
        return read_fitted(state) or Fitted(np.empty(0), fit.history)

    def _write_attention(self, bag: Bag, attention: npt.NDArray[np.floating]) -> None:
        """Write a held-out bag's attention, the most attended instance first."""
        table = pd.DataFrame({"instance": range(len(bag)), "attention": attention})
        if bag.coords is not None:
            table[["x_px0", "y_px0"]] = bag.coords
        path = self._out / "attention" / f"{bag.bag_id}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = table.sort_values("attention", ascending=False)
        table.to_csv(path, index=False, float_format="%.6g")

    def _keep_history(self, fold: int, history: pd.DataFrame) -> None:
        path = self._out / "history.csv"
        older = pd.read_csv(path) if path.exists() and fold else pd.DataFrame()
        whole = pd.concat([older, history.assign(fold=fold)], ignore_index=True)
        whole.to_csv(path, index=False)

    def _write_splits(self) -> None:
        rows = [
            {
                "fold": fold,
                "bag_id": bag.bag_id,
                "patient_id": bag.patient_id,
                "label": self._config.classes[int(label)],
                "split": own,
            }
            for fold, split in enumerate(self._splits)
            for bag, label, own in zip(self._bags, self._labels, split, strict=True)
        ]
        pd.DataFrame(rows).to_csv(self._out / "splits.csv", index=False)

    def _write_held_out(self, logits: Sequence[Floats]) -> None:
        """Write what each fold says of its validation and test bags."""
        parts = []
        for fold, (split, values) in enumerate(zip(self._splits, logits, strict=True)):
            rows = np.flatnonzero(split != "train")
            part = pd.DataFrame(values[rows]).add_prefix("logit_")
            part.insert(0, "fold", fold)
            part.insert(1, "bag_id", [self._bags[int(row)].bag_id for row in rows])
            parts.append(part)
        pd.concat(parts).to_csv(self._out / "held_out.csv", index=False)

    def _pool(
        self, logits: Sequence[Floats], split: str
    ) -> tuple[npt.NDArray[np.int64], Floats]:
        """Join what the folds say of one split's bags: their rows and logits."""
        parts = [
            (np.flatnonzero(own == split), values)
            for own, values in zip(self._splits, logits, strict=True)
        ]
        rows = np.concatenate([held for held, _ in parts])
        return rows, np.concatenate([values[held] for held, values in parts])

    def _tabulate(
        self,
        rows: npt.NDArray[np.int64],
        probabilities: npt.NDArray[np.float64],
        split: str,
    ) -> pd.DataFrame:
        """Make a prediction table of slides and patients; of folds the mean."""
        names = list(probability_columns(self._config.classes))
        table = pd.DataFrame(probabilities, columns=names).assign(row=rows)
        mean = table.groupby("row").mean()
        bags = [self._bags[row] for row in mean.index]
        slides = pd.DataFrame(
            {
                "level": "slide",
                "id": [bag.bag_id for bag in bags],
                "slide_id": [bag.bag_id for bag in bags],
                "patient_id": [str(bag.patient_id) for bag in bags],
                "split": split,
                "label": pd.array(self._labels[mean.index], "Int64"),
            }
        )
        slides[names] = mean[names].to_numpy()
        return aggregate_slides(slides, class_names=self._config.classes)
