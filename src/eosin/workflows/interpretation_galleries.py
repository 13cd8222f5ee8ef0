"""The galleries of an interpretation: which tiles, and what is said of them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import SlideError, to_file_name
from eosin.evaluation import EXAMPLE_KINDS, ExampleKind
from eosin.reports import Gallery, GalleryTile
from eosin.tiles import TileReader
from eosin.workflows.class_maps import draw_class_map
from eosin.workflows.interpretation import ClassMap, FeatureSpace, Interpretation, Rows

_SIDE_PX = 144
_SMALL_PX = 84
_MONTAGE = 20


class InterpretationGalleries:
    """Makes the galleries of an interpretation.

    Args:
        found: What was found.
        reader: Of the held-out tiles.
    """

    def __init__(self, found: Interpretation, reader: TileReader) -> None:
        self._found, self._reader = found, reader
        self._names = found.held_out.class_names

    def make_maps(self) -> Iterator[tuple[str, list[Gallery]]]:
        """Show each class's tiles beside what the model looks at in them."""
        maps = self._found.maps
        for label, name in enumerate(self._names):
            own = [found for found in maps if found.label == label]
            if own:
                yield (
                    name,
                    [self._make_maps(own, kind, label) for kind in EXAMPLE_KINDS],
                )

    def make_montages(self, space: FeatureSpace) -> Iterator[Gallery]:
        """Show each cluster, from its middle to its edge."""
        clustering = space.clustering
        for row in space.clusters.to_dict("records"):
            number = int(row["cluster"])
            own = np.flatnonzero(clustering.numbers == number - 1)
            ranked = own[np.argsort(clustering.distances[own], kind="stable")]
            n = min(_MONTAGE, len(ranked))
            places = np.unique(np.linspace(0, len(ranked) - 1, n).astype(int))
            yield self._make(
                f"cluster-{number}",
                f"Cluster {number}",
                _describe_cluster(row, len(places)),
                space.rows[ranked[places]],
                side_px=_SMALL_PX,
            )

    def make_suspects(self) -> Gallery | None:
        """Show the suspected label errors, the surest first; None without any."""
        suspects = self._found.list_suspects()
        if suspects.empty:
            return None
        shown = suspects.head(self._found.shown * 2)
        captions = [
            f"{row['rank']}. {row['class_name']} \N{RIGHTWARDS ARROW} "
            f"{row['suggested']} {row['probability_suggested']:.2f}: "
            f"{_shorten(str(row['tile_id']))}"
            for row in shown.to_dict("records")
        ]
        n = len(suspects)
        text = "All of them" if n == len(shown) else f"The first {len(shown)} of {n:,}"
        return self._make(
            "suspected-label-errors",
            "Label, and what the model is confident of",
            f"{text}, by how much more probable the model holds the other class.",
            shown.index.to_numpy(np.int64),
            captions=captions,
        )

    def _make_maps(
        self, maps: Sequence[ClassMap], kind: ExampleKind, label: int
    ) -> Gallery:
        name = self._names[label]
        own = [found for found in maps if found.kind == kind]
        titles = {
            "right": (
                f"Surest right: {name}, called {name}",
                "for the class that it is.",
            ),
            "wrong": (
                f"Surest wrong: {name}, called otherwise",
                "first for the class it was called, then for its label.",
            ),
            "uncertain": (f"Least sure: {name}", "for the class that it was called."),
        }
        title, said = titles[kind]
        groups = [list(part) for _, part in groupby(own, key=lambda found: found.row)]
        text = f"Each tile, then its map: {said}" if groups else "None."
        if groups and self._found.held_out.find_threshold(groups[0][0].row) is not None:
            text += " In brackets is the threshold of the call."
        return Gallery(
            to_file_name(f"{kind}-{name}"),
            title,
            text,
            tuple(self._make_group(group) for group in groups),
            self._found.mark_px,
            _SIDE_PX,
        )

    def _make_group(self, maps: Sequence[ClassMap]) -> tuple[GalleryTile, ...]:
        """Put a tile and its maps into one frame."""
        held_out, first = self._found.held_out, maps[0]
        tile = held_out.tiles.iloc[first.row]
        name = str(tile["tile_id"])
        caption = f"{self._say_call(first.row)}. {_shorten(name)}"
        shown = [GalleryTile(name, caption, first.pixels)]
        for found in maps:
            if found.strength is None:
                continue
            said = f"for {self._names[found.asked]}"
            if found.strength.max() <= 0:
                said = f"nothing {said}"
            elif (share := found.find_centre_share(self._found.mark_px)) is not None:
                said += f", centre {100 * share:.0f}\N{NARROW NO-BREAK SPACE}%"
            shown.append(GalleryTile(name, said, draw_class_map(found)))
        return tuple(shown)

    def _say_call(self, row: int) -> str:
        held_out = self._found.held_out
        if held_out.probabilities is None:
            return "Not scored"
        called = int(held_out.called[row])
        said = f"{self._names[called]} {held_out.probabilities[row, called]:.3f}"
        threshold = held_out.find_threshold(row)
        if threshold is None:
            return said
        # Of the class that was called: the negative one ends where the other begins.
        limit = threshold if called else 1 - threshold
        return f"{said} ({'from' if called else 'above'} {limit:.3f})"

    def _make(
        self,
        name: str,
        title: str,
        text: str,
        rows: Rows,
        *,
        captions: Sequence[str] | None = None,
        side_px: int = _SIDE_PX,
    ) -> Gallery:
        """Read the tiles of a gallery; those that cannot be read are left out."""
        tiles = []
        names = self._found.held_out.tiles["tile_id"].astype(str).to_numpy(object)
        for i, row in enumerate(rows.tolist()):
            pixels = self._read(row)
            if pixels is not None:
                caption = captions[i] if captions is not None else ""
                tiles.append(GalleryTile(names[row], caption, pixels))
        groups = (tuple(tiles),) if tiles else ()
        return Gallery(name, title, text, groups, self._found.mark_px, side_px)

    def _read(self, row: int) -> npt.NDArray[np.uint8] | None:
        try:
            return np.asarray(self._reader.read(np.array([row]))[0])
        except SlideError:
            return None


def format_percent(share: float) -> str:
    """Write a share as whole per cents; a dash where there is none."""
    if np.isnan(share):
        return "\N{EN DASH}"
    return f"{100 * share:.0f}\N{NARROW NO-BREAK SPACE}%"


def _describe_cluster(row: Mapping[Any, Any], n_shown: int) -> str:
    said = f"{row['tiles']:,} tiles"
    if not pd.isna(row["main_class"]):
        said += f", {format_percent(row['purity'])} {row['main_class']}"
    if not np.isnan(row["error_rate"]):
        said += f", {format_percent(row['error_rate'])} called wrong"
    return f"{said}. {n_shown} shown, from its middle to its edge."


def _shorten(name: str) -> str:
    """Leave out what stands before the last slash, the class often."""
    return name.rpartition("/")[2]
