"""What the prediction of MIL models makes of new slides and bags, and its files."""

from dataclasses import dataclass

from eosin.core import ConfigError

MIL_PREDICTIONS = (
    "*.gallery.png",
    "*.geojson",
    "*.heatmap-colour.tif",
    "*.heatmap.tif",
    "*.overlay.jpg",
    "attention.html",
    "failures.csv",
    "parts",
    "patients.csv",
    "run.json",
    "slides.csv",
)
"""What the prediction of slides writes to its folder."""


@dataclass(frozen=True, kw_only=True)
class MILPredictConfig:
    """What is made of new slides' attention.

    Attributes:
        outline_from: Attention over 1/n from which an area is outlined, above 0;
            1 is what every tile has where all are attended alike.
        tile_objects: How many of the most attended tiles the GeoJSON holds as tile
            objects; 0 for none.
        gallery_tiles: How many of them the gallery shows; 0 for none.
        tile_px0: Side of a tile in level-0 pixels, for feature files that do not say
            it; None takes it from the file.
        instance_threshold: Probability from which a tile counts for the outlines of
            methods that score tiles. No label of a tile was ever seen, so that it
            could not be chosen.
    """

    outline_from: float = 2.0
    tile_objects: int = 100
    gallery_tiles: int = 24
    tile_px0: int | None = None
    instance_threshold: float = 0.5

    def __post_init__(self) -> None:
        if not self.outline_from > 0:
            raise ConfigError(
                f"outline_from must be above 0, got {self.outline_from:g}"
            )
        for name in ("tile_objects", "gallery_tiles"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more")
        if self.tile_px0 is not None and self.tile_px0 < 1:
            raise ConfigError(f"tile_px0 must be 1 or more, got {self.tile_px0}")
        if not 0 <= self.instance_threshold <= 1:
            raise ConfigError(
                "instance_threshold must lie between 0 and 1, got "
                f"{self.instance_threshold:g}"
            )
