"""Where a slide's resolution comes from. It is never guessed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

# Beyond this an entry is a mistake of the file: no scanner makes 0.01 mpp, and the
# coarsest pictures of slides have some 30 mpp; 300 dpi, which programs write without
# being asked, would be 85.
_PLAUSIBLE_MPP = (0.02, 50.0)
_DISAGREEMENT = 0.10
# Pixels are square but for rounding; where x and y are further apart than this, it is
# told, and beyond `_DISAGREEMENT` neither is believed.
_SAME_SIDES = 0.02

# What a source says: one number for both sides, or x and y.
Said = float | tuple[float | None, float | None] | None


@dataclass(frozen=True)
class Resolution:
    """Micrometres per level-0 pixel.

    Attributes:
        mpp: The value used; None where no source has a plausible one.
        source: `given`, `vendor`, `tiff resolution`, `objective power` or `none`.
        candidates: Every source's value, plausible or not; the mean of x and y.
        uneven: x and y of sources that say two values over 2 % apart.
    """

    mpp: float | None = None
    source: str = "none"
    candidates: Mapping[str, float] = field(default_factory=dict)
    uneven: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def disagreements(self) -> tuple[str, ...]:
        """What contradicts itself or the value used (by over 10 %), as sentences."""
        sides = tuple(
            f"pixels are not square, as {source} says {x:g} mpp in x and {y:g} in y"
            for source, (x, y) in self.uneven.items()
        )
        if self.mpp is None:
            return sides
        return sides + tuple(
            f"{source} says {value:g} mpp, {self.source} says {self.mpp:g}"
            for source, value in self.candidates.items()
            if source not in (self.source, *self.uneven)
            and is_plausible_mpp(value)
            and abs(value / self.mpp - 1) > _DISAGREEMENT
        )


def is_plausible_mpp(value: float) -> bool:
    """Tell whether a microscope slide can have this many micrometres per pixel."""
    return math.isfinite(value) and _PLAUSIBLE_MPP[0] <= value <= _PLAUSIBLE_MPP[1]


def resolve_mpp(
    *,
    given: float | None = None,
    vendor: Said = None,
    tiff: Said = None,
    objective_power: float | None = None,
) -> Resolution:
    """Choose the mpp: given, vendor property, TIFF resolution, objective power.

    Of a nominal magnification P it is about 10 / P. Of x and y it is the mean; a source
    that says two values over 10 % apart is passed over. A given one that no microscope
    has is a `ValueError`.
    """
    if given is not None and not is_plausible_mpp(given):
        raise ValueError(
            f"mpp must lie between {_PLAUSIBLE_MPP[0]:g} and {_PLAUSIBLE_MPP[1]:g} "
            f"micrometres per pixel, got {given:g}"
        )
    said: dict[str, Said] = {
        "given": given,
        "vendor": vendor,
        "tiff resolution": tiff,
        "objective power": 10 / objective_power if objective_power else None,
    }
    candidates: dict[str, float] = {}
    uneven: dict[str, tuple[float, float]] = {}
    for name, value in said.items():
        sides = [side for side in _list_sides(value) if side is not None]
        if sides:
            candidates[name] = sides[0] if len(set(sides)) == 1 else sum(sides) / 2
        if len(sides) == 2 and _measure_gap(*sides) > _SAME_SIDES:
            uneven[name] = (sides[0], sides[1])
    for name, value in candidates.items():
        is_square = _measure_gap(*uneven.get(name, (1, 1))) <= _DISAGREEMENT
        if is_square and is_plausible_mpp(value):
            return Resolution(value, name, candidates, uneven)
    return Resolution(None, "none", candidates, uneven)


def _list_sides(value: Said) -> tuple[float | None, ...]:
    return value if isinstance(value, tuple) else (value,)


def _measure_gap(x: float, y: float) -> float:
    """Return how far the larger lies above the smaller, as a share."""
    return max(x, y) / min(x, y) - 1
