"""Dividing patients among train, validation and test.

A patient is never divided. Patients are dealt out class by class, so that each
split gets its share of every class; a patient's class is the commonest positive
label among their rows, or the negative one.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from eosin.cohorts.table import SPLITS, find_divided
from eosin.core import CohortError

DEFAULT_FRACTIONS = (0.6, 0.2, 0.2)


def split_patients(
    table: pd.DataFrame,
    *,
    fractions: Sequence[float] = DEFAULT_FRACTIONS,
    negative: str | None = None,
    seed: int = 0,
) -> pd.Series:
    """Give every row one of train, val and test, by patient.

    Splits that the table gives are kept; a patient with one keeps it for all
    rows. Every class with three patients or more is in all three splits.

    Args:
        table: `patient_id`, `label` (None allowed), and `split` if any are given.
        fractions: Shares of train, val and test; they add up to 1.
        negative: The label that a patient has only if no row has another.
        seed: Decides who goes where.

    Raises:
        CohortError: A patient is given two splits, or a split would be empty.
    """
    given = _find_given(table)
    labels = _label_patients(table, negative)
    rng = np.random.default_rng(seed)
    chosen: dict[str, str] = dict(given)
    for label in sorted(set(labels.values())):
        patients = sorted(p for p, own in labels.items() if own == label)
        free = [p for p in patients if p not in given]
        counts = {s: sum(given.get(p) == s for p in patients) for s in SPLITS}
        wanted = _count_wanted(len(patients), fractions)
        order = [free[i] for i in rng.permutation(len(free))]
        # Held-out splits are filled first: a missing class hurts there most.
        for split in ("test", "val"):
            n = max(0, wanted[split] - counts[split])
            chosen.update(dict.fromkeys(order[:n], split))
            order = order[n:]
        chosen.update(dict.fromkeys(order, "train"))
    splits = table["patient_id"].astype(str).map(chosen)
    _require_every_class(chosen, labels, fractions)
    needed = [s for s, share in zip(SPLITS, fractions, strict=True) if share > 0]
    if empty := [split for split in needed if not (splits == split).any()]:
        raise CohortError(
            f"{' and '.join(empty)} would be empty: {len(labels)} patient(s) are too "
            "few for train, val and test; add patients, or give the splits in the "
            "slide table"
        )
    return splits


def fold_patients(
    table: pd.DataFrame,
    *,
    n_folds: int,
    val_fraction: float = 0.2,
    negative: str | None = None,
    seed: int = 0,
) -> list[pd.Series]:
    """Make folds, the split of each row, in which every patient is in test once.

    A column `split` is not read.

    Args:
        table: `patient_id` and `label` (None allowed).
        n_folds: 2 or more, and no more than there are patients in each class.
        val_fraction: Share of the patients outside a fold's test that validate.
        negative: As for `split_patients`.
        seed: Decides who goes where.

    Raises:
        CohortError: A class has fewer patients than folds.
    """
    labels = _label_patients(table, negative)
    rng = np.random.default_rng(seed)
    fold_of: dict[str, int] = {}
    start = 0
    for label in sorted(set(labels.values())):
        patients = sorted(p for p, own in labels.items() if own == label)
        # Each fold's test, train and validation hold one patient at least; of three
        # in two folds one fold would test two.
        least = (n_folds if n_folds > 2 else 4) if label else 1
        if len(patients) < least:
            raise CohortError(
                f"{n_folds} folds need {least} patients or more of each class; "
                f"'{label}' has {len(patients)}; "
                f"{'ask for fewer folds, or ' * (n_folds > 2)}add patients"
            )
        # Each class starts where the last one ended, so that folds stay even.
        for i, index in enumerate(rng.permutation(len(patients))):
            fold_of[patients[index]] = (start + i) % n_folds
        start += len(patients)
    folds = []
    for fold in range(n_folds):
        rng = np.random.default_rng((seed, fold))
        chosen = {p: "test" if own == fold else "train" for p, own in fold_of.items()}
        for label in sorted(set(labels.values())):
            rest = sorted(
                p for p in chosen if labels[p] == label and fold_of[p] != fold
            )
            n = max(1, round(len(rest) * val_fraction)) if len(rest) > 1 else 0
            chosen.update((rest[i], "val") for i in rng.permutation(len(rest))[:n])
        folds.append(table["patient_id"].astype(str).map(chosen))
    return folds


def _find_given(table: pd.DataFrame) -> dict[str, str]:
    if "split" not in table.columns:
        return {}
    if divided := find_divided(table, "patient_id", "split"):
        names = ", ".join(sorted(map(str, divided))[:5])
        raise CohortError(
            f"all slides of a patient must be in one split; these are in more: {names}"
        )
    rows = table[["patient_id", "split"]].dropna().astype(str)
    return dict(zip(rows["patient_id"], rows["split"], strict=True))


def _label_patients(table: pd.DataFrame, negative: str | None) -> dict[str, str]:
    """Give each patient one class; an empty text where no row has a label."""
    labels = {}
    for patient_id, rows in table["label"].groupby(table["patient_id"].astype(str)):
        known = rows.dropna().astype(str).tolist()
        pool = sorted(label for label in known if label != negative) or known
        labels[str(patient_id)] = max(pool, key=pool.count) if pool else ""
    return labels


def _count_wanted(n: int, fractions: Sequence[float]) -> dict[str, int]:
    """Say how many of a class's patients each held-out split wants."""
    if n < 3:
        # Two patients cannot be in three places; a test without the class is worse
        # than a validation without it.
        return {"val": 0, "test": int(n == 2 and fractions[2] > 0)}
    # One at least, as long as train keeps one as well.
    return {
        split: max(int(share > 0), round(n * share))
        for split, share in zip(SPLITS[1:], fractions[1:], strict=True)
    }


def _require_every_class(
    chosen: Mapping[str, str], labels: Mapping[str, str], fractions: Sequence[float]
) -> None:
    """Stop where a class would be missing from train or from test."""
    needed = ["train", *(["test"] if fractions[2] > 0 else [])]
    for label in sorted(set(labels.values()) - {""}):
        held = {chosen[patient] for patient, own in labels.items() if own == label}
        missing = [split for split in needed if split not in held]
        if missing:
            n = sum(own == label for own in labels.values())
            raise CohortError(
                f"class '{label}' has {n} patient(s), where each counts for one class "
                "only, the most frequent positive one that it has, and none of them "
                f"would be in {' and '.join(missing)}; three patients or more of each "
                "class are needed for train, val and test; add patients, or give other "
                "splits in the slide table"
            )
