"""The page of an interpretation: one HTML file that needs nothing but itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import write_text
from eosin.reports.galleries import Gallery, embed_thumbnail
from eosin.reports.interpretation_figures import draw_feature_map, draw_silhouettes
from eosin.reports.pages import (
    FigureSlot,
    render_page,
    write_galleries,
    write_slots,
)

_MOST_SUSPECTS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSpaceData:
    """What the page shows of a feature space.

    Attributes:
        source: What the features are of, and how they were laid out.
        places: On the map, `(tiles, 2)`.
        tiles: A row per tile, written beside the figure.
        factors: Group of each tile, a column for each panel.
        numbers: Cluster of each tile, from 1.
        silhouettes: Mean silhouette by number of clusters.
        clusters: From `describe_clusters`.
        agreement: How far clusters follow other groups, as name, value 0 to 1.
        montages: Tiles of each cluster.
    """

    source: str
    places: npt.NDArray[np.float64]
    tiles: pd.DataFrame
    factors: pd.DataFrame
    numbers: npt.NDArray[np.int64]
    silhouettes: Mapping[int, float]
    clusters: pd.DataFrame
    agreement: Sequence[tuple[str, float]]
    montages: Sequence[Gallery]


@dataclass(frozen=True, kw_only=True, eq=False)
class InterpretationData:
    """Everything that the page shows. Text is escaped, whatever it holds.

    Attributes:
        title: Heading.
        facts: One line below it.
        headline: Sentences that say what matters, the first one largest.
        key_numbers: Name, value and a word on it.
        cautions: What must be known, as sentences.
        map_text: How maps are read.
        maps: Galleries of each class, by its name.
        space: The feature space; None without one.
        suspect_text: What suspects are, and how many.
        suspect_counts: Tiles by label (index) and class that the model is confident
            of (columns); empty without predictions.
        suspects: From `Interpretation.list_suspects`.
        suspect_gallery: The first of them; None without any.
        next_steps: Commands with a word on each.
        method: What was done, as rows of a name and a text.
        versions: Version by package.
    """

    title: str
    facts: str
    headline: Sequence[str]
    key_numbers: Sequence[tuple[str, str, str]]
    cautions: Sequence[str]
    map_text: str
    maps: Sequence[tuple[str, Sequence[Gallery]]]
    space: FeatureSpaceData | None
    suspect_text: str
    suspect_counts: pd.DataFrame
    suspects: pd.DataFrame
    suspect_gallery: Gallery | None
    next_steps: Sequence[tuple[str, str]]
    method: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def write_interpretation(folder: Path, data: InterpretationData) -> None:
    """Write `report.html` and, in `figures/`, each figure as PNG and CSV.

    Args:
        folder: Where to write.
        data: What to show.

    Raises:
        RunError: A file cannot be written.
    """
    slots = {slot.name: slot for slot in _draw_figures(data)}
    # First, because drawing a figure once more moves it by a hair.
    page = _render(data, slots)
    places = Path(folder) / "figures"
    write_slots(places, slots.values())
    write_galleries(places, _iter_galleries(data))
    write_text(Path(folder) / "report.html", page)


def render_interpretation(data: InterpretationData) -> str:
    """Return the page's HTML."""
    return _render(data, {slot.name: slot for slot in _draw_figures(data)})


def _render(data: InterpretationData, slots: Mapping[str, FigureSlot]) -> str:
    return render_page(
        "interpretation.html.j2",
        data=data,
        slots=slots,
        embed=embed_thumbnail,
        clusters=[] if data.space is None else list(_list_clusters(data.space)),
        suspects=list(_list_suspects(data.suspects)),
        n_suspects=len(data.suspects),
    )


def _draw_figures(data: InterpretationData) -> Iterator[FigureSlot]:
    space = data.space
    if space is None:
        return
    if np.isfinite(space.places).any():
        yield FigureSlot(
            "feature-map",
            "Map of the feature space",
            "Each dot is a tile; neighbours look alike to the encoder. Numbers are "
            "clusters. Distances between far groups mean nothing.",
            draw_feature_map(space.places, space.factors, space.numbers.tolist()),
            space.tiles,
        )
    if len(space.silhouettes) > 1:
        chosen = int(space.numbers.max())
        yield FigureSlot(
            "silhouettes",
            "Mean silhouette by number of clusters",
            f"How well tiles fit their own cluster and no other; {chosen} clusters "
            "were taken. Below about 0.25 there are no clear groups, and clusters "
            "only divide what is continuous.",
            draw_silhouettes(space.silhouettes, chosen),
            pd.DataFrame(space.silhouettes.items(), columns=["clusters", "silhouette"]),
        )


def _iter_galleries(data: InterpretationData) -> Iterator[Gallery]:
    for _, galleries in data.maps:
        yield from galleries
    if data.space is not None:
        yield from data.space.montages
    if data.suspect_gallery is not None:
        yield data.suspect_gallery


def _list_clusters(space: FeatureSpaceData) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table of clusters, as texts."""
    for row in space.clusters.to_dict("records"):
        has_error = bool(np.isfinite(row["error_rate"]))
        yield {
            "cluster": str(row["cluster"]),
            "tiles": f"{row['tiles']:,}",
            "slides": f"{row['slides']:,}",
            "main_class": "\N{EN DASH}"
            if pd.isna(row["main_class"])
            else row["main_class"],
            "purity": _format_share(row["purity"]),
            "errors": f"{row['errors']:,} of {row['called']:,}"
            if has_error
            else "\N{EN DASH}",
            "error_rate": _format_share(row["error_rate"]),
            "width": f"{100 * row['error_rate']:.1f}" if has_error else "0",
            "largest_slide": _format_share(row["largest_slide"]),
        }


def _list_suspects(suspects: pd.DataFrame) -> Iterator[list[str]]:
    for row in suspects.head(_MOST_SUSPECTS).to_dict("records"):
        yield [
            str(row["tile_id"]),
            str(row["slide_id"]),
            str(row["class_name"]),
            str(row["suggested"]),
            f"{row['probability_class']:.3f}",
            f"{row['probability_suggested']:.3f}",
        ]


def _format_share(value: float) -> str:
    if not np.isfinite(value):
        return "\N{EN DASH}"
    return f"{100 * value:.0f}\N{NARROW NO-BREAK SPACE}%"
