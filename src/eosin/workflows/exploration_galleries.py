"""The galleries of an exploration: which tiles are shown, and what is said of them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from eosin.core import SlideError, to_file_name
from eosin.evaluation import OUTLIERS
from eosin.reports import Gallery, GalleryTile
from eosin.tiles import TileReader
from eosin.workflows.exploration import Exploration, Rows
from eosin.workflows.tile_folder import TileFolder, read_tile_settings

# Patches whose label is that of their central square alone.
_CENTRE_LAYOUTS = ("kaggle", "pcam")
_CENTRE_PX, _CENTRE_TILE_PX = 32, 96
_SHOWN_GROUPS = 12
_SHOWN_IN_GROUP = 4
# Times the usual distance to its neighbours from which a tile is shown as isolated.
_ISOLATED = 2.0


class GalleryMaker:
    """Reads the tiles of galleries and gives them their words.

    Args:
        explored: What was found.
        reader: Of all its tiles.
    """

    def __init__(self, explored: Exploration, reader: TileReader) -> None:
        self._explored, self._reader = explored, reader
        self._rng = np.random.default_rng(explored.seed)
        self._mark_px = choose_mark(explored.folder, explored.mark_px)
        self._names = explored.folder.tiles["tile_id"].astype(str).to_numpy(object)

    def make_samples(self) -> Iterator[Gallery]:
        """Show tiles of each class, of as many slides as there are."""
        explored = self._explored
        labels = explored.labels[explored.measured]
        kinds = [*enumerate(explored.folder.info.class_names), (-1, "unlabelled")]
        for label, name in kinds:
            rows = explored.measured[labels == label]
            if label == -1 and not len(rows):
                continue
            chosen = self._choose(rows)
            text = f"{len(chosen)} of {int((explored.labels == label).sum()):,}"
            if self._mark_px:
                text += f"; the label is that of the central {self._mark_px} px"
            yield self._make(f"samples-{name}", name, f"{text}.", [chosen], plain=True)

    def make_outliers(self) -> Iterator[Gallery]:
        """Show the tiles that are odd, the oddest first."""
        explored, limits = self._explored, self._explored.limits
        kinds = {
            "blank": (
                "white_share",
                f"White on {format_percent(limits.blank_share)} of their area or more, "
                "or of one colour.",
            ),
            "black": (
                "black_share",
                f"Black on {format_percent(limits.black_share)} of their area or more.",
            ),
            "saturated": (
                "clipped_share",
                "Coloured and at the end of the scale on "
                f"{format_percent(limits.saturated_share)} of their area or more: "
                "over-exposed, over-coloured, or pen.",
            ),
            "blurred": (
                "sharpness",
                f"Less than {limits.blur_ratio:g} times as sharp as the median, "
                "absolutely and for their contrast: out of focus, smooth or empty.",
            ),
        }
        for kind in OUTLIERS:
            measure, meaning = kinds[kind]
            rows = np.flatnonzero(explored.outliers[kind])
            values = explored.measures[measure].to_numpy()
            order = np.argsort(values[rows] * (1 if kind == "blurred" else -1))
            chosen = rows[order][: explored.shown]
            digits = ",.0f" if kind == "blurred" else ".0%"
            captions = [f"{measure.split('_')[0]} {values[r]:{digits}}" for r in chosen]
            yield self._make(
                f"outliers-{kind}",
                kind.capitalize(),
                f"{meaning} {_say_found(len(rows), len(chosen))}",
                [chosen],
                captions=dict(zip(chosen.tolist(), captions, strict=True)),
            )
        if explored.isolation is not None:
            yield self._make_isolated(explored.isolation)

    def make_copies(self) -> Iterator[Gallery]:
        """Show copies: conflicts first, then the largest groups."""
        titles = {
            ("exact", True): "Identical, with different labels",
            ("near", True): "Alike, with different labels",
            ("exact", False): "Identical",
            ("near", False): "Alike",
        }
        copies = self._explored.copies
        for (kind, is_conflicting), title in titles.items():
            own = copies[
                (copies["kind"] == kind) & (copies["is_conflicting"] == is_conflicting)
            ]
            if own.empty:
                continue
            groups = [
                part.index.to_numpy()[:_SHOWN_IN_GROUP]
                for _, part in list(own.groupby("group"))[:_SHOWN_GROUPS]
            ]
            n = int(own["group"].nunique())
            text = f"{n:,} {'group' if n == 1 else 'groups'}"
            text += f", {len(groups)} of them shown" if len(groups) < n else ""
            text += f", at most {_SHOWN_IN_GROUP} tiles of each."
            if is_conflicting and kind == "exact":
                text += " One of the labels must be wrong."
            name = f"duplicates-{kind}{'-conflicting' if is_conflicting else ''}"
            yield self._make(name, title, text, groups)

    def _make_isolated(self, isolation: npt.NDArray[np.float64]) -> Gallery:
        explored = self._explored
        order = np.argsort(-isolation)[: explored.shown]
        order = order[isolation[order] >= _ISOLATED]
        n = int((isolation >= _ISOLATED).sum())
        rows = explored.measured[order]
        captions = [f"{isolation[i]:.1f} times" for i in order]
        return self._make(
            "outliers-isolated",
            "Isolated in feature space",
            f"{_ISOLATED:g} times as far from their neighbours as the median, or more. "
            f"{_say_found(n, len(rows))}",
            [rows],
            captions=dict(zip(rows.tolist(), captions, strict=True)),
        )

    def _choose(self, rows: Rows) -> Rows:
        """Choose rows at random, one of each slide before a second of any."""
        mixed = self._rng.permutation(rows)
        slides = self._explored.folder.tiles["slide_id"].iloc[mixed]
        turn = slides.groupby(slides.to_numpy()).cumcount().to_numpy()
        return mixed[np.argsort(turn, kind="stable")][: self._explored.shown]

    def _make(
        self,
        name: str,
        title: str,
        text: str,
        groups: Sequence[Rows],
        *,
        captions: Mapping[int, str] | None = None,
        plain: bool = False,
    ) -> Gallery:
        """Read the tiles of a gallery; those that cannot be read are left out."""
        shown = []
        for group in groups:
            tiles = []
            for row in group.tolist():
                try:
                    pixels = self._reader.read(np.array([row]))[0]
                except SlideError:
                    continue
                own = (captions or {}).get(row, "")
                caption = "" if plain else self._caption(row, own)
                tiles.append(GalleryTile(self._names[row], caption, pixels))
            if tiles:
                shown.append(tuple(tiles))
        return Gallery(to_file_name(name), title, text, tuple(shown), self._mark_px)

    def _caption(self, row: int, own: str) -> str:
        label = self._explored.labels[row]
        names = self._explored.folder.info.class_names
        words = [names[label] if label >= 0 else "unlabelled", *([own] if own else [])]
        # What stands before the last slash, the class often says already.
        return f"{', '.join(words)}: {self._names[row].rpartition('/')[2]}"


def choose_mark(folder: TileFolder, mark_px: int | None) -> int:
    """Choose the side of the central square that is marked, in a tile's own pixels.

    Args:
        folder: The tiles.
        mark_px: What was asked for; None decides by where the tiles are from.
    """
    if mark_px is not None:
        return mark_px
    is_centre = read_tile_settings(folder.path).get("layout") in _CENTRE_LAYOUTS
    return _CENTRE_PX if is_centre and folder.info.tile_px == _CENTRE_TILE_PX else 0


def _say_found(n: int, n_shown: int) -> str:
    if n == 0:
        return "None."
    return f"{n:,} found." if n == n_shown else f"{n:,} found, {n_shown} shown."


def format_percent(share: float) -> str:
    """Write a share as whole per cents."""
    return f"{100 * share:.0f}\N{NARROW NO-BREAK SPACE}%"
