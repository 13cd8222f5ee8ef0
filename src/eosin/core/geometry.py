"""Places on a slide.

Every stored place is in the level-0 frame: pixels of the finest level, from
the top-left corner of the scan, x to the right and y down.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """An upright rectangle in the level-0 frame, with sides of 0 pixels or more."""

    x_px0: int
    y_px0: int
    width_px0: int
    height_px0: int

    def __post_init__(self) -> None:
        if self.width_px0 < 0 or self.height_px0 < 0:
            raise ValueError(
                f"a box needs a width and a height of 0 or more, got "
                f"{self.width_px0} x {self.height_px0}"
            )

    @property
    def right_px0(self) -> int:
        """The first column to the right of the box."""
        return self.x_px0 + self.width_px0

    @property
    def bottom_px0(self) -> int:
        """The first row below the box."""
        return self.y_px0 + self.height_px0
