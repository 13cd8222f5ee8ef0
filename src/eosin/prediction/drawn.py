"""Drawn bags: each has a gallery, and together they map the slides of their tiles."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from eosin.core import Progress, SlideError, SlideFailure
from eosin.heatmaps import GalleryTile
from eosin.prediction.items import Item
from eosin.prediction.maps import (
    Attention,
    Place,
    TileValues,
    layer_attention,
    rank_attention,
)
from eosin.prediction.outputs import Gallery, Shown, remove_outputs, write_outputs
from eosin.prediction.scorer import Scored, Scorer
from eosin.runs.card import Card
from eosin.settings import PredictionSettings
from eosin.slides import open_slide
from eosin.tiles import TileFolder

TILE_COLUMNS = ("tile_id", "slide_id", "x_px0", "y_px0", "is_witness")
"""What is kept of each tile of a bag, beside its attention."""


class DrawnPredictor:
    """Scores drawn bags and writes their galleries; safe on many threads.

    Args:
        card: Of the models.
        scorer: The models.
        out: The folder to write to.
    """

    task = "Scoring bags"

    def __init__(self, card: Card, scorer: Scorer, out: Path) -> None:
        self._columns = list(card.target.columns)
        self._scorer, self._out = scorer, out

    def predict(self, item: Item) -> dict[str, Any]:
        """Score a drawn bag, and write its gallery.

        Returns:
            `rows`, the only one, and `tiles`, the attention of each, by column.

        Raises:
            SlideError: Not one tile can be read.
            RunError: A file cannot be written.
        """
        started = time.monotonic()
        (source,) = item.sources
        remove_outputs(self._out, source.name)
        gallery: list[GalleryTile] = []
        with source.open() as opened:
            (scored,) = self._scorer.score(item, [opened])
            tiles = self._tabulate(source.name, scored)
            rows = list(scored.mapped.captions)
            shown = tiles.iloc[rows]
            words = [
                caption + " (witness)" * is_witness
                for caption, is_witness in zip(
                    scored.mapped.captions.values(), shown["is_witness"], strict=True
                )
            ]
            if rows and opened.read is not None:
                # As the models were shown them.
                pixels = opened.read(np.array(rows, np.int64))
                own = zip(shown["tile_id"], words, pixels, strict=True)
                gallery = [GalleryTile(*tile) for tile in own]
        Gallery().write(Shown(self._out, source.name, tiles, gallery=gallery))
        row = {
            **source.facts,
            **scored.facts,
            "witness_auc": _find_witness_auc(tiles),
            "gallery": words,
            "seconds": round(time.monotonic() - started, 2),
        }
        return {"rows": [row], "tiles": tiles.to_dict("list")}

    def _tabulate(self, name: str, scored: Scored) -> pd.DataFrame:
        """Give each tile its attention over 1/n and its rank in the bag."""
        tiles = scored.mapped.tiles[list(TILE_COLUMNS)].copy()
        tiles.insert(0, "bag_id", name)
        if (attention := scored.attention) is not None:
            tiles["attention"], tiles["rank"] = attention.times, attention.rank
            if attention.instances is not None:
                tiles[self._columns] = attention.instances
        return tiles


def join_tiles(parts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Join the tiles of drawn bags, one row for each bag and tile."""
    tables = [pd.DataFrame(part["tiles"]) for part in parts if "tiles" in part]
    empty = pd.DataFrame(columns=["bag_id", *TILE_COLUMNS])
    return pd.concat(tables or [empty], ignore_index=True)


def draw_slide_maps(
    card: Card,
    folder: TileFolder,
    tiles: pd.DataFrame,
    settings: PredictionSettings,
    out: Path,
    progress: Progress,
) -> list[SlideFailure]:
    """Write the maps of the slides that drawn bags hold tiles of.

    A tile's attention is the mean over the bags that hold it, its rank that among the
    slide's drawn tiles. Patches lie on no slide and have no maps.

    Args:
        card: Of the models.
        folder: The tiles that the bags were drawn from.
        tiles: From `join_tiles`.
        settings: What is written.
        out: The folder to write to.
        progress: Told how far it is.

    Returns:
        Slides that cannot be read.

    Raises:
        RunError: A file cannot be written.
    """
    if folder.has_patches or tiles.empty:
        return []
    n_folds = len(card.folds)
    source = "mean over a tile's bags" + f" and {n_folds} folds" * (n_folds > 1)
    size_px0 = folder.tiles.groupby("slide_id")["size_px0"].first()
    slides = folder.slides.set_index("slide_id").to_dict("index")
    groups = dict(iter(tiles.groupby("slide_id", sort=False)))
    failures = []
    with progress.task("Drawing maps", len(groups)) as task:
        for slide_id, own in groups.items():
            mean, attention = _average(own, list(card.target.columns))
            n_bags = own["bag_id"].nunique()
            layer = layer_attention(
                attention,
                card.class_names,
                outline_from=settings.outline_from,
                n_objects=settings.attended_tiles,
                source=source,
                subtitle=f"{len(mean):,} tiles drawn into {n_bags:,} bags",
            )
            values = TileValues(mean.assign(size_px0=int(size_px0[slide_id])), [layer])
            name, row = str(slide_id), slides[slide_id]
            remove_outputs(out, name)
            try:
                with open_slide(row["path"], mpp=float(row["mpp_used"])) as slide:
                    place = Place(slide.dimensions, slide.mpp, slide.bounds)
                    _, damage = write_outputs(out, name, slide, place, values)
            except SlideError as error:
                damage = str(error)
            if damage:
                message = f"its maps cannot be drawn ({damage})"
                failures.append(SlideFailure(name, "predict", message))
            task.advance()
    return failures


def _average(tiles: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, Attention]:
    """Average what was found of each tile over the bags that hold it."""
    has_scores = set(names) <= set(tiles)
    columns = ["attention", *(names if has_scores else [])]
    mean = tiles.groupby(["x_px0", "y_px0"], as_index=False)[columns].mean()
    times = mean["attention"].to_numpy(np.float64)
    instances = mean[names].to_numpy() if has_scores else None
    return mean, Attention(times, rank_attention(times), instances)


def _find_witness_auc(tiles: pd.DataFrame) -> float | None:
    """Ask how well attention tells witnesses; None where there are none, or only."""
    is_witness = tiles["is_witness"].to_numpy(bool)
    if is_witness.all() or not is_witness.any():
        return None
    return float(roc_auc_score(is_witness, tiles["attention"]))
