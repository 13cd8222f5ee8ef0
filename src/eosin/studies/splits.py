"""Who trains, validates and tests: tiles, bags, drawn bags."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts import fold_patients, split_patients
from eosin.core import CohortError, ManifestError
from eosin.runs.run import SPLIT_COLUMNS
from eosin.settings import SplitSettings
from eosin.tiles import TileFolder

Sides = npt.NDArray[np.str_]
"""The split of each bag: `train`, `val` or `test`."""


def split_tiles(folder: TileFolder, settings: SplitSettings) -> pd.DataFrame:
    """Give every slide with a label its split in every fold, one row each.

    A slide without a label of its own has that of its tiles: the commonest positive
    class, or the negative one. One whose tiles have none either (as a test set's
    patches) is in no split.

    Raises:
        CohortError: The patients cannot be split, or nothing has a label.
    """
    slides = folder.slides[["slide_id", "patient_id", "split"]].copy()
    slides["split"] = [None if pd.isna(s) else str(s) for s in slides["split"]]
    slides["split"] = (
        slides["split"].astype("object").where(slides["split"].notna(), None)
    )
    slides["label"] = _label_slides(folder)
    slides = slides[slides["label"].notna()].reset_index(drop=True)
    if slides.empty:
        raise CohortError(
            f"{folder.path}: to divide patients, slides or tiles with a label are "
            "needed, got none; give labels in the slide table, by annotations or with "
            "the patches"
        )
    negative = folder.info.class_names[0]
    if settings.folds == 1:
        fractions = (
            1 - settings.val_fraction - settings.test_fraction,
            settings.val_fraction,
            settings.test_fraction,
        )
        parts = [
            split_patients(
                slides, fractions=fractions, negative=negative, seed=settings.seed
            )
        ]
    else:
        if slides["split"].notna().any():
            raise CohortError(
                "a cross-validation holds every patient out once, but the slide table "
                "gives splits; train without --folds, or leave the column 'split' out"
            )
        parts = fold_patients(
            slides,
            n_folds=settings.folds,
            val_fraction=settings.val_fraction,
            negative=negative,
            seed=settings.seed,
        )
    slides["id"] = slides["slide_id"]
    rows = [slides.assign(fold=fold, split=part) for fold, part in enumerate(parts)]
    return pd.concat(rows, ignore_index=True)[list(SPLIT_COLUMNS)]


def divide_patients(
    table: pd.DataFrame,
    owners: npt.NDArray[np.str_],
    *,
    n_folds: int,
    val_fraction: float,
    negative: str,
    seed: int,
) -> list[Sides]:
    """Make folds by patient; of each the split of every bag.

    Args:
        table: `patient_id` and `label` of the slides; bags of other patients get an
            empty text.
        owners: Patient of each bag.
        n_folds: 2 or more.
        val_fraction: Share of a fold's other patients that validate.
        negative: Name of the negative class.
        seed: Decides who goes where.

    Raises:
        CohortError: A class has fewer patients than there are folds.
    """
    folds = fold_patients(
        table,
        n_folds=n_folds,
        val_fraction=val_fraction,
        negative=negative,
        seed=seed,
    )
    sides = []
    for split in folds:
        patients = table.loc[split.index, "patient_id"].astype(str)
        split_of = dict(zip(patients, split.astype(str), strict=True))
        sides.append(np.array([split_of.get(owner, "") for owner in owners]))
    return sides


def divide_drawn(table: pd.DataFrame, *, where: str) -> list[Sides]:
    """Say which drawn bags train, validate and test, once for each fold.

    With sides `train`, `val` and `test` there is one. With sides `fold_<k>` each is
    held out once, and the next one validates.

    Args:
        table: Of `read_bag_table`.
        where: What messages call it.

    Raises:
        ManifestError: There is no side to validate or test on.
    """
    sides = table.drop_duplicates("bag_id")["split"].to_numpy(np.str_)
    names = sorted(set(sides.tolist()), key=lambda name: (len(name), name))
    if set(names) == {"train", "val", "test"}:
        return [sides]
    if len(names) < 3 or not all(name.startswith("fold_") for name in names):
        raise ManifestError(
            f"{where}: bags of train, val and test are needed, or of three folds or "
            f"more, to train, validate and test on; it has {', '.join(names)}; see "
            "'eosin bags --help'"
        )
    divided = []
    for fold, name in enumerate(names):
        split = np.full(len(sides), "train", dtype="<U5")
        split[sides == names[(fold + 1) % len(names)]] = "val"
        split[sides == name] = "test"
        divided.append(split)
    return divided


def say_left_out(folder: TileFolder, splits: pd.DataFrame) -> list[str]:
    """Say what is in no split because nobody labelled it, as sentences.

    Args:
        folder: The tiles.
        splits: From `split_tiles`.
    """
    if folder.has_patches:
        n, what = int(folder.tiles["label"].isna().sum()), "patches"
    else:
        is_left = ~folder.slides["slide_id"].isin(set(splits["slide_id"]))
        n, what = int(is_left.sum()), "slides"
    return [f"{n:,} {what} without a label are in no split."] if n else []


def _label_slides(folder: TileFolder) -> pd.Series:
    names = folder.info.class_names
    given = folder.slides["label"]
    labelled = folder.tiles[folder.tiles["label"].notna()]
    counts = pd.crosstab(labelled["slide_id"], labelled["label"])
    positive = counts.drop(columns=0, errors="ignore")
    # The commonest positive class, or the negative one where there is none.
    best = (
        positive.idxmax(axis=1).where(positive.sum(axis=1) > 0, 0)
        if len(positive.columns)
        else pd.Series(0, index=counts.index)
    )
    by_tiles = best.to_dict()
    found: list[str | None] = []
    for slide_id, label in zip(folder.slides["slide_id"], given, strict=True):
        if isinstance(label, str) and label in names:
            found.append(label)
        elif slide_id in by_tiles:
            found.append(names[int(by_tiles[slide_id])])
        else:
            found.append(None)
    return pd.Series(found, index=folder.slides.index, dtype="object")
