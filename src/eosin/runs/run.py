"""A finished run of `eosin train`, as later steps read it."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import (
    BagScores,
    ClinicalEncoding,
    caution_clinical,
    caution_unknown,
)
from eosin.cohorts import SPLITS, find_patient_key, name_patient
from eosin.core import (
    ManifestError,
    ModelError,
    atomic_path,
    hash_file,
    hash_object,
    raising,
    read_csv,
    read_parquet,
    read_record,
)
from eosin.inference import BagHead
from eosin.runs.card import CARD_FILE, Card, Sees
from eosin.settings import Device

SPLITS_FILE = "splits.csv"
PREDICTIONS_FILE = "predictions.parquet"
ENCODER_FILE = "encoder.onnx"
SPLIT_COLUMNS = ("fold", "id", "slide_id", "patient_id", "label", "split")
"""Of `splits.csv`: one row for each fold, unit and slide of the unit."""

_TEXT = dict.fromkeys(SPLIT_COLUMNS[1:], str)


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder.

    Attributes:
        path: The folder.
        card: What must be known of its models.
        record: Its `run.json`.
    """

    path: Path
    card: Card
    record: Mapping[str, Any]

    @cached_property
    def splits(self) -> pd.DataFrame:
        """Who trained, validated and tested: columns `SPLIT_COLUMNS`."""
        path = self.path / SPLITS_FILE
        with raising(ModelError, f"{path}: cannot be read", remedy="train again"):
            table = read_csv(path, kind=ModelError, dtype=_TEXT, keep_default_na=False)
            table = table[list(SPLIT_COLUMNS)].astype({"fold": int})
            if not table["split"].isin(SPLITS).all():
                raise ValueError("a row is in no split")
            return self._require_folds(table)

    @cached_property
    def held_out(self) -> pd.DataFrame:
        """What each fold says of the units that it did not train on.

        Columns `fold, id, slide_id, patient_id, label, split` and `logit_<i>`; `label`
        is a number, missing where a unit has none.
        """
        path = self.path / PREDICTIONS_FILE
        with raising(ModelError, f"{path}: cannot be read", remedy="train again"):
            table: pd.DataFrame = read_parquet(path).to_pandas()
            names = {n for n in map(str, table) if n.startswith("logit_")}
            order = [f"logit_{i}" for i in range(len(names))]
            n_classes = len(self.card.class_names)
            if names != set(order) or len(names) not in (n_classes, n_classes - 1):
                raise ValueError(f"{', '.join(sorted(names))} of {n_classes} classes")
            if not np.isfinite(table[order].to_numpy(np.float64)).all():
                raise ValueError("a logit is not finite")
            others = [name for name in table if name not in names]
            return self._require_folds(table[[*others, *order]])

    def _require_folds(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table whose folds are those of the card."""
        if not table["fold"].isin(range(len(self.card.folds))).all():
            raise ValueError(f"a fold is none of {len(self.card.folds)}, from 0")
        return table

    @property
    def notes(self) -> Mapping[str, Any]:
        """What the training noted: where its `tiles`, `features` or `bags` were."""
        notes: Mapping[str, Any] = self.record.get("notes", {})
        return notes

    def find_source(self, name: str) -> Path | None:
        """Return where the training's `tiles`, `features` or `bags` were, if any."""
        place = self.notes.get(name)
        return None if place is None else Path(place)

    @property
    def encoder(self) -> Path | None:
        """The encoder's graph that goes with a bag model; None where it has none."""
        path = self.path / ENCODER_FILE
        return path if path.is_file() else None

    def open_heads(self, device: Device = "auto") -> list[BagHead]:
        """Open the models of all folds of a bag model, fold by fold."""
        return [
            BagHead(
                self.path / stem,
                clinical=ClinicalEncoding.from_config(fold.clinical)
                if fold.clinical
                else None,
                device=device,
            )
            for fold in self.card.folds
            for stem in fold.models
        ]

    def caution_clinical(self, table: pd.DataFrame) -> tuple[str, ...]:
        """Say what a slide table's clinical columns are taken for by the models."""
        known = [fold.clinical for fold in self.card.folds if fold.clinical]
        encodings = [ClinicalEncoding.from_config(columns) for columns in known]
        return (
            *caution_clinical(table, self.card.columns),
            *caution_unknown(encodings, table),
        )

    def pool_folds(self, scores: Sequence[BagScores]) -> npt.NDArray[np.float64]:
        """Turn what `open_heads` say of one bag into each fold's probabilities.

        The models of one fold (its seeds) are averaged by their logits, as in training.
        `(folds, classes)`; their mean is what the run says.
        """
        each = iter(scores)
        logits = [
            np.mean([next(each).logits for _ in fold.models], axis=0)
            for fold in self.card.folds
        ]
        return self.card.target.activate(
            np.array(logits), self.card.together.temperature
        )

    @cached_property
    def sha256(self) -> str:
        """Hash of the models and of all that turns their output into calls."""
        names = (CARD_FILE, *self.card.list_model_files())
        return hash_object([hash_file(self.path / name) for name in names])

    def was_seen(
        self, *, slides: Iterable[str] = (), patients: Iterable[str] = ()
    ) -> bool:
        """Say whether models were trained or chosen on any of these."""
        seen_slides, seen_patients = self._seen
        return not (
            seen_slides.isdisjoint(map(str, slides))
            and seen_patients.isdisjoint(name_patient(str(p)) for p in patients)
        )

    @cached_property
    def _seen(self) -> tuple[set[str], set[str]]:
        # With folds each patient has trained some model.
        rows = self.splits[self.splits["split"].isin(("train", "val"))]
        return set(rows["slide_id"]), set(rows["patient_id"].map(name_patient))

    def require_unseen(self, slides: pd.DataFrame, *, where: str) -> None:
        """Stop where an external cohort shares a slide or a patient with training."""
        # The same person may be written otherwise in another table.
        for column, find_key in (("patient_id", find_patient_key), ("slide_id", str)):
            known = set(self.splits[column].map(find_key))
            names = slides[column].astype(str)
            shared = sorted(set(names[names.map(find_key).isin(known)]))
            if shared:
                raise ManifestError(
                    f"{where}: an external cohort must be unseen, and {len(shared)} "
                    f"{column}(s) were in the training cohort "
                    f"({', '.join(shared[:5])}), whatever their case and zeros; leave "
                    "them out, or rename them if they are others by the same name"
                )

    def require_like(self, other: Sees, *, where: str, advice: str) -> None:
        """Stop where tiles or features are not those that the models learnt from."""
        if problems := self.card.sees.find_differences(other):
            raise ModelError(
                f"{where}: the model of {self.path} was trained on "
                f"{'; '.join(problems)}; {advice}"
            )

    def require_classes(self, class_names: Iterable[str], *, where: str) -> None:
        """Stop where others have other classes, or another order of them."""
        names = tuple(class_names)
        if names != self.card.class_names:
            raise ModelError(
                f"{where}: the model of {self.path} tells "
                f"{', '.join(self.card.class_names)} apart, these have "
                f"{', '.join(names)}"
            )


def keep_encoder(graph: Path, folder: Path) -> None:
    """Copy an encoder's graph beside the features or models that were made by it."""
    copy = folder / ENCODER_FILE
    # An equal file keeps its date.
    if not copy.exists() or hash_file(copy) != hash_file(graph):
        with atomic_path(copy) as temporary:
            shutil.copyfile(graph, temporary)


def find_logits(rows: pd.DataFrame) -> npt.NDArray[np.floating[Any]]:
    """Return the columns `logit_<i>` of a table, `(rows, outputs)`, as kept."""
    names = [name for name in rows if str(name).startswith("logit_")]
    return rows[names].to_numpy()


def read_run(path: Path) -> Run:
    """Read a run folder; a ModelError where it is no finished run of this version."""
    path = Path(path)
    card = Card.read(path)
    record = read_record(path)
    if record.get("status") != "done":
        raise ModelError(
            f"{path}: its training is {record.get('status', 'not recorded')}, not "
            "done; run the same 'eosin train' again to finish it"
        )
    files = (SPLITS_FILE, PREDICTIONS_FILE, *card.list_model_files())
    if missing := [name for name in files if not (path / name).is_file()]:
        raise ModelError(f"{path}: {', '.join(missing)} is missing; train again")
    return Run(path, card, record)
