"""A finished run of `eosin mil train`, as later steps read it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import Bag
from eosin.core import ModelError, hash_file, hash_object, read_json
from eosin.evaluation import (
    choose_threshold,
    compute_probabilities,
    fit_temperature,
    probability_columns,
)

if TYPE_CHECKING:
    from eosin.models import BagPrediction, MILModel

Floats = npt.NDArray[np.float64]

SOURCES = "sources.csv"
"""What the bags of a run from pixels were drawn from: `slide_id, patient_id, split`."""

MIL_FORMAT = "mil 2"
"""Of a run's files; another one's weights would give other numbers."""
_FILES = ("card.json", "held_out.csv", "run.json", "splits.csv")


@dataclass(frozen=True)
class FoldChoice:
    """What one fold chose on its own validation patients, and on no others.

    Attributes:
        temperature: Logits are divided by it.
        threshold: Probability of class 1 from which a bag is called so; None with
            more than two classes.
        cautions: Why either deserves doubt.
    """

    temperature: float
    threshold: float | None
    cautions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class MILRun:
    """A cross-validated MIL model.

    Attributes:
        path: Its folder.
        class_names: In the order of the labels.
        aggregator: Name of the method.
        per: Whether a bag is a slide, or all slides of a patient.
        temperature: Of the ensemble, fitted on all folds' validation patients.
        threshold: Of the ensemble, chosen likewise; None with more than two classes.
        threshold_rule: How thresholds are chosen.
        models: Of each fold its models' files, relative to `path`.
        splits: `fold`, `bag_id`, `patient_id`, `label` and `split`.
        held_out: `fold`, `bag_id`, `split`, `patient_id`, `label` (a number) and
            `logit_<i>`: what each fold says of its validation and test bags.
        record: `run.json`.
        card: `card.json`.
    """

    path: Path
    class_names: tuple[str, ...]
    aggregator: str
    per: Literal["slide", "patient"]
    temperature: float
    threshold: float | None
    threshold_rule: str
    models: tuple[tuple[str, ...], ...]
    splits: pd.DataFrame
    held_out: pd.DataFrame
    record: Mapping[str, Any]
    card: Mapping[str, Any]

    @property
    def made_from(self) -> Mapping[str, Any]:
        """What the training's features were made from, as far as it is known."""
        found: Mapping[str, Any] = self.record.get("notes", {}).get("made_from", {})
        return found

    @property
    def features(self) -> Path | None:
        """Where the training's features were."""
        found = self.record.get("notes", {}).get("features")
        return Path(found) if found else None

    @property
    def clinical(self) -> tuple[str, ...]:
        """Columns of the slide table that the models take beside the features."""
        return tuple(self.card.get("clinical") or ())

    @property
    def takes_pixels(self) -> bool:
        """Whether its models take tiles' pixels, not features."""
        return "encoder" in self.card

    @property
    def tiles(self) -> Path | None:
        """Where the tiles were that a run from pixels learnt from."""
        found = self.record.get("notes", {}).get("tiles")
        return Path(found) if found else None

    def is_seen(
        self, bag_id: str, *, patients: Iterable[str], slides: Iterable[str] = ()
    ) -> bool:
        """Say whether models learnt from this bag, its patients or its slides.

        Args:
            bag_id: Of the bag. Names of drawn bags come again in other tables, so
                that a run from pixels goes by patients and slides alone.
            patients: Of the bag.
            slides: Of the bag.

        Raises:
            ModelError: A run from pixels does not say what its bags were drawn from.
        """
        if not self.takes_pixels:
            splits = self.splits
            is_known = bag_id in set(splits["bag_id"])
            return is_known or not set(splits["patient_id"]).isdisjoint(patients)
        sources = self.sources
        sources = sources[sources["split"] != "test"]
        return not (
            set(sources["patient_id"]).isdisjoint(patients)
            and set(sources["slide_id"]).isdisjoint(slides)
        )

    @cached_property
    def sources(self) -> pd.DataFrame:
        """What bags were drawn from: `slide_id`, `patient_id` and `split`.

        Raises:
            ModelError: A run from pixels does not say so.
        """
        path = self.path / SOURCES
        if not path.is_file():
            raise ModelError(
                f"{self.path}: has no {SOURCES}, which says what its bags were drawn "
                "from; train again"
            )
        return pd.read_csv(path, dtype=str, keep_default_na=False)

    @property
    def sha256(self) -> str:
        """Hash of the models and of all that turns their output into calls."""
        names = ("card.json", *(name for fold in self.models for name in fold))
        return hash_object([hash_file(self.path / name) for name in names])

    def find_probabilities(self, rows: pd.DataFrame, temperature: float) -> Floats:
        """Turn logits of `held_out` into probabilities, `(rows, classes)`."""
        columns = [name for name in rows if str(name).startswith("logit_")]
        return compute_probabilities(rows[columns].to_numpy(np.float64), temperature)

    def choose_by_fold(self) -> tuple[FoldChoice, ...]:
        """Choose temperature and threshold of each fold on its validation alone.

        A fold's test patients validate in other folds, so that what all folds choose
        together has seen them.
        """
        return tuple(self._choose(fold) for fold in range(len(self.models)))

    def _choose(self, fold: int) -> FoldChoice:
        held = self.held_out
        rows = held[(held["fold"] == fold) & (held["split"] == "val")]
        labels = rows["label"].to_numpy(np.int64)
        columns = [name for name in rows if str(name).startswith("logit_")]
        fit = fit_temperature(rows[columns].to_numpy(np.float64), labels)
        cautions = [f"temperature: {fit.caution}"] if fit.caution else []
        if len(self.class_names) > 2:
            return FoldChoice(fit.temperature, None, tuple(cautions))
        probabilities = self.find_probabilities(rows, fit.temperature)
        choice = choose_threshold(labels, probabilities[:, 1], rule=self.threshold_rule)
        if choice.caution:
            cautions.append(f"threshold: {choice.caution}")
        return FoldChoice(fit.temperature, choice.threshold, tuple(cautions))


def list_fold_cautions(choices: Sequence[FoldChoice]) -> list[str]:
    """Say why folds' choices deserve doubt, one sentence for each reason."""
    folds: dict[str, list[str]] = {}
    for fold, choice in enumerate(choices):
        for text in choice.cautions:
            folds.setdefault(text, []).append(str(fold))
    return [
        f"Fold{'s' * (len(own) > 1)} {', '.join(own)}, {text}."
        for text, own in folds.items()
    ]


def is_held_out(side: str) -> bool:
    """Say whether bags of this side of a bag table are held out once."""
    return side == "test" or side.startswith("fold_")


def open_mil_run(path: Path) -> MILRun:
    """Read the folder of a finished `eosin mil train`.

    Raises:
        ModelError: It is none, is unfinished, or lacks a file.
    """
    path = Path(path)
    missing = [name for name in _FILES if not (path / name).is_file()]
    if missing:
        raise ModelError(
            f"{path}: a folder that 'eosin mil train' has finished is needed, with "
            f"{', '.join(_FILES)} in it; it has no {', '.join(missing)}"
        )
    card, record = read_json(path / "card.json"), read_json(path / "run.json")
    if card.get("format") != MIL_FORMAT:
        raise ModelError(
            f"{path / 'card.json'}: describes no MIL model (format "
            f"{card.get('format')}, this version reads '{MIL_FORMAT}'); classifiers "
            "have 'eosin evaluate' and 'eosin predict'"
        )
    if record.get("status") != "done":
        raise ModelError(
            f"{path}: its training is {record.get('status')}, not done; run the same "
            "'eosin mil train' again to finish it"
        )
    folds = _group_models(card["models"])
    if lost := [n for fold in folds for n in fold if not (path / n).is_file()]:
        raise ModelError(f"{path}: the model {lost[0]} is missing; train again")
    names = tuple(card["class_names"])
    splits = _read_table(path / "splits.csv")
    return MILRun(
        path=path,
        class_names=names,
        aggregator=card["aggregator"],
        per=card["per"],
        temperature=float(card["temperature"]),
        threshold=card["threshold"],
        threshold_rule=card["threshold_rule"],
        models=folds,
        splits=splits,
        held_out=_join_held_out(_read_table(path / "held_out.csv"), splits, names),
        record=record,
        card=card,
    )


@dataclass(frozen=True, eq=False)
class EnsemblePrediction:
    """What the folds together say of one bag.

    Attributes:
        probabilities: `(classes,)`, the mean over the folds.
        by_fold: `(folds, classes)`.
        attention: `(instances,)`, the mean over all models; it sums to 1.
        instance_probabilities: `(instances, classes)`, the mean over all models. None
            where the method scores no instances.
    """

    probabilities: Floats
    by_fold: Floats
    attention: Floats
    instance_probabilities: Floats | None


class MILEnsemble:
    """All models of a run, whose folds' probabilities are averaged.

    The models of one fold (its seeds) are averaged by their logits, as in training.

    Args:
        run: The run.

    Raises:
        ModelError: A model cannot be read.
    """

    def __init__(self, run: MILRun) -> None:
        # Keras takes seconds to import: only when there is work for it.
        from eosin.models import load_mil_model  # noqa: PLC0415  as said

        self._run = run
        self._folds: list[list[MILModel]] = [
            [load_mil_model(run.path / name) for name in fold] for fold in run.models
        ]

    def predict(self, bags: Sequence[Bag]) -> list[EnsemblePrediction]:
        """Score bags by every model.

        Raises:
            ManifestError: A bag is not finite, or too large for the method.
            ModelError: A bag has another number of features than the models take.
        """
        from eosin.models import predict_bag, predict_bags  # noqa: PLC0415  as above

        if self._run.takes_pixels:
            # A tile costs more to read than features do: once for all models.
            models = [model for fold in self._folds for model in fold]
            return [self._average(self._group(predict_bag(models, b))) for b in bags]
        found = [[predict_bags(m, bags) for m in fold] for fold in self._folds]
        return [
            self._average([[told[row] for told in fold] for fold in found])
            for row in range(len(bags))
        ]

    def _group(self, told: Sequence["BagPrediction"]) -> list[list["BagPrediction"]]:
        """Group what all models say of one bag by their folds."""
        left = iter(told)
        return [[next(left) for _ in fold] for fold in self._folds]

    def _average(
        self, folds: Sequence[Sequence["BagPrediction"]]
    ) -> EnsemblePrediction:
        """Average what the folds' models say of one bag."""
        logits = np.array([np.mean([p.logits for p in fold], axis=0) for fold in folds])
        by_fold = compute_probabilities(logits, self._run.temperature)
        every = [p for fold in folds for p in fold]
        instances = None
        scored = [p.instance_logits for p in every if p.instance_logits is not None]
        # Folds may have chosen different methods, of which one scores no instances.
        if len(scored) == len(every):
            parts = [compute_probabilities(logits) for logits in scored]
            instances = np.mean(parts, axis=0)
        return EnsemblePrediction(
            by_fold.mean(axis=0),
            by_fold,
            np.mean([p.attention for p in every], axis=0, dtype=np.float64),
            instances,
        )


def tabulate_slides(
    bags: Sequence[Bag],
    probabilities: Floats,
    class_names: Sequence[str],
    *,
    split: str,
) -> pd.DataFrame:
    """Make the slide rows of a prediction table, one for each bag."""
    table = pd.DataFrame(
        {
            "level": "slide",
            "id": [bag.bag_id for bag in bags],
            "slide_id": [bag.bag_id for bag in bags],
            "patient_id": [str(bag.patient_id) for bag in bags],
            "split": split,
            "label": pd.array([bag.label for bag in bags], "Int64"),
        }
    )
    table[probability_columns(class_names)] = probabilities
    return table


def _group_models(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Group models' files by the folder of their fold, in order."""
    folds: dict[str, list[str]] = {}
    for name in names:
        folds.setdefault(Path(name).parts[0], []).append(name)
    return tuple(tuple(fold) for fold in folds.values())


def _read_table(path: Path) -> pd.DataFrame:
    text = dict.fromkeys(("bag_id", "patient_id", "label", "split"), str)
    return pd.read_csv(path, dtype=text, keep_default_na=False)


def _join_held_out(
    held_out: pd.DataFrame, splits: pd.DataFrame, class_names: Sequence[str]
) -> pd.DataFrame:
    """Give each row of `held_out.csv` its split, patient and label."""
    number = {name: index for index, name in enumerate(class_names)}
    known = splits.assign(label=splits["label"].map(number))
    return held_out.merge(known, on=["fold", "bag_id"], how="left", validate="1:1")
