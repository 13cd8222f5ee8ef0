"""Where a slide's resolution comes from. It is never guessed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

# Beyond this an entry is a mistake of the file: no scanner makes 0.01 mpp, and the
# coarsest pictures of slides have some 30 mpp; 300 dpi, which programs write without
# being asked, would be 85.
_PLAUSIBLE_MPP = (0.02, 50.0)
_DISAGREEMENT = 0.10


@dataclass(frozen=True)
class Resolution:
    """Micrometres per level-0 pixel.

    Attributes:
        mpp: The value used; None where no source has a plausible one.
        source: `given`, `vendor`, `tiff resolution`, `objective power` or `none`.
        candidates: Every source's value, plausible or not.
    """

    mpp: float | None = None
    source: str = "none"
    candidates: Mapping[str, float] = field(default_factory=dict)

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Sources over 10 % away from the value used, one sentence each."""
        if self.mpp is None:
            return ()
        return tuple(
            f"{source} says {value:g} mpp, {self.source} says {self.mpp:g}"
            for source, value in self.candidates.items()
            if source != self.source
            and is_plausible_mpp(value)
            and abs(value / self.mpp - 1) > _DISAGREEMENT
        )


def is_plausible_mpp(value: float) -> bool:
    """Tell whether a microscope slide can have this many micrometres per pixel."""
    return math.isfinite(value) and _PLAUSIBLE_MPP[0] <= value <= _PLAUSIBLE_MPP[1]


def resolve_mpp(
    *,
    given: float | None = None,
    vendor: float | None = None,
    tiff: float | None = None,
    objective_power: float | None = None,
) -> Resolution:
    """Choose the mpp: given, vendor property, TIFF resolution, objective power.

    Of a nominal magnification P it is about 10 / P. A given one that no microscope has
    is a `ValueError`.
    """
    if given is not None and not is_plausible_mpp(given):
        raise ValueError(
            f"mpp must lie between {_PLAUSIBLE_MPP[0]:g} and {_PLAUSIBLE_MPP[1]:g} "
            f"micrometres per pixel, got {given:g}"
        )
    values = {
        "given": given,
        "vendor": vendor,
        "tiff resolution": tiff,
        "objective power": 10 / objective_power if objective_power else None,
    }
    candidates = {name: value for name, value in values.items() if value is not None}
    for name, value in candidates.items():
        if is_plausible_mpp(value):
            return Resolution(value, name, candidates)
    return Resolution(None, "none", candidates)
