"""A made cohort: slides with outlines and labels, and new ones without."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from shapely import MultiPolygon, Polygon, make_valid

from eosin.annotations import Feature, write_geojson
from eosin.core import Progress, write_csv
from eosin.slides import Artefact, make_phantom

# A cohort small enough for six minutes on two cores, and large enough that every
# split has patients of both kinds.
_N_PATIENTS = 20
_N_NEW = 4
_SIZE_PX = (2560, 2048)
_MPP = 0.5
_ARTEFACTS: tuple[Artefact, ...] = ("pen", "fold", "blur", "bubble")


@dataclass(frozen=True)
class PhantomCohort:
    """A made cohort.

    Attributes:
        table: Its slide table, with annotations and labels.
        new_slides: Slides without annotations, of patients not in the table.
    """

    table: Path
    new_slides: tuple[Path, ...]


def make_phantom_cohort(
    folder: Path,
    *,
    seed: int = 0,
    n_patients: int = _N_PATIENTS,
    n_new: int = _N_NEW,
    size_px: tuple[int, int] = _SIZE_PX,
    progress: Progress | None = None,
) -> PhantomCohort:
    """Make slides with annotations, and new ones without.

    Every second patient has a tumour; scanners and faults are spread over both
    kinds. A second call finds the slides there and leaves them.

    Args:
        folder: Where to put them.
        seed: Seed of everything random.
        n_patients: Patients in the table, one slide each.
        n_new: New slides.
        size_px: (width, height) of each slide at 0.5 mpp.
        progress: Told how far it is.
    """
    slides_folder = folder / "slides"
    rows, new = [], []
    with (progress or Progress()).task("Making slides", n_patients + n_new) as task:
        for index in range(n_patients + n_new):
            is_new = index >= n_patients
            name = f"slide-{index + 1:02d}"
            if is_new:
                name = f"new-{index - n_patients + 1}"
            path = slides_folder / f"{name}.tif"
            annotation = folder / "annotations" / f"{name}.geojson"
            has_tumour = index % 2 == 0
            if not path.exists():
                phantom = make_phantom(
                    seed=seed * 1000 + index,
                    size_px=size_px,
                    mpp=_MPP,
                    has_tumour=has_tumour,
                    scanner=f"S{index % 3 + 1}",
                    artefacts=_choose_artefacts(index),
                )
                if has_tumour and not is_new:
                    _write_outlines(annotation, phantom.tumour_outlines())
                phantom.write(path)
            task.advance(note=name)
            if is_new:
                new.append(path)
                continue
            rows.append(
                {
                    "slide_id": name,
                    "patient_id": f"patient-{index + 1:02d}",
                    "path": path.relative_to(folder).as_posix(),
                    "annotation": f"annotations/{name}.geojson" if has_tumour else "",
                    "label": "tumor" if has_tumour else "normal",
                    "scanner": f"S{index % 3 + 1}",
                    "made": "phantom",
                }
            )
    table = folder / "slides.csv"
    write_csv(table, pd.DataFrame(rows))
    return PhantomCohort(table, tuple(new))


def _write_outlines(path: Path, outlines: Sequence[npt.NDArray[np.int32]]) -> None:
    """Write outlines, `(points, 2)` in level-0 pixels, as QuPath annotations."""
    shapes = [make_valid(Polygon(outline)) for outline in outlines]
    features = [
        Feature(geometry=shape, class_name="Tumor", colour=(200, 0, 0))
        for shape in shapes
        if isinstance(shape, Polygon | MultiPolygon)
    ]
    write_geojson(path, features)


def _choose_artefacts(index: int) -> tuple[Artefact, ...]:
    """Give every third slide one fault, in turn."""
    return (_ARTEFACTS[index // 3 % 4],) if index % 3 == 2 else ()
