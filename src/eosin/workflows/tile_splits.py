"""Which patients of a tile folder train, validate and test."""

from typing import Protocol

import pandas as pd

from eosin.cohorts import fold_patients, split_patients
from eosin.core import CohortError
from eosin.workflows.tile_folder import TileFolder

SPLIT_COLUMNS = ("fold", "slide_id", "patient_id", "label", "split")


class SplitSettings(Protocol):
    """The part of a config that decides on splits; see `TrainConfig`."""

    @property
    def folds(self) -> int:
        """Folds; 1 is one split into train, val and test."""
        ...

    @property
    def val_fraction(self) -> float:
        """Share of the patients that validate."""
        ...

    @property
    def test_fraction(self) -> float:
        """Share of the patients that test, without folds."""
        ...

    @property
    def seed(self) -> int:
        """Decides who goes where."""
        ...


def assign_splits(folder: TileFolder, config: SplitSettings) -> pd.DataFrame:
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
    if config.folds == 1:
        fractions = (
            1 - config.val_fraction - config.test_fraction,
            config.val_fraction,
            config.test_fraction,
        )
        parts = [
            split_patients(
                slides, fractions=fractions, negative=negative, seed=config.seed
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
            n_folds=config.folds,
            val_fraction=config.val_fraction,
            negative=negative,
            seed=config.seed,
        )
    rows = [slides.assign(fold=fold, split=part) for fold, part in enumerate(parts)]
    return pd.concat(rows, ignore_index=True)[list(SPLIT_COLUMNS)]


def say_left_out(folder: TileFolder, splits: pd.DataFrame) -> list[str]:
    """Say what is in no split because nobody labelled it, as sentences.

    Args:
        folder: The tiles.
        splits: From `assign_splits`.
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
