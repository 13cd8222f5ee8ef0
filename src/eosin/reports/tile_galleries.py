"""The galleries of an exploration: samples, what is odd, and what is there twice."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.exploring.exploration import Exploration
from eosin.exploring.statistics import OUTLIERS
from eosin.heatmaps import Gallery, GalleryMaker, choose_mark
from eosin.reports.page import Table
from eosin.reports.words import count, format_percent
from eosin.tiles import TileReader

Rows = npt.NDArray[np.int64]

_SHOWN_GROUPS = 12
_SHOWN_IN_GROUP = 4
# Times the usual distance to its neighbours from which a tile is shown as isolated.
_ISOLATED = 2.0
_OUTLIER_MEASURES = {
    "blank": "white_share",
    "black": "black_share",
    "saturated": "clipped_share",
    "blurred": "sharpness",
}


class TileGalleries:
    """Makes the galleries of an exploration.

    Args:
        explored: What was found.
        reader: Of all its tiles.
    """

    def __init__(self, explored: Exploration, reader: TileReader) -> None:
        self._explored = explored
        self._tile_ids = explored.folder.tiles["tile_id"].astype(str).tolist()
        self._mark_px = choose_mark(explored.folder, explored.settings.mark_px)
        self._maker = GalleryMaker(reader, self._tile_ids, self._mark_px)

    def show_samples(self) -> Iterator[Gallery]:
        """Show tiles of each class, of as many slides as there are."""
        explored = self._explored
        rng = np.random.default_rng(explored.settings.seed)
        labels = explored.labels[explored.measured]
        for label, name in (
            *enumerate(explored.folder.info.class_names),
            (-1, "unlabelled"),
        ):
            rows = explored.measured[labels == label]
            if label == -1 and not len(rows):
                continue
            # One of each slide before a second of any.
            mixed = rng.permutation(rows)
            slides = explored.folder.tiles["slide_id"].iloc[mixed]
            turn = slides.groupby(slides.to_numpy()).cumcount().to_numpy()
            chosen = mixed[np.argsort(turn, kind="stable")][: explored.settings.shown]
            text = f"{len(chosen)} of {int((explored.labels == label).sum()):,}"
            if self._mark_px:
                text += f"; the label is that of the central {self._mark_px} px"
            yield self._maker.make(f"samples-{name}", name, f"{text}.", [chosen])

    def show_outliers(self) -> Iterator[Gallery]:
        """Show the tiles that are odd, the oddest first."""
        explored, limits = self._explored, self._explored.settings
        of = "on {} of their area or more"
        meanings = {
            "blank": f"White {of.format(format_percent(limits.blank_share))}, or of "
            "one colour.",
            "black": f"Black {of.format(format_percent(limits.black_share))}.",
            "saturated": "Coloured and at the end of the scale "
            f"{of.format(format_percent(limits.saturated_share))}: over-exposed, "
            "over-coloured, or pen.",
            "blurred": f"Less than {limits.blur_ratio:g} times as sharp as the median, "
            "absolutely and for their contrast: out of focus, smooth or empty.",
        }
        for kind in OUTLIERS:
            measure, is_blurred = _OUTLIER_MEASURES[kind], kind == "blurred"
            rows = np.flatnonzero(explored.outliers[kind])
            values = explored.measures[measure].to_numpy()[rows]
            order = np.argsort(values if is_blurred else -values)
            digits = ",.0f" if is_blurred else ".0%"
            words = [f"{measure.split('_')[0]} {v:{digits}}" for v in values[order]]
            odd = pd.Series(words, rows[order], dtype=object)
            yield self._show_odd(kind, kind.capitalize(), meanings[kind], odd)
        if (isolation := explored.isolation) is not None:
            order = np.argsort(-isolation)
            order = order[isolation[order] >= _ISOLATED]
            words = [f"{isolation[i]:.1f} times" for i in order]
            meaning = f"{_ISOLATED:g} times as far from their neighbours as the median,"
            meaning += " or more."
            odd = pd.Series(words, explored.measured[order], dtype=object)
            yield self._show_odd("isolated", "Isolated in feature space", meaning, odd)

    def _show_odd(
        self, kind: str, title: str, meaning: str, odd: "pd.Series[str]"
    ) -> Gallery:
        """Show the first of some tiles: rows, with a few words on each."""
        shown = odd.head(self._explored.settings.shown)
        said = f"{len(odd):,} found" if len(odd) else "None"
        if len(shown) < len(odd):
            said += f", {len(shown)} shown"
        return self._maker.make(
            f"outliers-{kind}",
            title,
            f"{meaning} {said}.",
            [shown.index.to_numpy(np.int64)],
            captions={
                int(row): self._say_tile(int(row), words)
                for row, words in zip(shown.index, shown, strict=True)
            },
        )

    def show_copies(self) -> Iterator[Table | Gallery]:
        """Count copies, and show them: conflicts first, then the largest groups."""
        yield self._count_copies()
        copies = self._explored.copies
        for is_conflicting in (True, False):
            for kind, title in (("exact", "Identical"), ("near", "Alike")):
                is_own = copies["kind"] == kind
                own = copies[is_own & (copies["is_conflicting"] == is_conflicting)]
                groups = [
                    rows.index.to_numpy(np.int64)[:_SHOWN_IN_GROUP]
                    for _, rows in own.groupby("group", sort=True)
                ]
                if not groups:
                    continue
                shown = groups[:_SHOWN_GROUPS]
                text = count(len(groups), "group")
                if len(shown) < len(groups):
                    text += f", {len(shown)} of them shown"
                text += f", at most {_SHOWN_IN_GROUP} tiles of each."
                if is_conflicting and kind == "exact":
                    text += " One of the labels must be wrong."
                rows = np.concatenate(shown).tolist()
                yield self._maker.make(
                    f"duplicates-{kind}{'-conflicting' * is_conflicting}",
                    f"{title}{', with different labels' * is_conflicting}",
                    text,
                    shown,
                    captions={row: self._say_tile(row) for row in rows},
                )

    def _count_copies(self) -> Table:
        counts = self._explored.copy_counts
        columns = {
            "Groups": "n_groups",
            "Tiles in them": "n_tiles",
            "Beyond the first": "n_surplus",
            "With another label": "n_conflicting",
            "Across splits": "n_across_splits",
        }
        return Table(
            ["Kind", *columns],
            [
                [own.kind.capitalize(), *(getattr(own, c) for c in columns.values())]
                for own in counts
            ],
            "Exact copies have identical pixels. Near-duplicates also look alike after "
            "turning, mirroring, re-saving or re-colouring; exact copies among them "
            "count in both rows. All are in duplicates.csv.",
        )

    def _say_tile(self, row: int, words: str = "") -> str:
        """Say a tile's class, a few words on it, and its name."""
        label, names = (
            self._explored.labels[row],
            self._explored.folder.info.class_names,
        )
        name = names[label] if label >= 0 else "unlabelled"
        # What stands before the last slash, the class often says already.
        tile_id = self._tile_ids[row].rpartition("/")[2]
        return f"{', '.join(filter(None, (name, words)))}: {tile_id}"
