"""The galleries of an exploration: samples, what is odd, and what is there twice."""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.exploring.exploration import Exploration
from eosin.exploring.statistics import OUTLIERS
from eosin.heatmaps import Gallery, GalleryMaker
from eosin.reports.page import Table, tabulate
from eosin.reports.words import count, format_percent

Rows = npt.NDArray[np.int64]

_SHOWN_GROUPS = 12
_SHOWN_IN_GROUP = 4
# Times the usual distance to its neighbours from which a tile is shown as isolated.
_ISOLATED = 2.0
# By kind: the measure, how it is written, and what the kind means.
_OUTLIERS = {
    "blank": (
        "white_share",
        "white {:.0%}",
        "White on {blank_share} of their area or more, or of one colour.",
    ),
    "black": (
        "black_share",
        "black {:.0%}",
        "Black on {black_share} of their area or more.",
    ),
    "saturated": (
        "clipped_share",
        "clipped {:.0%}",
        "Coloured and at the end of the scale on {saturated_share} of their area or "
        "more: over-exposed, over-coloured, or pen.",
    ),
    "blurred": (
        "sharpness",
        "sharpness {:,.0f}",
        "Less than {blur_ratio} times as sharp as the median, absolutely and for "
        "their contrast: out of focus, smooth or empty.",
    ),
}


def show_samples(
    explored: Exploration, maker: GalleryMaker, mark_px: int
) -> Iterator[Gallery]:
    """Show tiles of each class, of as many slides as there are."""
    rng = np.random.default_rng(explored.settings.seed)
    labels = explored.labels[explored.measured]
    names = explored.folder.info.class_names
    for label, name in (*enumerate(names), (-1, "unlabelled")):
        rows = explored.measured[labels == label]
        if label == -1 and not len(rows):
            continue
        # One of each slide before a second of any.
        mixed = rng.permutation(rows)
        slides = explored.folder.tiles["slide_id"].iloc[mixed]
        turn = slides.groupby(slides.to_numpy()).cumcount().to_numpy()
        chosen = mixed[np.argsort(turn, kind="stable")][: explored.settings.shown]
        text = f"{len(chosen)} of {int((explored.labels == label).sum()):,}"
        if mark_px:
            text += f"; the label is that of the central {mark_px} px"
        yield maker.make(f"samples-{name}", name, f"{text}.", [chosen])


def show_outliers(explored: Exploration, maker: GalleryMaker) -> Iterator[Gallery]:
    """Show the tiles that are odd, the oddest first."""
    limits = explored.settings
    values = {
        "blur_ratio": f"{limits.blur_ratio:g}",
        "blank_share": format_percent(limits.blank_share),
        "black_share": format_percent(limits.black_share),
        "saturated_share": format_percent(limits.saturated_share),
    }
    for kind in OUTLIERS:
        measure, form, meaning = _OUTLIERS[kind]
        odd = pd.Series(explored.measures[measure].to_numpy())
        odd = odd[explored.outliers[kind].to_numpy()]
        odd = odd.sort_values(ascending=kind == "blurred", kind="stable")
        text = meaning.format(**values)
        title = kind.capitalize()
        yield _show_odd(explored, maker, kind, title, text, odd.map(form.format))
    if explored.isolation is not None:
        odd = pd.Series(explored.isolation, explored.measured)
        odd = odd[odd >= _ISOLATED].sort_values(ascending=False, kind="stable")
        text = f"{_ISOLATED:g} times as far from their neighbours as the median, "
        words = odd.map("{:.1f} times".format)
        title = "Isolated in feature space"
        yield _show_odd(explored, maker, "isolated", title, f"{text}or more.", words)


def _show_odd(
    explored: Exploration,
    maker: GalleryMaker,
    kind: str,
    title: str,
    meaning: str,
    words: "pd.Series[str]",
) -> Gallery:
    """Show the first of some tiles, with a few words on each row."""
    shown = words.head(explored.settings.shown)
    text = f"{len(words):,} found" if len(words) else "None"
    if len(shown) < len(words):
        text += f", {len(shown)} shown"
    rows = shown.index.to_numpy(np.int64)
    captions = {
        row: _say_tile(explored, row, said)
        for row, said in zip(rows.tolist(), shown, strict=True)
    }
    text = f"{meaning} {text}."
    return maker.make(f"outliers-{kind}", title, text, [rows], captions=captions)


def show_copies(
    explored: Exploration, maker: GalleryMaker
) -> Iterator[Table | Gallery]:
    """Count copies, and show them: conflicts first, then the largest groups."""
    yield _count_copies(explored)
    copies, titles = explored.copies, {"exact": "Identical", "near": "Alike"}
    for is_conflicting, kind in itertools.product((True, False), titles):
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
        name, title = f"duplicates-{kind}", titles[kind]
        if is_conflicting:
            name, title = f"{name}-conflicting", f"{title}, with different labels"
            if kind == "exact":
                text += " One of the labels must be wrong."
        captions = {
            row: _say_tile(explored, row) for rows in shown for row in rows.tolist()
        }
        yield maker.make(name, title, text, shown, captions=captions)


def _count_copies(explored: Exploration) -> Table:
    heads = {
        "kind": "Kind",
        "n_groups": "Groups",
        "n_tiles": "Tiles in them",
        "n_surplus": "Beyond the first",
        "n_conflicting": "With another label",
        "n_across_splits": "Across splits",
    }
    counts = pd.DataFrame([vars(counted) for counted in explored.copy_counts])
    return tabulate(
        counts.assign(kind=counts["kind"].str.capitalize()),
        heads,
        "Exact copies have identical pixels. Near-duplicates also look alike after "
        "turning, mirroring, re-saving or re-colouring; exact copies among them "
        "count in both rows. All are in duplicates.csv.",
    )


def _say_tile(explored: Exploration, row: int, words: str = "") -> str:
    """Say a tile's class, a few words on it, and its name."""
    label = explored.labels[row]
    name = explored.folder.info.class_names[label] if label >= 0 else "unlabelled"
    tile_id = shorten(explored.folder.tiles["tile_id"].iloc[row])
    return f"{', '.join(filter(None, (name, words)))}: {tile_id}"


def shorten(tile_id: object) -> str:
    """Leave out what stands before the last slash, which often is the class."""
    return str(tile_id).rpartition("/")[2]
