"""Working on one item: scored, its files written; and what drawn bags say together."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eosin.core import Progress, SlideError, SlideFailure
from eosin.prediction.items import Item
from eosin.prediction.maps import (
    INSTANCES,
    Attention,
    Place,
    TileValues,
    layer_attention,
)
from eosin.prediction.outputs import remove_outputs, write_outputs
from eosin.prediction.scorer import Scorer
from eosin.prediction.sources import OpenSource
from eosin.runs.card import Card
from eosin.settings import PredictionSettings
from eosin.slides import open_slide
from eosin.tiles import TileFolder

# What is kept of each tile of a bag, beside its attention.
_TILE_COLUMNS = ("tile_id", "slide_id", "x_px0", "y_px0", "is_witness")


def predict_item(card: Card, scorer: Scorer, out: Path, item: Item) -> dict[str, Any]:
    """Score an item, and write its files to `out`; safe on many threads.

    Its part holds `rows`, one for each slide or of the drawn bag, and of a bag `tiles`,
    by column. What opening the sources and scoring raises goes on.
    """
    started = time.monotonic()
    layers = list_layers(card)
    # What was found before a slide changed must not stay beside a failure.
    for source in item.sources:
        remove_outputs(out, source.name, layers)
    part: dict[str, Any] = {"rows": []}
    with ExitStack() as stack:
        opened = [stack.enter_context(source.open()) for source in item.sources]
        scored = scorer.score(item, opened)
        for source, tiles, scores in zip(item.sources, opened, scored, strict=True):
            facts = _write(card, scorer, out, tiles, scores)
            if tiles.is_drawn:
                bag_tiles = _tabulate_drawn(source.name, scores, card)
                facts["witness_auc"] = _find_witness_auc(bag_tiles)
                part["tiles"] = bag_tiles.to_dict("list")
            part["rows"].append({**source.facts, **facts})
    part["rows"][0]["seconds"] = round(time.monotonic() - started, 2)
    return part


def list_layers(card: Card) -> tuple[str, ...]:
    """List the names that files of a slide's layers may have behind the slide's."""
    positive = card.class_names[1:]
    return (*positive, INSTANCES, *(f"{INSTANCES}.{name}" for name in positive))


def _write(
    card: Card, scorer: Scorer, out: Path, opened: OpenSource, scored: TileValues
) -> dict[str, Any]:
    """Write the files of a slide or a bag; say what is missing and why."""
    row = {**opened.facts, **scored.facts}
    layers, damage = write_outputs(out, opened, scored, card.class_spelling)
    notes = []
    if damage:
        notes.append(f"no pictures: the slide cannot be read ({damage})")
    elif opened.problem and layers:
        notes.append(f"no pictures: {opened.problem}")
    elif opened.is_drawn or (opened.slide is not None and layers):
        row["gallery"] = list(scored.captions.values())
    if layers:
        row |= scorer.measure(layers)
        if opened.place is not None and opened.place.mpp is None:
            row["attended_mm2"] = None
            notes.append("no TIFF and no areas: the resolution is not known")
    return row | ({"note": "; ".join(notes)} if notes else {})


def _tabulate_drawn(name: str, scored: TileValues, card: Card) -> pd.DataFrame:
    """Give each tile of a bag its attention over 1/n, its rank, and its own scores."""
    table = scored.tiles[list(_TILE_COLUMNS)].copy()
    table.insert(0, "bag_id", name)
    if (attention := scored.attention) is not None:
        table["attention"], table["rank"] = attention.times, attention.rank
        if attention.instances is not None:
            table[list(card.target.columns)] = attention.instances
    return table


def _find_witness_auc(tiles: pd.DataFrame) -> float | None:
    """Ask how well attention tells witnesses; None where there are none, or only."""
    from sklearn.metrics import roc_auc_score

    is_witness = tiles["is_witness"].to_numpy(bool)
    if is_witness.all() or not is_witness.any():
        return None
    return float(roc_auc_score(is_witness, tiles["attention"]))


def join_tiles(parts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Join the tiles of drawn bags, one row for each bag and tile."""
    tables = [pd.DataFrame(part["tiles"]) for part in parts if "tiles" in part]
    empty = pd.DataFrame(columns=["bag_id", *_TILE_COLUMNS])
    return pd.concat(tables or [empty], ignore_index=True)


def draw_slide_maps(
    card: Card,
    folder: TileFolder,
    tiles: pd.DataFrame,
    settings: PredictionSettings,
    out: Path,
    progress: Progress,
) -> list[SlideFailure]:
    """Write the maps of the slides that drawn bags hold tiles of, as `join_tiles` says.

    A tile's attention is the mean over the bags that hold it, its rank that among the
    slide's drawn tiles. Patches lie on no slide and have no maps. Slides that cannot be
    read are given back.
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
        for slide_id, rows in groups.items():
            name, slide_row = str(slide_id), slides[slide_id]
            mean, attention = _average(rows, list(card.target.columns))
            mean["size_px0"] = int(size_px0[slide_id])
            n_bags = rows["bag_id"].nunique()
            layer = layer_attention(
                attention,
                card.class_names,
                outline_from=settings.outline_from,
                n_objects=settings.attended_tiles,
                source=source,
                subtitle=f"{len(mean):,} tiles drawn into {n_bags:,} bags",
            )
            remove_outputs(out, name)
            try:
                folder.require_unchanged([name])
                mpp = float(slide_row["mpp_used"])
                with open_slide(slide_row["path"], mpp=mpp) as slide:
                    place = Place.of_slide(slide)
                    opened = OpenSource(name=name, tiles=mean, place=place, slide=slide)
                    values = TileValues(mean, [layer])
                    _, damage = write_outputs(out, opened, values)
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
    return mean, Attention.rank_tiles(times, instances)
