"""What the headers of a DICOM slide mean together: its resolution, and its colours.

Source: DICOM PS3.3, sections C.7.6.16.2.1 (pixel measures), C.8.12.4 (imaged volume)
and C.8.12.5 (optical paths).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from eosin.core import SlideError
from eosin.slides.dicom_header import DICOMHeader
from eosin.slides.resolution import Resolution, is_plausible_mpp, resolve_mpp

# Which of several images of one place is read.
PLANE, PATH = "eosin.plane", "eosin.optical-path"


def check_grey(
    header: DICOMHeader, n_planes: int, n_paths: int, properties: Mapping[str, str]
) -> None:
    """Refuse one of several grey images, such as the red of a colour picture."""
    focal = properties.get("dicom.TotalPixelMatrixFocalPlanes", "1")
    has_others = n_paths > 1 or PATH in properties
    if header.n_samples == 1 and (
        has_others or (n_planes > 1 and str(n_planes) != focal)
    ):
        raise SlideError(
            f"{header.path.name}: a colour image is needed, this one has several grey "
            "ones, an optical path each; fluorescence cannot be read, and colours that "
            "are stored so must be converted to RGB"
        )


def iter_cautions(header: DICOMHeader, properties: Mapping[str, str]) -> Iterator[str]:
    """Say what else might have been meant."""
    if header.n_samples == 1:
        yield "its pixels are grey, and H&E is colour"
    if PATH in properties:
        yield f"the optical path {properties[PATH]} is read"
    if PLANE in properties:
        yield f"the focal plane or optical path {properties[PLANE]} is read"


def resolve_spacing(levels: Sequence[DICOMHeader], given: float | None) -> Resolution:
    """Find the mpp by level 0's spacing, and hold all else that is said against it.

    Where the spacing is none that a microscope has, the imaged volume's size counts.
    """
    first = levels[0]
    sides = [first.spacing, first.volume]
    vendor = next((s for s in sides if all(v and is_plausible_mpp(v) for v in s)), None)
    found = resolve_mpp(
        given=given,
        vendor=vendor or first.spacing,
        objective_power=first.objective_power,
    )
    said = {"pixel spacing": first.spacing, "imaged volume": first.volume}
    for number, level in enumerate(levels[1:], 1):
        factors = level.width_px / first.width_px, level.height_px / first.height_px
        said[f"level {number}"] = (
            level.spacing[0] and level.spacing[0] * factors[0],
            level.spacing[1] and level.spacing[1] * factors[1],
        )
    others = {
        name: sum(known) / len(known)
        for name, values in said.items()
        if values != vendor and (known := [value for value in values if value])
    }
    return replace(found, candidates={**found.candidates, **others})
