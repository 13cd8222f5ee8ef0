"""What is learnt from: units with labels, who holds them out, what must be known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import (
    Bag,
    BagTableInfo,
    ClinicalValues,
    ColumnKind,
    caution_clinical,
    find_kinds,
    read_clinical,
    share_drawn,
)
from eosin.core import ManifestError
from eosin.evaluation import Unit
from eosin.runs.run import SPLIT_COLUMNS
from eosin.settings import BagTraining
from eosin.studies.labelled_bags import LabelledBags
from eosin.studies.splits import Sides, divide_drawn, divide_patients


@dataclass(frozen=True, eq=False, kw_only=True)
class Study:
    """Units with labels, and their splits.

    Attributes:
        unit: What a label belongs to. Of a tile classifier it is a tile, and slides
            are divided.
        class_names: Of the labels, the negative class first.
        splits: `fold, id, slide_id, patient_id, label, split`: a row for each fold,
            unit (of tiles: slide) and slide of the unit.
        cautions: What must be known before believing the numbers, as sentences.
    """

    unit: Unit
    class_names: tuple[str, ...]
    splits: pd.DataFrame
    cautions: tuple[str, ...] = ()

    @property
    def n_folds(self) -> int:
        """Folds; 1 is one split."""
        return int(self.splits["fold"].max()) + 1


@dataclass(frozen=True, eq=False, kw_only=True)
class BagStudy(Study):
    """A study of bags.

    Attributes:
        bags: With labels, patients and clinical values.
        table: One row per slide of the bags, with `patient_id` and `label`.
        sides: Of every fold the split of each bag: `train`, `val` or `test`.
        kinds: Of each clinical column, whether it holds numbers or categories.
    """

    bags: Sequence[Bag]
    table: pd.DataFrame
    sides: Sequence[Sides]
    kinds: dict[str, ColumnKind]

    @property
    def patients(self) -> npt.NDArray[np.str_]:
        """Of the bags."""
        return list_patients(self.bags)

    def take(self, rows: npt.NDArray[np.int64]) -> list[Bag]:
        """Take some bags."""
        return [self.bags[row] for row in rows]

    def list_clinical(self, rows: npt.NDArray[np.int64]) -> list[ClinicalValues]:
        """List the clinical values of the patients of some bags, each once."""
        values = {bag.patient_id: bag.clinical or {} for bag in self.take(rows)}
        return list(values.values())


def list_patients(bags: Sequence[Bag]) -> npt.NDArray[np.str_]:
    """List the patient of each bag."""
    return np.array([str(bag.patient_id) for bag in bags])


def study_bags(
    labelled: LabelledBags, settings: BagTraining, *, where: str
) -> BagStudy:
    """Make the study of bags of features, cross-validated by patient."""
    table, names = labelled.table, labelled.class_names
    kinds: dict[str, ColumnKind] = {}
    if settings.columns:
        try:
            values = read_clinical(table, settings.columns)
            kinds = dict(find_kinds(values, settings.columns))
        except ManifestError as error:
            raise ManifestError(f"{where}: {error}") from error
    sides = divide_patients(
        table,
        list_patients(labelled.bags),
        n_folds=settings.folds,
        val_fraction=settings.val_fraction,
        negative=names[0],
        seed=settings.seed,
    )
    return BagStudy(
        unit=settings.unit,
        class_names=names,
        splits=_list_splits(labelled.bags, sides, names, table),
        cautions=(*labelled.cautions, *caution_clinical(table, settings.columns)),
        bags=labelled.bags,
        table=table,
        sides=sides,
        kinds=kinds,
    )


def study_drawn(
    table: pd.DataFrame,
    info: BagTableInfo,
    tile_ids: Sequence[str],
    values: npt.NDArray[np.generic],
    *,
    where: str,
) -> BagStudy:
    """Make the study of drawn bags.

    `values` are features or pixels of the tiles in `tile_ids`, `(tiles, numbers)`.
    """
    bags = [
        # Its tiles come from many patients, so that it counts as one of its own.
        replace(bag, patient_id=bag.bag_id)
        for bag in share_drawn(table, tile_ids, values)
    ]
    sides = divide_drawn(table, where=where)
    is_test = np.any([side == "test" for side in sides], axis=0)
    tested = {bag.bag_id for bag, own in zip(bags, is_test, strict=True) if own}
    n = table.loc[table["bag_id"].astype(str).isin(tested), "patient_id"].nunique()
    caution = (
        f"Bags share patients and tiles: the {len(tested):,} that were held out are of "
        f"{n:,} {'patient' if n == 1 else 'patients'}. The intervals count every bag "
        "as a patient of its own, and so are too narrow for a claim about new patients."
    )
    return BagStudy(
        unit="bag",
        class_names=info.class_names,
        splits=_list_splits(bags, sides, info.class_names, table),
        cautions=(caution,),
        bags=bags,
        table=table,
        sides=sides,
        kinds={},
    )


def _list_splits(
    bags: Sequence[Bag],
    sides: Sequence[Sides],
    class_names: Sequence[str],
    slides: pd.DataFrame,
) -> pd.DataFrame:
    """List the splits of bags, a row for each slide that a bag has tiles of."""
    names = slides["slide_id"].astype(str)
    owners = dict(zip(names, slides["patient_id"].astype(str), strict=True))
    rows = pd.DataFrame(
        [
            {
                "id": bag.bag_id,
                "slide_id": name,
                "patient_id": owners[name],
                "label": class_names[int(bag.label or 0)],
            }
            for bag in bags
            for name in bag.slide_ids
        ]
    )
    counts = [len(bag.slide_ids) for bag in bags]
    folds = [
        rows.assign(fold=fold, split=np.repeat(split, counts))
        for fold, split in enumerate(sides)
    ]
    return pd.concat(folds, ignore_index=True)[list(SPLIT_COLUMNS)]
