"""From features and labels of slides to a cross-validated MIL model and its score."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import Bag, find_feature_files, read_bags
from eosin.cohorts import fold_patients, read_cohort
from eosin.core import (
    CohortError,
    ConfigError,
    Progress,
    hash_file,
    open_run,
    read_json,
    write_json,
)
from eosin.evaluation import (
    EvaluationResult,
    aggregate_slides,
    choose_threshold,
    compute_probabilities,
    evaluate_predictions,
    fit_temperature,
    probability_columns,
    write_predictions,
)
from eosin.models import build_mil_model, predict_bags, save_mil_model
from eosin.training import MILConfig, TrainingBags, train_mil

_OUTPUTS = (
    "attention",
    "card.json",
    "fold_*",
    "history.csv",
    "metrics.json",
    "predictions.parquet",
    "run.json",
    "splits.csv",
    "state",
    "validation.parquet",
)


@dataclass(frozen=True, kw_only=True)
class MILStudyConfig:
    """How a MIL model is trained and scored.

    Attributes:
        classes: Classes in the slide table's column `label`, the negative one first.
        aggregator: The method, one of `eosin.models.AGGREGATORS`.
        per: Whether a bag is a slide, or a patient with all slides together.
        folds: Folds of the cross-validation by patient, 2 or more.
        val_fraction: Share of a fold's training patients that validate, above 0.
        n_seeds: Models per fold, whose probabilities are averaged, 1 or more.
        widths: Widths of the dense layers before the aggregator.
        dropout: Share of the projected features dropped in training, [0, 1).
        epochs: Epochs at most.
        learning_rate: The schedule's peak.
        batch: Bags per step; cohorts are small, and few steps teach little.
        patience: Epochs without a better one before training stops.
        max_instances: Instances of a bag that one step sees at most.
        threshold_rule: How the threshold is chosen on validation.
        n_bootstrap: Resamples of patients for the intervals.
        seed: Of the folds, the weights and the order.
    """

    classes: tuple[str, ...]
    aggregator: str = "gated_attention"
    per: Literal["slide", "patient"] = "slide"
    folds: int = 5
    val_fraction: float = 0.2
    n_seeds: int = 1
    widths: tuple[int, ...] = (256,)
    dropout: float = 0.25
    epochs: int = 50
    learning_rate: float = 5e-4
    batch: int = 4
    patience: int = 10
    max_instances: int = 4096
    threshold_rule: str = "youden"
    n_bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise ConfigError(
                "two classes or more are needed, the negative one first, such as "
                f"classes=normal,tumor; got {', '.join(self.classes) or 'none'}"
            )
        if self.n_seeds < 1:
            raise ConfigError(f"n_seeds must be 1 or more, got {self.n_seeds}")
        if not 0 < self.val_fraction < 1:
            raise ConfigError(
                f"val_fraction must lie between 0 and 1, got {self.val_fraction:g}"
            )

    @property
    def training(self) -> MILConfig:
        """The settings of one training."""
        return MILConfig(
            epochs=self.epochs,
            # With a handful of validation patients an AUC of 1 comes early and often.
            monitor="val_loss",
            learning_rate=self.learning_rate,
            batch=self.batch,
            patience=self.patience,
            max_instances=self.max_instances,
            seed=self.seed,
        )


@dataclass(frozen=True)
class MILStudyResult:
    """What `train_mil_study` made.

    Attributes:
        folder: Where it lies.
        metrics: Level -> metric -> value, low, high, n, as in `metrics.json`.
        cautions: What a reader must know before believing the numbers.
    """

    folder: Path
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    cautions: tuple[str, ...]


def train_mil_study(
    features: Path,
    cohort: Path,
    config: MILStudyConfig,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MILStudyResult:
    """Cross-validate a MIL model by patient.

    In each fold a part of the training patients chooses the best epoch; the folds'
    validation patients together choose temperature and threshold; every patient is
    scored by the fold that held it out.

    Writes `fold_<k>/model_<seed>.keras`, `splits.csv`, `history.csv`,
    `validation.parquet`, `predictions.parquet`, `metrics.json`,
    `attention/<bag>.csv` of the held-out bags, and `run.json`. A killed run goes on
    with the epoch it had reached.

    Args:
        features: Folder of feature files, by `embed_tiles` or another tool.
        cohort: The slide table, a CSV with `slide_id`, `patient_id` and `label`.
        config: How to train.
        out: The folder to write to.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        CohortError: The slide table is wrong, or a class has too few patients.
        ManifestError: Features and slides do not fit together.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    out = Path(out)
    table = _read_labels(features, cohort, config)
    bags = read_bags(features, table, config.classes, per=config.per)
    with open_run(
        out,
        "mil train",
        settings=asdict(config),
        inputs={"cohort": hash_file(Path(cohort))},
        seed=config.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            study = _Study(bags, table, config, out, progress)
            record.notes |= study.run()
        return MILStudyResult(
            out, record.notes["metrics"], tuple(record.notes["cautions"])
        )


def _read_labels(features: Path, cohort: Path, config: MILStudyConfig) -> pd.DataFrame:
    """Read slide ids, patients and labels; the slides themselves may be elsewhere."""
    files = find_feature_files(features)
    table = read_cohort(cohort, class_names=config.classes, needs_files=False).table
    unlabelled = [s for s in table.loc[table["label"].isna(), "slide_id"] if s in files]
    if unlabelled:
        raise CohortError(
            f"{cohort}: every slide needs a label; {len(unlabelled)} have none, such "
            f"as {unlabelled[0]}"
        )
    names = {name.lower(): name for name in config.classes}
    return table.assign(label=[names[str(label).lower()] for label in table["label"]])


class _Study:
    """The folds of one study."""

    def __init__(
        self,
        bags: Sequence[Bag],
        table: pd.DataFrame,
        config: MILStudyConfig,
        out: Path,
        progress: Progress,
    ) -> None:
        self._bags, self._config = bags, config
        self._out, self._progress = out, progress
        self._labels = np.array([bag.label for bag in bags], np.int64)
        patients = [str(bag.patient_id) for bag in bags]
        folds = fold_patients(
            table,
            n_folds=config.folds,
            val_fraction=config.val_fraction,
            negative=config.classes[0],
            seed=config.seed,
        )
        own = [
            dict(zip(table["patient_id"].astype(str), split, strict=True))
            for split in folds
        ]
        self._splits = [np.array([fold[p] for p in patients]) for fold in own]

    def run(self) -> dict[str, Any]:
        """Train and score every fold; return the numbers."""
        config = self._config
        logits = [self._run_fold(fold) for fold in range(config.folds)]
        self._write_splits()
        validation, test = self._pool(logits, "val"), self._pool(logits, "test")
        fit = fit_temperature(validation[1], self._labels[validation[0]])
        tables = {
            split: self._tabulate(
                rows, compute_probabilities(values, fit.temperature), split
            )
            for split, (rows, values) in (("val", validation), ("test", test))
        }
        threshold, caution = self._choose_threshold(tables["val"])
        result = evaluate_predictions(
            tables["test"],
            class_names=config.classes,
            threshold=None,
            slide_threshold=threshold,
            n_bootstrap=config.n_bootstrap,
            seed=config.seed,
        )
        write_predictions(
            self._out / "validation.parquet", tables["val"], config.classes
        )
        write_predictions(
            self._out / "predictions.parquet", tables["test"], config.classes
        )
        return self._write_numbers(result, fit.temperature, threshold, caution)

    def _write_numbers(
        self,
        result: EvaluationResult,
        temperature: float,
        threshold: float | None,
        caution: str | None,
    ) -> dict[str, Any]:
        config = self._config
        write_json(self._out / "metrics.json", result.metrics)
        write_json(
            self._out / "card.json",
            {
                "format": "mil 1",
                "aggregator": config.aggregator,
                "class_names": list(config.classes),
                "dimension": self._bags[0].n_features,
                "temperature": temperature,
                "threshold": threshold,
                "threshold_rule": config.threshold_rule,
                "per": config.per,
                "models": [
                    f"fold_{fold}/model_{seed}.keras"
                    for fold in range(config.folds)
                    for seed in range(config.n_seeds)
                ],
            },
        )
        cautions = [*result.cautions, *([f"Threshold: {caution}."] if caution else [])]
        return {"metrics": result.metrics, "cautions": cautions}

    def _run_fold(self, fold: int) -> npt.NDArray[np.float64]:
        """Train a fold's models; return every held-out bag's mean logits."""
        config = self._config
        split = self._splits[fold]
        bags = TrainingBags(
            self._bags,
            np.flatnonzero(split == "train"),
            np.flatnonzero(split == "val"),
            config.classes,
        )
        held = np.flatnonzero(split != "train")
        found, histories = [], []
        for seed in range(config.n_seeds):
            state = self._out / "state" / f"fold_{fold}_{seed}"
            if not (state / "result.json").exists():
                self._fit(fold, seed, bags, held, state)
            content = read_json(state / "result.json")
            found.append(content["logits"])
            histories.append(pd.DataFrame(content["history"]).assign(seed=seed))
        self._keep_history(fold, pd.concat(histories, ignore_index=True))
        logits = np.full((len(split), np.shape(found)[2]), np.nan)
        logits[held] = np.mean(found, axis=0)
        return logits

    def _fit(
        self,
        fold: int,
        seed: int,
        bags: TrainingBags,
        held: npt.NDArray[np.int64],
        state: Path,
    ) -> None:
        config = self._config
        model = build_mil_model(
            config.aggregator,
            dimension=bags.n_features,
            n_classes=len(config.classes),
            widths=config.widths,
            dropout=config.dropout,
            seed=1000 * seed + config.seed,
        )
        state.mkdir(parents=True, exist_ok=True)
        fit = train_mil(
            model,
            bags,
            config.training,
            checkpoint=state / "training.npz",
            progress=self._progress,
        )
        self._progress.say(
            f"fold {fold}, seed {seed}: best epoch {fit.best.epoch}, validation loss "
            f"{fit.best.val_loss:.4f}"
        )
        save_mil_model(model, self._out / f"fold_{fold}" / f"model_{seed}.keras")
        predictions = predict_bags(model, [self._bags[row] for row in held])
        for row, prediction in zip(held, predictions, strict=True):
            if seed == 0 and self._splits[fold][row] == "test":
                self._write_attention(self._bags[row], prediction.attention)
        history = fit.history.astype(object).where(fit.history.notna(), None)
        write_json(
            state / "result.json",
            {
                "logits": [p.logits.astype(float).tolist() for p in predictions],
                "history": history.to_dict("records"),
            },
        )

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

    def _pool(
        self, logits: Sequence[npt.NDArray[np.float64]], split: str
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
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

    def _choose_threshold(
        self, validation: pd.DataFrame
    ) -> tuple[float | None, str | None]:
        classes = self._config.classes
        if len(classes) > 2:
            return None, None
        slides = validation[validation["level"] == "slide"]
        choice = choose_threshold(
            slides["label"].to_numpy(np.int64),
            slides[probability_columns(classes)[1]].to_numpy(),
            rule=self._config.threshold_rule,
        )
        return choice.threshold, choice.caution
