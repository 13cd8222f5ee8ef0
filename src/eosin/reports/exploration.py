"""The page of an exploration: what a tile folder holds, and what may be wrong."""

import shlex
from collections.abc import Iterator

import numpy as np
import pandas as pd

from eosin.core import Progress, find_versions, plural
from eosin.exploring.exploration import Exploration, count_by_split, find_factors
from eosin.exploring.statistics import (
    DENSITY_COLUMNS,
    OUTLIERS,
    correlate_measures,
    describe_by_class,
    explain_colour,
    map_colours,
)
from eosin.heatmaps import GalleryMaker, choose_mark
from eosin.reports.figures import (
    MEASURE_TITLES,
    bin_measures,
    draw_balance,
    draw_correlations,
    draw_distributions,
)
from eosin.reports.page import (
    Cell,
    Figure,
    Page,
    Section,
    Table,
    describe_method,
    show_steps,
    tabulate,
    tabulate_shares,
)
from eosin.reports.point_panels import draw_colour_map
from eosin.reports.tile_galleries import show_copies, show_outliers, show_samples
from eosin.reports.words import (
    DASH,
    Nouns,
    format_measure,
    format_number,
    format_percent,
    list_facts,
)
from eosin.tiles import TileReader

_MOST_SLIDES = 15
_MOST_CLASSES_IN_TABLE = 8
_QUARTILES = ["median", "percentile_25", "percentile_75"]
# An area under the curve of fewer tiles of a class is too much by chance.
_FEW = 20
_METHOD = {
    "Intensity, saturation": "means over the tile's pixels, of grey and of HSV's S",
    "Haematoxylin, eosin": "mean optical density (natural logarithm, white is 255) of "
    "what is not white, split by the stain colours of Ruifrok and Johnston (2001); "
    "below 0 where a colour lies outside what the two can mix",
    "Sharpness": "variance of the Laplacian of grey; compare tiles of one mpp only",
    "Colour map": "principal components of the mean optical density of red, green and "
    "blue where tiles are not white: {directions}",
    "Explained colour": "epsilon squared over the three densities",
    "Near-duplicates": "low frequencies of the cosine transform in eight views, "
    "correlation 0.95 or more; chains of look-alikes are one group. Tiles with much "
    "background can look alike by its outline alone",
}


def make_exploration_page(explored: Exploration, progress: Progress) -> Page:
    """Put an exploration into words and pictures; galleries are read once more."""
    with (
        explored.folder.open_reader() as reader,
        progress.task("Reading galleries", None),
    ):
        return _PageMaker(explored, reader).make()


class _PageMaker:
    """Makes the page of one exploration."""

    def __init__(self, explored: Exploration, reader: TileReader) -> None:
        folder = explored.folder
        self._explored, self._folder = explored, folder
        self._class_names = folder.info.class_names
        self._nouns = Nouns.of_tiles(folder)
        self._labels = explored.labels[explored.measured]
        self._measures = explored.measures.iloc[explored.measured]
        self._by_class = describe_by_class(
            self._measures, self._labels, self._class_names
        )
        densities = self._measures[list(DENSITY_COLUMNS)].to_numpy()
        self._colours = map_colours(densities)
        self._factors = find_factors(explored)
        shares = {
            str(name): explain_colour(densities, own.astype(object).tolist())
            for name, own in self._factors.items()
        }
        self._explained = {k: v for k, v in shares.items() if v is not None}
        self._counts = count_by_split(explored)
        self._mark_px = choose_mark(folder, explored.settings.mark_px)
        tile_ids = folder.tiles["tile_id"].astype(str).tolist()
        self._galleries = GalleryMaker(reader, tile_ids, self._mark_px)

    def make(self) -> Page:
        """Make it."""
        explored, galleries, info = self._explored, self._galleries, self._folder.info
        samples = show_samples(explored, galleries, self._mark_px)
        outliers = show_outliers(explored, galleries)
        return Page(
            kind="exploration",
            title=f"Exploration of {self._folder.path.resolve().name}",
            facts=list_facts(info.class_names, info.tile_px, info.mpp),
            headline=list(self._say_headline()),
            key_numbers=self._find_key_numbers(),
            warning="Before you train on these tiles",
            cautions=list(self._find_cautions()),
            sections=[
                Section("samples", "Samples of each class", list(samples)),
                Section("outliers", "Outliers", list(outliers)),
                Section("copies", "Duplicates", list(show_copies(explored, galleries))),
                self._show_classes(),
                self._show_measures(),
                self._show_colour(),
                show_steps(self._find_steps()),
                describe_method(self._describe_method(), find_versions()),
            ],
        )

    def _say_headline(self) -> Iterator[str]:
        """Say what matters most, the size first."""
        tiles, tile_nouns = self._folder.tiles, plural(self._nouns.tile)
        n_slides = tiles["slide_id"].nunique()
        counts = ", ".join(f"{n:,} {name}" for name, n in self._counts.sum().items())
        place = f"of {n_slides:,} slides and {tiles['patient_id'].nunique():,} patients"
        if self._nouns.slide == "group":
            place = f"in {n_slides:,} groups of look-alikes"
            if n_slides == len(tiles):
                place = "of which no two look alike"
        yield f"{len(tiles):,} {tile_nouns} {place}: {counts}."
        aucs = self._by_class.dropna(subset="roc_auc")
        if len(self._class_names) == 2 and len(aucs) and aucs["n"].min() >= _FEW:
            powers = aucs["roc_auc"].clip(lower=1 - aucs["roc_auc"])
            measure = str(aucs["measure"].iloc[int(powers.argmax())])
            yield (
                f"{MEASURE_TITLES[measure]} alone tells the classes apart with an AUC "
                f"of {powers.max():.2f}; what a model adds to that is its merit."
            )
        batches = {k: v for k, v in self._explained.items() if k != "class"}
        if batches:
            name, share = max(batches.items(), key=lambda item: item[1])
            than = ""
            if "class" in self._explained:
                than = f", between classes {format_percent(self._explained['class'])}"
            yield (
                f"{format_percent(share)} of the differences in colour lie between "
                f"{plural(name)}{than}."
            )
        exact = self._explored.copy_counts[0]
        if exact.n_tiles:
            yield (
                f"{exact.n_surplus:,} {tile_nouns} are identical copies of others, and "
                f"{exact.n_conflicting:,} have a copy with another label."
            )

    def _find_key_numbers(self) -> list[tuple[str, str, str]]:
        exact, n = self._explored.copy_counts[0], len(self._explored.measured)
        n_odd = int(self._explored.outliers.any(axis=1).sum())
        copies = f"{exact.n_surplus:,}", f"in {exact.n_groups:,} groups"
        return [
            ("Outliers", f"{n_odd:,}", f"of {n:,} looked at"),
            ("Identical copies", *copies),
            ("Conflicting labels", f"{exact.n_conflicting:,}", "identical pixels"),
        ]

    def _find_cautions(self) -> Iterator[str]:
        explored = self._explored
        yield from self._folder.info.cautions
        if explored.n_unreadable:
            yield (
                f"{explored.n_unreadable:,} tiles cannot be read, see run.json; 'eosin "
                "clean' drops them."
            )
        if explored.is_sample:
            yield (
                f"Measures, colours, outliers and samples are of {self._say_sample()}. "
                "Counts and duplicates are of all."
            )
        if n_across := explored.copy_counts[-1].n_across_splits:
            yield (
                f"{n_across:,} tiles have a copy in another split: a model would be "
                "tested on what it has seen."
            )

    def _say_sample(self) -> str:
        n, total = len(self._explored.measured), len(self._folder.tiles)
        if not self._explored.is_sample:
            return f"all {n:,} that can be read"
        seed = self._explored.settings.seed
        return f"{n:,} of {total:,} tiles, drawn at random with seed {seed}"

    def _show_classes(self) -> Section:
        nouns, counts, tiles = self._nouns, self._counts, self._folder.tiles
        figure = Figure(
            "class-balance",
            "Class balance",
            self._say_balance(),
            draw_balance(counts),
            counts.rename_axis("split").reset_index(),
        )
        splits = tiles["split"].fillna(counts.index[-1]).rename("split")
        # Where patients are slides by another name, they are counted once.
        columns = {plural(nouns.patient): "patient_id", plural(nouns.slide): "slide_id"}
        table = tiles.groupby(splits)[list(columns.values())].nunique()
        table.columns = pd.Index(columns)
        table = table.assign(**{plural(nouns.tile): counts.sum(axis=1)}).join(counts)
        table = table.loc[counts.index].rename_axis("split").reset_index()
        heads = {str(name): str(name) for name in table}
        groups = ""
        if nouns.slide == "group":
            groups = (
                "Nobody says which slides these patches are from. What looks alike is "
                "one group; every other patch is a group by itself."
            )
        splits_table = tabulate(table, heads, "What each split holds.")
        title = f"Classes, splits and {plural(nouns.slide)}"
        blocks = (figure, splits_table, groups, self._list_slides())
        return Section("classes", title, blocks, link="Classes and splits")

    def _say_balance(self) -> str:
        totals = self._counts.drop(columns="unlabelled", errors="ignore").sum()
        if totals.sum() == 0:
            return "No tile has a label."
        parts = ", ".join(f"{n:,} {name}" for name, n in totals.items())
        least, most = int(totals.min()), int(totals.max())
        ratio = f"{most / least:.1f} to 1" if least else "a class is empty"
        return f"{parts}; {ratio}."

    def _list_slides(self) -> Table | None:
        """List the largest slides; of groups those of two patches or more."""
        nouns, slides = self._nouns, self._explored.slides
        shown = slides.head(_MOST_SLIDES)
        if nouns.slide == "group":
            shown = shown[shown["tiles"] > 1].drop(columns="patient_id")
        words = f"All {len(slides)}."
        if len(shown) < len(slides):
            words = (
                f"The {len(shown)} largest of {len(slides):,} {plural(nouns.slide)}; "
                "all are in figures/slides.csv."
            )
        names = {"slide_id": nouns.slide, "patient_id": nouns.patient}
        names["tiles"] = plural(nouns.tile)
        heads = {str(name): names.get(str(name), str(name)) for name in shown}
        n_words = list(heads).index("tiles")
        table = tabulate(shown, heads, words, n_words=n_words, style="ids")
        return table if table.rows else None

    def _show_measures(self) -> Section:
        title = "Light, colour, stain and sharpness"
        if not len(self._measures):
            words = f"No {self._nouns.tile} could be measured."
            return Section("measures", title, (words,), link="Measures")
        bins = bin_measures(self._measures, self._labels, self._class_names)
        distributions = Figure(
            "distributions",
            "Distributions by class",
            "Each class adds up to 1, whatever its size. Classes that lie apart here "
            "can be told apart without looking at tissue.",
            draw_distributions(bins),
            bins,
        )
        table = correlate_measures(self._measures, self._labels, self._class_names)
        correlations = None
        if table.notna().any(axis=None):
            correlations = Figure(
                "correlations",
                "Rank correlations",
                "Spearman's; orange goes together, blue runs against each other.",
                draw_correlations(table),
                table.rename_axis("measure").reset_index(),
            )
        blocks = (distributions, self._list_measures(), correlations)
        return Section("measures", title, blocks, link="Measures")

    def _list_measures(self) -> Table:
        """List median and middle half of each measure by class."""
        names = self._class_names[:_MOST_CLASSES_IN_TABLE]
        is_binary = len(self._class_names) == 2
        rows: list[list[str | Cell]] = []
        for measure, own in self._by_class.groupby("measure", sort=False):
            texts = own[_QUARTILES].map(format_measure).head(len(names)).to_numpy()
            row = [f"{middle} ({low} to {high})" for middle, low, high in texts]
            row = [text if n else DASH for text, n in zip(row, own["n"], strict=False)]
            rows.append([MEASURE_TITLES[str(measure)], *row])
            if is_binary:
                auc = own["roc_auc"].iloc[-1]
                rows[-1].append(Cell(format_number(max(auc, 1 - auc)), "value"))
        caption = "Median, with the middle half of the tiles in brackets."
        if is_binary:
            caption += (
                " The last column is the area under the ROC curve of that one number "
                "as a classifier, in whichever direction serves: 0.5 tells nothing, 1 "
                "everything."
            )
        heads = ["Measure", *names, *(["AUC alone"] if is_binary else [])]
        return Table(heads, rows, caption)

    def _show_colour(self) -> Section:
        points, factors = self._colours.points, self._factors
        if not np.isfinite(points).any():
            return Section("colour", "Colour and batches", ())
        places = factors.assign(x=points[:, 0], y=points[:, 1])
        figure = Figure(
            "colour-map",
            "Colour map",
            "Each dot is a tile, placed by its mean optical density; diamonds are "
            "means. Groups that lie apart were stained or scanned differently.",
            draw_colour_map(points, self._colours.shares, factors),
            places.rename_axis("tile_id").reset_index(),
        )
        shares = tabulate_shares(
            ["Between", "Share"],
            self._explained,
            "Share of all differences in mean colour that lie between groups, less "
            "what chance gives. A batch that explains much is one that a model can "
            "learn instead of the tissue.",
            format_percent,
        )
        return Section("colour", "Colour and batches", (figure, shares), link="Colour")

    def _find_steps(self) -> list[tuple[str, str]]:
        explored = self._explored
        path = shlex.quote(str(self._folder.path))
        exact, sums = explored.copy_counts[0], explored.outliers.sum()
        others = ", ".join(f"{int(sums[name]):,} {name}" for name in OUTLIERS[1:])
        sample = " of those looked at" if explored.is_sample else ""
        clean = f"eosin clean {path} -o cleaned/"
        rules = "blank,unreadable,conflicting,duplicates,black,saturated,blurred"
        return [
            (
                clean,
                f"drops blank ({int(sums['blank']):,}{sample}), unreadable "
                f"({explored.n_unreadable:,}) and conflicting "
                f"({exact.n_conflicting:,}) tiles; this folder stays as it is",
            ),
            (
                f"{clean} --rules {rules}",
                f"drops {exact.n_surplus:,} surplus copies as well, and {others}"
                f"{sample}; look at the galleries first",
            ),
            (f"eosin train {path} -o run/", "trains on the tiles as they are"),
        ]

    def _describe_method(self) -> dict[str, str]:
        directions = "; ".join(
            "{:+.2f} red, {:+.2f} green, {:+.2f} blue".format(*direction)
            for direction in self._colours.directions
        )
        rows = {
            "Tiles": str(self._folder.path.resolve()),
            "Measured tiles": self._say_sample(),
        }
        colours = {"Colour map": _METHOD["Colour map"].format(directions=directions)}
        return rows | _METHOD | colours
