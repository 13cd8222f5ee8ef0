"""The page of an interpretation: what a model looks at, and where it may be misled."""

import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import pandas as pd

from eosin.core import Progress, find_versions, plural, to_file_name
from eosin.exploring.examples import EXAMPLE_KINDS
from eosin.exploring.interpretation import ClassMap, Interpretation, draw_class_map
from eosin.heatmaps import Gallery, GalleryMaker, GalleryTile
from eosin.reports.feature_space import MAP_METHODS, show_space
from eosin.reports.page import (
    Block,
    Page,
    Section,
    Table,
    describe_method,
    show_steps,
    tabulate,
)
from eosin.reports.tile_galleries import shorten
from eosin.reports.words import Nouns, count, format_percent, list_facts
from eosin.tiles import TileReader

# Clusters of fewer scored tiles have an error rate by chance.
_FEW = 20
# A map of fewer places a side says little of where.
_COARSE = 5
_SUSPECTS = "label_errors.csv"
_MOST_SUSPECTS = 20
_SIDE_PX = 144
# By kind of example: its title, and what its maps are of.
_KINDS = {
    "right": ("Surest right: {0}, called {0}", "for the class it is."),
    "wrong": (
        "Surest wrong: {0}, called otherwise",
        "first for the class it was called, then for its label.",
    ),
    "uncertain": ("Least sure: {0}", "for the class it was called."),
}
_METHODS = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++"}
_METHOD = {
    "Maps": "{maps} (Selvaraju 2017, Chattopadhay 2018) of the class's logit by "
    "{model}; layer {layers}",
    "Confidence": "the way from the threshold to the probability, as a share of the "
    "way to certainty; with more than two classes the highest probability less the "
    "second",
    "Clusters": "k-means on the first 50 principal components; their number by the "
    "highest mean silhouette where it is not given",
    "Map of the feature space": "{space} of these components",
    "Suspected label errors": "confident learning (Northcutt 2021): tiles off the "
    "diagonal of the confident joint, by probability of the other class less that of "
    "the label",
}


def make_interpretation_page(
    found: Interpretation, *, out: str, progress: Progress
) -> Page:
    """Put an interpretation into words and pictures; tiles are read once more.

    The commands to go on with name the folder `out`, which is written to.
    """
    held_out = found.held_out
    with (
        held_out.folder.open_reader(held_out.tiles) as reader,
        progress.task("Reading galleries", None),
    ):
        return _PageMaker(found, reader).make(out)


class _PageMaker:
    """Makes the page of one interpretation."""

    def __init__(self, found: Interpretation, reader: TileReader) -> None:
        self._found, self._held_out = found, found.held_out
        self._settings = found.settings
        self._names = found.held_out.class_names
        self._nouns = Nouns.of_tiles(found.held_out.folder)
        self._tiles = plural(self._nouns.tile)
        self._tile_ids = found.held_out.tiles["tile_id"].astype(str).tolist()
        self._galleries = GalleryMaker(reader, self._tile_ids, found.mark_px)

    def make(self, out: str) -> Page:
        """Make it."""
        found, sees = self._found, self._held_out.card.sees
        facts = list_facts(self._names, sees.tile_px, sees.mpp)
        maps: list[Block] = [self._say_maps(), *self._show_maps()]
        return Page(
            kind="interpretation",
            title=f"Interpretation of {self._held_out.run.resolve().name}",
            facts=(sees.encoder or "", *facts),
            headline=list(self._say_headline()),
            key_numbers=list(self._find_key_numbers()),
            warning="Before you read anything into this",
            cautions=found.cautions,
            sections=[
                Section("maps", "What it looks at", maps),
                self._show_suspects(),
                show_space(found, self._galleries),
                show_steps(list(self._find_steps(out))),
                describe_method(self._describe_method(), find_versions()),
            ],
        )

    def _say_headline(self) -> Iterator[str]:
        held_out, found = self._held_out, self._found
        kind = "of another cohort" if held_out.is_external else "that training held out"
        where = f"{len(held_out.rows):,} {self._tiles} {kind}"
        if held_out.probabilities is None or not len(found.labelled):
            yield f"{where.capitalize()}, without predictions and labels to compare."
        else:
            labels = held_out.labels[found.labelled]
            is_wrong = held_out.called[found.labelled] != labels
            parts = ", ".join(
                f"{is_wrong[labels == i].sum():,} of {(labels == i).sum():,} {name}"
                for i, name in enumerate(self._names)
            )
            share = format_percent(float(is_wrong.mean()))
            yield f"Of {where}, the model called {share} wrong: {parts}."
        if found.space is not None:
            yield from self._say_worst_cluster(found.space.clusters)
            agreement = {
                k: v for k, v in found.space.agreement.items() if v is not None
            }
            of_class = agreement.pop("class", None)
            if agreement and of_class is not None:
                name, value = max(agreement.items(), key=lambda item: item[1])
                than = f"{'more' if value > of_class else 'less'} than classes"
                numbers = f"({value:.2f} against {of_class:.2f})"
                yield f"Clusters follow {plural(name)} {than} {numbers}."
        if found.errors is not None:
            n = len(found.errors.rows)
            yield (
                f"{count(n, 'label')} {'is' if n == 1 else 'are'} suspected to be "
                "wrong; only looking tells the model's error from it."
                if n
                else "No label is suspected to be wrong."
            )

    def _say_worst_cluster(self, clusters: pd.DataFrame) -> Iterator[str]:
        enough = clusters[clusters["called"] >= _FEW]
        if len(enough) > 1 and enough["error_rate"].max() > 0:
            worst = enough.iloc[int(enough["error_rate"].argmax())]
            yield (
                f"It errs most in cluster {worst['cluster']} "
                f"({format_percent(worst['error_rate'])} of {worst['called']:,}, "
                f"mostly {worst['main_class']}), least where it errs "
                f"{format_percent(enough['error_rate'].min())} of the time."
            )

    def _find_key_numbers(self) -> Iterator[tuple[str, str, str]]:
        held_out, found = self._held_out, self._found
        if held_out.probabilities is not None and len(found.labelled):
            is_wrong = (held_out.called != held_out.labels)[found.labelled]
            yield "Called wrong", f"{is_wrong.sum():,}", f"of {len(is_wrong):,}"
        if found.space is not None:
            k = found.space.clustering.n_clusters
            best = found.space.clustering.silhouettes.get(k)
            yield "Clusters", f"{k}", "" if best is None else f"silhouette {best:.2f}"
        if found.errors is not None:
            share = format_percent(found.errors.error_share)
            n = len(found.errors.rows)
            yield "Suspected labels", f"{n:,}", f"{share} estimated"

    def _say_maps(self) -> str:
        found = self._found
        if not found.maps:
            return "There are no predictions, so no tile is surer than another."
        text = (
            f"{_METHODS[self._settings.method]}: yellow speaks most for the class, by "
            "the model that did not train on the tile. A map is scaled to its own "
            "highest place, so compare places within a map, not maps; it shows where, "
            "not what, and a place that does not shine was not ignored for certain."
        )
        coarse = [m.n_cells for m in found.maps if 0 < m.n_cells < _COARSE]
        if coarse:
            text += (
                f" These maps have only {min(coarse)} places a side and say little of "
                "where; larger tiles have finer ones."
            )
        return text + (self._say_centre() if found.mark_px else "")

    def _say_centre(self) -> str:
        """Say how much of the maps lies in the square that the label is of."""
        mark_px, parts = self._found.mark_px, []
        for kind in ("right", "wrong"):
            maps = [m for m in self._found.maps if m.kind == kind]
            shares = [m.find_centre_share(mark_px) for m in maps]
            known = [share for share in shares if share is not None]
            if known:
                mean = format_percent(float(np.mean(known)))
                parts.append(f"{mean} in those called {kind}")
        side_px = self._held_out.card.sees.tile_px or mark_px
        area = format_percent((mark_px / side_px) ** 2)
        return (
            f" The label is that of the central {mark_px} px (framed), {area} of the "
            f"area; of the maps' sum it holds {' and '.join(parts)}."
        )

    def _show_maps(self) -> Iterator[Gallery]:
        """Show each class's tiles beside what the model looks at in them."""
        for label, name in enumerate(self._names):
            maps = [one for one in self._found.maps if one.label == label]
            for kind in EXAMPLE_KINDS if maps else ():
                title, which = _KINDS[kind]
                shown = [one for one in maps if one.kind == kind]
                groups = [list(g) for _, g in groupby(shown, key=lambda one: one.row)]
                text = f"Each tile, then its map: {which}" if groups else "None."
                if groups and self._held_out.find_threshold(shown[0].row) is not None:
                    text += " In brackets is the threshold of the call."
                yield Gallery(
                    to_file_name(f"{kind}-{name}"),
                    title.format(name),
                    text,
                    tuple(self._frame_tile(group) for group in groups),
                    self._found.mark_px,
                    _SIDE_PX,
                )

    def _frame_tile(self, maps: Sequence[ClassMap]) -> tuple[GalleryTile, ...]:
        """Put a tile and its maps into one frame."""
        first = maps[0]
        tile_id = self._tile_ids[first.row]
        caption = f"{self._say_call(first.row)}. {shorten(tile_id)}"
        tiles = [GalleryTile(tile_id, caption, first.pixels)]
        for one in maps:
            if one.strength is None:
                continue
            words = f"for {self._names[one.asked]}"
            if one.strength.max() <= 0:
                words = f"nothing {words}"
            elif (share := one.find_centre_share(self._found.mark_px)) is not None:
                words += f", centre {format_percent(share)}"
            tiles.append(GalleryTile(tile_id, words, draw_class_map(one)))
        return tuple(tiles)

    def _say_call(self, row: int) -> str:
        held_out = self._held_out
        if held_out.probabilities is None:
            return "Not scored"
        called = int(held_out.called[row])
        words = f"{self._names[called]} {held_out.probabilities[row, called]:.3f}"
        threshold = held_out.find_threshold(row)
        if threshold is None:
            return words
        # Of the class that was called: the negative one ends where the other begins.
        limit = threshold if called else 1 - threshold
        return f"{words} ({'from' if called else 'above'} {limit:.3f})"

    def _show_suspects(self) -> Section:
        found, title = self._found, "Suspected label errors"
        if found.errors is None:
            words = "Without held-out predictions no label can be doubted."
            return Section("suspects", title, (words,))
        suspects, names = found.list_suspects(), self._names
        words = (
            f"{len(suspects):,} of {len(found.labelled):,} labels: the model is as "
            "sure of another class as it usually is of tiles of that class. A model "
            "that is often wrong suspects many right labels, so look at each; the "
            "estimated share counts its errors as the labels', so it is mostly too "
            "high."
        )
        counts = Table(
            ["Label", *names],
            [
                [name, *map(int, row)]
                for name, row in zip(names, found.errors.counts, strict=True)
            ],
            "Tiles by their label (rows) and by the class that the model is confident "
            "of (columns). Tiles of which it is not confident are left out.",
        )
        if suspects.empty:
            return Section("suspects", title, (words, counts))
        blocks = (words, self._show_first(suspects), counts, self._list_first(suspects))
        return Section("suspects", title, blocks)

    def _show_first(self, suspects: pd.DataFrame) -> Gallery:
        shown = suspects.head(self._settings.shown * 2)
        captions = {
            int(str(row)): f"{own['rank']}. {own['class_name']} \N{RIGHTWARDS ARROW} "
            f"{own['suggested']} {own['probability_suggested']:.2f}: "
            f"{shorten(own['tile_id'])}"
            for row, own in shown.to_dict("index").items()
        }
        n = len(suspects)
        text = "All of them" if n == len(shown) else f"The first {len(shown)} of {n:,}"
        return self._galleries.make(
            "suspected-label-errors",
            "Label, and what the model is confident of",
            f"{text}, by how much more probable the model holds the other class.",
            [shown.index.to_numpy(np.int64)],
            captions=captions,
            side_px=_SIDE_PX,
        )

    def _list_first(self, suspects: pd.DataFrame) -> Table:
        columns = {
            "tile_id": self._nouns.tile.capitalize(),
            "slide_id": self._nouns.slide.capitalize(),
            "class_name": "Label",
            "suggested": "Suggested",
            "probability_class": "Probability of the label",
            "probability_suggested": "Of the suggestion",
        }
        n, shown = len(suspects), suspects.head(_MOST_SUSPECTS)
        words = f"All {n}; also in {_SUSPECTS}."
        if len(shown) < n:
            words = f"The first {len(shown)} of {n:,}; all are in {_SUSPECTS}."
        return tabulate(shown, columns, words, n_words=4, style="ids")

    def _find_steps(self, out: str) -> Iterator[tuple[str, str]]:
        held_out, found = self._held_out, self._found
        run, folder = shlex.quote(str(held_out.run)), shlex.quote(out)
        path = shlex.quote(str(held_out.folder.path))
        if found.errors is not None and len(found.errors.rows):
            yield (
                f"eosin clean {path} -o cleaned/ --drop {folder}/{_SUSPECTS}",
                "drops the tiles that the list names: first take out of it those whose "
                "label is right. Dropping what the model gets wrong, unseen, makes any "
                "model look better than it is",
            )
        if held_out.probabilities is None:
            yield f"eosin evaluate {run}", "makes the held-out predictions"
        if self._settings.method == "gradcam":
            command = f"eosin interpret {run} -o {folder}-2 --method gradcam++"
            yield command, "shows several small findings alike"

    def _describe_method(self) -> dict[str, str]:
        held_out, space = self._held_out, self._found.space
        layers = sorted({m.layer for m in self._found.maps if m.layer})
        model = "the model that held the tile out"
        if held_out.is_external:
            model = "the mean over all models, none of which saw these tiles"
        values = {
            "maps": _METHODS[self._settings.method],
            "model": model,
            "layers": "; ".join(layers) or "none",
            "space": MAP_METHODS[self._settings.map],
        }
        rows = {
            "Run": str(held_out.run.resolve()),
            "Tiles": str(held_out.folder.path.resolve()),
            **{name: text.format(**values) for name, text in _METHOD.items()},
        }
        if space is not None and space.is_sample:
            rows["Sample"] = (
                f"{len(space.rows):,} of {len(held_out.rows):,} held-out {self._tiles} "
                "are in the feature space, drawn at random"
            )
        return rows
