"""Mean colour alone, as a rival of any model on the same patients."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.bags import read_bag_table
from eosin.core import ManifestError, hash_file
from eosin.evaluation import (
    COLOUR_COLUMNS,
    EvaluationResult,
    Thresholds,
    aggregate_predictions,
    build_predictions,
    choose_on_validation,
    choose_threshold,
    evaluate_predictions,
    fit_colour_baseline,
    groups_of,
    labels_of,
)
from eosin.runs.origin import find_tile_folder
from eosin.runs.run import Run
from eosin.tiles import TileFolder, open_tile_folder


@dataclass(frozen=True, eq=False)
class ColourRival:
    """A logistic regression on mean colour, fitted fold by fold as the model was.

    Attributes:
        run: The model's run.
        folder: The tiles that it learnt from.
        options: `target`, `split`, `n_bootstrap` and `seed`, as for
            `evaluate_predictions`.
    """

    run: Run
    folder: TileFolder
    options: Mapping[str, Any]

    def evaluate_tiles(
        self, scored: TileFolder, external: pd.DataFrame | None = None
    ) -> EvaluationResult | None:
        """Score tiles, slides and patients; all folds choose together.

        `scored` are the tiles that the model was scored on. Tiles of another cohort
        (`external`) are scored by all folds; without them each fold's test is. None
        where tiles were cut without measuring colours.
        """
        target, source = self.run.card.target, self.folder.studied_tiles
        tables = []
        for _, slides in self.run.splits.groupby("fold"):
            split_of = dict(zip(slides["slide_id"], slides["split"], strict=True))
            tables.append(source.assign(split=source["slide_id"].map(split_of)))
        parts = self._fit_folds(tables, external)
        if parts is None:
            return None
        chosen = choose_on_validation(
            _average([val for val, _ in parts]),
            target=target,
            slide_labels=self.folder.slide_labels,
            rule=self.run.card.threshold_rule,
        )
        table = aggregate_predictions(
            _average([held for _, held in parts]),
            chosen.aggregation.aggregation,
            target=target,
            slide_labels=scored.slide_labels,
        )
        return evaluate_predictions(table, thresholds=chosen.thresholds, **self.options)

    def evaluate_bags(self) -> EvaluationResult | None:
        """Score slides, patients or drawn bags by the mean colour of their tiles.

        Each fold chooses its threshold on its own validation bags. None where colours
        are not at hand, or a fold's training bags are all of one class.
        """
        colours = self._find_bag_colours()
        if colours is None:
            return None
        card = self.run.card
        target, rule = card.target, card.threshold_rule
        bags = self.run.splits.drop_duplicates(["fold", "id"]).merge(colours, on="id")
        bags["label"] = bags["label"].map(card.class_names.index)
        # As if each were a tile of one colour.
        bags = bags.assign(slide_id=bags["id"]).rename(columns={"id": "tile_id"})
        parts = self._fit_folds([table for _, table in bags.groupby("fold")])
        if parts is None:
            return None
        tests: list[pd.DataFrame] = []
        by_group: dict[str, Thresholds] = {}
        for part in parts:
            val, test = (
                build_predictions(rows, target.take(rows), target, unit=card.unit)
                for rows in part
            )
            choice = choose_threshold(
                labels_of(val), target.take(val), target=target, rule=rule
            )
            tests.append(test)
            own = Thresholds(slide=choice.threshold)
            by_group |= dict.fromkeys(groups_of(test), own)
        table = aggregate_predictions(
            pd.concat(tests, ignore_index=True), target=target
        )
        return evaluate_predictions(
            table, thresholds=Thresholds(slide=0.5), by_group=by_group, **self.options
        )

    def _fit_folds(
        self, tables: Iterable[pd.DataFrame], external: pd.DataFrame | None = None
    ) -> list[tuple[pd.DataFrame, pd.DataFrame]] | None:
        """Fit to each fold's table; predict its validation, and its test or others."""
        parts = []
        for table in tables:
            held = table[table["split"] == "test"] if external is None else external
            try:
                rival = fit_colour_baseline(table, target=self.run.card.target)
                val = rival.predict(table[table["split"] == "val"])
                parts.append((val, rival.predict(held)))
            except ManifestError:
                return None
        return parts

    def _find_bag_colours(self) -> pd.DataFrame | None:
        """Return the mean colour of each bag: `id` and the colours."""
        tiles, unit = self.folder.tiles, self.run.card.unit
        if not set(COLOUR_COLUMNS) <= set(tiles.columns):
            return None
        if unit == "bag":
            path = self.run.find_source("bags")
            known = self.run.record["inputs"].get("bags")
            if path is None or not path.is_file() or hash_file(path) != known:
                return None
            drawn, _ = read_bag_table(path)
            tiles = drawn[["bag_id", "tile_id"]].merge(tiles, on="tile_id")
            tiles = tiles.rename(columns={"bag_id": "id"})
        else:
            tiles = tiles.assign(id=tiles[f"{unit}_id"].astype(str))
        mean = tiles.groupby("id")[list(COLOUR_COLUMNS)].mean().reset_index()
        wanted = set(self.run.splits["id"])
        return mean if wanted <= set(mean["id"]) else None


def open_training_tiles(run: Run) -> TileFolder | None:
    """Open the tiles that a run learnt from, if they are still there, and the same."""
    features = run.find_source("features")
    place = run.find_source("tiles") or (
        find_tile_folder(features) if features else None
    )
    if place is None or not Path(place).exists():
        return None
    try:
        folder = open_tile_folder(Path(place))
    except ManifestError:
        return None
    known = run.card.training_data.get("tiles_sha256")
    return folder if known in (None, folder.sha256) else None


def _average(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Average what several folds say of one tile."""
    table = pd.concat(parts, ignore_index=True)
    columns = [c for c in table.columns if c.startswith("probability_")]
    first = table.drop_duplicates("id").set_index("id")
    first[columns] = table.groupby("id")[columns].mean()
    return first.reset_index()
