"""How slides, patches, features and drawn bags are scored, and what is written."""

from dataclasses import dataclass
from typing import Literal, get_args

from eosin.core import ConfigError
from eosin.settings.setting import Settings, iter_misplaced, setting
from eosin.settings.tiling import Device, NViews

WhichPatches = Literal["auto", "unlabelled", "all"]
Scored = Literal["tiles", "patches", "bags"]

_TILES, _PATCHES, _BAGS = ((name,) for name in get_args(Scored))
_WORDS = {
    "tiles": "slides by a tile classifier",
    "patches": "patches",
    "bags": "slides by a bag model",
}


@dataclass(frozen=True, kw_only=True)
class PredictionSettings(Settings):
    """How new slides, patches and bags are scored, and what is written of them.

    Attributes:
        device: Where models run.
        views: Turns and flips averaged for each tile; `none` takes the model's own.
        batch: Tiles per call of the model; `none` chooses: on a GPU 32, on a CPU few
            enough for a core's cache, which is one from 105 px on.
        slide_mpp: Micrometres per level-0 pixel of slides that do not say it and have
            none in a slide table.
        overlap_px: Pixels that tiles share; `none` takes the model's own. Half the tile
            gives a heatmap of twice the resolution at four times the cost.
        threshold: Tile probability from which an area is outlined; `none` takes the
            model's own, which was chosen on validation patients. With more than two
            classes an area is outlined as the class that is most probable there, and a
            threshold leaves out what is less probable than that.
        min_area_mm2: Smaller outlined areas are left out; `none` is one tile.
        tile_objects: Whether the GeoJSON also holds every tile at or above the
            threshold.
        outline_from: Attention over 1/n from which an area is outlined; 1 is what every
            tile has where all are attended alike.
        attended_tiles: How many of the most attended tiles the GeoJSON holds as tile
            objects.
        gallery_tiles: How many of the most attended tiles the gallery shows; 0 for
            none.
        instance_threshold: Probability from which a tile counts for the outlines of
            methods that score tiles. No label of a tile was ever seen, so that it could
            not be chosen.
        tile_px0: Side of a tile in level-0 pixels, for feature files that do not say
            it; `none` takes it from the file.
        which: Of an imported folder, the patches without a label, or all of them;
            `auto` is those without where there are any.
        resample: Whether images of another size than the model's tiles are brought to
            it; their resolution then is another, too.
    """

    device: Device = "auto"
    views: NViews | None = setting(None, only=("tiles", "patches"))
    batch: int | None = setting(None, least=1)
    slide_mpp: float | None = setting(None, above=0, only=("tiles", "bags"))
    overlap_px: int | None = setting(None, least=0, only=_TILES)
    threshold: float | None = setting(None, least=0, most=1, only=_TILES)
    min_area_mm2: float | None = setting(None, least=0, only=_TILES)
    tile_objects: bool = setting(default=False, only=_TILES)
    outline_from: float = setting(2.0, above=0, only=_BAGS)
    attended_tiles: int = setting(100, least=0, only=_BAGS)
    gallery_tiles: int = setting(24, least=0, only=_BAGS)
    instance_threshold: float = setting(0.5, least=0, most=1, only=_BAGS)
    tile_px0: int | None = setting(None, least=1, only=_BAGS)
    which: WhichPatches = setting("auto", only=_PATCHES)
    resample: bool = setting(default=False, only=_PATCHES)

    def require_for(self, scored: Scored) -> None:
        """Stop where something is set that has no meaning for what is scored.

        Args:
            scored: The tiles of slides, patches, or bags.

        Raises:
            ConfigError: It is.
        """
        for name, rule in iter_misplaced(self, scored):
            meant = " and ".join(_WORDS[kind] for kind in rule.only)
            raise ConfigError(
                f"{name} is for {meant}, not for {_WORDS[scored]}; leave it out"
            )
