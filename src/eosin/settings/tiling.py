"""How slides become tiles, and tiles features."""

from dataclasses import dataclass
from typing import Literal

from eosin.core import ConfigError
from eosin.settings.setting import Settings, setting

Device = Literal["auto", "cpu", "cuda"]
TissueName = Literal["saturation", "density"]
NViews = Literal[1, 2, 4, 8]


@dataclass(frozen=True)
class TileSpec(Settings):
    """What one tile is.

    Attributes:
        mpp: Micrometres per pixel of a tile as read.
        tile_px: Side of a tile in its own pixels.
        overlap_px: Pixels that neighbours share, in the tile's own pixels.
        context: Side of what a model is shown for a tile over the tile's own; the tile
            keeps its place and its label, and is shown at `context` times the mpp.
    """

    mpp: float = setting(above=0)
    tile_px: int = setting(least=8)
    overlap_px: int = setting(0, least=0)
    context: float = setting(1.0, least=1, most=16)

    def check(self) -> None:
        """Stop where a tile would lie on its neighbour."""
        super().check()
        if self.overlap_px >= self.tile_px:
            raise ConfigError(
                f"overlap_px must be 0 or more and below tile_px ({self.tile_px}), "
                f"got {self.overlap_px}"
            )


@dataclass(frozen=True, kw_only=True)
class TilingSettings(TileSpec):
    """How slides become tiles.

    Attributes:
        classes: Classes, one text each, the negative one first: `name=File name,other
            file name`. One called normal, benign or the like goes first by itself.
        tissue: How tissue is found; `density` is for pale slides.
        min_tissue: A tile with a smaller share of tissue is left out.
        min_fraction: A tile gets the label of the class that covers at least this share
            of it; with less it stays without a label.
        unannotated: What tissue outside every annotation is: the negative class,
            nothing, or decided slide by slide (`auto`: negative where the slide's label
            is, or where its annotations outline no negative class).
        measures: Whether each tile is read for its sharpness and colour.
        overviews: Whether a picture of each slide is drawn, with what was found on it.
    """

    mpp: float = 0.5
    tile_px: int = 256
    classes: tuple[str, ...] = ("normal=normal,benign", "tumor=tumor,tumour")
    tissue: TissueName = "saturation"
    min_tissue: float = setting(0.25, least=0, most=1)
    min_fraction: float = setting(0.5, least=0, most=1)
    unannotated: Literal["auto", "negative", "ignore"] = "auto"
    measures: bool = True
    overviews: bool = True


@dataclass(frozen=True, kw_only=True)
class EmbedSettings(Settings):
    """How tiles become features.

    Attributes:
        encoder: An encoder's name, the folder of a run of `eosin train`, whose own
            encoder is taken, or a TOML file that describes an encoder of timm or
            transformers.
        weights: `auto` takes those that were published with the encoder (ImageNet's, or
            a pathology encoder's own); `imagenet`, `none` (random) or a file. A run has
            its own.
        views: Turns and flips whose features are averaged.
        batch: Tiles per call of the model; `none` chooses: on a GPU 32, on a CPU few
            enough for a core's cache, which is one from 105 px on.
        device: Where the model runs.
    """

    encoder: str = "densenet121"
    weights: str = "auto"
    views: NViews = 1
    batch: int | None = setting(None, least=1)
    device: Device = "auto"
