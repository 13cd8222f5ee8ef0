"""From features and labels of slides to a cross-validated MIL model and its score."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from eosin.core import ConfigError, Progress, hash_file, open_run
from eosin.models import find_aggregator
from eosin.training import ClassWeights, MILConfig
from eosin.workflows.mil_choices import divide_inner, list_settings
from eosin.workflows.mil_cohort import (
    check_features,
    divide_patients,
    read_mil_cohort,
)
from eosin.workflows.mil_features import describe_features, hash_features
from eosin.workflows.mil_run import MIL_FORMAT
from eosin.workflows.mil_study import MILStudy

MIL_OUTPUTS = (
    "attention",
    "card.json",
    "choices.csv",
    "fold_*",
    "held_out.csv",
    "history.csv",
    "metrics.json",
    "predictions.parquet",
    "run.json",
    "sources.csv",
    "splits.csv",
    "state",
    "validation.parquet",
)
"""What a MIL study writes to its folder."""


@dataclass(frozen=True, kw_only=True)
class MILStudyConfig:
    """How a MIL model is trained and scored.

    Attributes:
        classes: Classes in the slide table's column `label`, the negative one first.
        aggregator: The method, one of `eosin.models.AGGREGATORS`.
        per: Whether a bag is a slide, or a patient with all slides together.
        folds: Folds of the cross-validation by patient, 2 or more.
        val_fraction: Share of a fold's training patients that validate, above 0.
        n_seeds: Models per fold, from other first weights, whose logits are averaged,
            1 or more.
        columns: Further columns of the slide table that the models take beside the
            features, such as age and sex.
        choose: What each fold chooses by its own training patients: texts of the form
            `field=value,value`, of the fields in `mil_choices.CHOOSABLE`.
        inner_folds: Folds of the training patients by which is chosen, 2 or more.
        missing: Whether slides without features or labels, and features without a
            slide, stop the study or are left out.
        class_weights: Factor of each class in the loss, in label order; `balanced`
            weights each by the inverse of its share of the training bags.
        widths: Widths of the dense layers before the aggregator.
        dropout: Share of the projected features dropped in training, [0, 1).
        epochs: Epochs at most.
        learning_rate: The schedule's peak.
        batch: Bags per step; cohorts are small, and few steps teach little.
        patience: Epochs without a better one before training stops.
        max_instances: Instances of a bag that one step sees at most.
        precision: Of the computation; weights and logits are float32 always.
            `mixed_bfloat16` saves about half the time where the processor has
            instructions for it (AVX512-BF16, AMX, GPUs), and costs time elsewhere.
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
    columns: tuple[str, ...] = ()
    choose: tuple[str, ...] = ()
    inner_folds: int = 3
    missing: Literal["stop", "skip"] = "stop"
    class_weights: ClassWeights = "balanced"
    widths: tuple[int, ...] = (256,)
    dropout: float = 0.25
    epochs: int = 50
    learning_rate: float = 5e-4
    batch: int = 4
    patience: int = 10
    max_instances: int = 4096
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    threshold_rule: str = "youden"
    n_bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        find_aggregator(self.aggregator)
        if len(self.classes) < 2:
            raise ConfigError(
                "two classes or more are needed, the negative one first, such as "
                f"classes=normal,tumor; got {', '.join(self.classes) or 'none'}"
            )
        for name, least in (("folds", 2), ("n_seeds", 1), ("inner_folds", 2)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} must be {least} or more, got {getattr(self, name)}"
                )
        if not 0 < self.val_fraction < 1:
            raise ConfigError(
                f"val_fraction must lie between 0 and 1, got {self.val_fraction:g}"
            )
        if self.choose:
            list_settings(self)

    @property
    def training(self) -> MILConfig:
        """The settings of one training."""
        return MILConfig(
            epochs=self.epochs,
            # With a handful of validation patients an AUC of 1 comes early and often.
            monitor="val_loss",
            learning_rate=self.learning_rate,
            class_weights=self.class_weights,
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

    In each fold a part of the training patients chooses the best epoch, temperature and
    threshold; every patient is scored by the fold that held it out. What `choose` names
    is chosen in each fold by inner folds of its training patients. For new patients the
    folds are one ensemble, whose temperature and threshold all validation patients
    choose together.

    Writes `fold_<k>/model_<seed>.keras`, `splits.csv`, `history.csv`, `held_out.csv`
    (logits by fold, from which `mil evaluate` chooses), `validation.parquet`,
    `predictions.parquet`, `metrics.json`, `attention/<bag>.csv` of the held-out bags,
    `choices.csv` where something was chosen, and `run.json`. A killed run goes on with
    the epoch it had reached.

    Args:
        features: Folder of feature files, by `embed_tiles` or another tool.
        cohort: The slide table, a CSV with `slide_id`, `patient_id` and `label`.
        config: How to train.
        out: The folder to write to.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        CohortError: The slide table is wrong, or a class has too few patients.
        ManifestError: Features, slides and columns do not fit together, or features
            are not finite.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    out = Path(out)
    found = read_mil_cohort(features, cohort, config)
    splits = divide_patients(found, config)
    if config.choose:
        # Too few patients for it are said before the first fold is trained.
        for fold, split in enumerate(splits):
            divide_inner(found, config, split, fold)
    with open_run(
        out,
        "mil train",
        settings=asdict(config),
        inputs={
            "cohort": hash_file(Path(cohort)),
            "features": hash_features(features),
            # Fold by fold a killed study goes on with files of its own kind only.
            "format": MIL_FORMAT,
        },
        seed=config.seed,
        overwrite=overwrite,
        outputs=MIL_OUTPUTS,
    ) as record:
        if not record.is_done:
            record.notes["features"] = str(Path(features).resolve())
            record.notes["made_from"] = describe_features(features)
            cautions = (*found.cautions, *check_features(found.bags, progress))
            found = replace(found, cautions=cautions)
            record.notes |= MILStudy(found, config, splits, out, progress).run()
        return MILStudyResult(
            out, record.notes["metrics"], tuple(record.notes["cautions"])
        )
