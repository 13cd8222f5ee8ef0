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
    """
    slides = folder.slides[["slide_id", "patient_id", "split"]].copy()
    given = slides["split"].astype(object)
    slides["split"] = given.where(given.notna(), None)
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
        val, test = settings.val_fraction, settings.test_fraction
        fractions = (1 - val - test, val, test)
        split = split_patients(
            slides, fractions=fractions, negative=negative, seed=settings.seed
        )
        parts = [split]
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
    """Make folds by patient; of each the split of every bag, by its owner.

    Bags of patients that are not in the table of slides get an empty text.
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
    """Say what is in no split because nobody labelled it, as sentences."""
    if folder.has_patches:
        is_left, what = folder.tiles["label"].isna(), "patches"
    else:
        is_left = ~folder.slides["slide_id"].isin(set(splits["slide_id"]))
        what = "slides"
    n = int(is_left.sum())
    return [f"{n:,} {what} without a label are in no split."] if n else []


def _label_slides(folder: TileFolder) -> pd.Series:
    """Give each slide its class's name; NaN where neither it nor a tile has any."""
    names = folder.info.class_names
    labelled = folder.tiles[folder.tiles["label"].notna()]
    counts = pd.crosstab(labelled["slide_id"], labelled["label"].astype(np.int64))
    positive = counts.reindex(columns=range(1, max(len(names), 2)), fill_value=0)
    # The commonest positive class, or the negative one where there is none.
    commonest = positive.idxmax(axis=1).where(positive.any(axis=1), 0)
    by_tiles = {slide: names[label] for slide, label in commonest.items()}
    given = folder.slides["label"].astype(object)
    of_tiles = folder.slides["slide_id"].map(by_tiles).astype(object)
    return given.where(given.isin(names), of_tiles)
