"""What an evaluation scores: held-out units as kept, or those of another cohort."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from eosin.bags import Bag, find_feature_files, read_bags
from eosin.cohorts import read_cohort, require_labels
from eosin.core import ConfigError, ManifestError, ModelError, Progress, hash_file
from eosin.evaluation import (
    SlideAggregation,
    Thresholds,
    Unit,
    aggregate_predictions,
    build_predictions,
    groups_of,
)
from eosin.inference import open_session, score_bag, score_by_features
from eosin.runs.card import FoldCard
from eosin.runs.origin import hash_features, see_features, see_tiles
from eosin.runs.run import Run, find_logits
from eosin.settings import BagTraining
from eosin.studies.labelled_bags import label_encoded
from eosin.studies.tile_encoder import TileEncoder, encode_rows, list_readable
from eosin.tiles import TileFolder, open_tile_folder


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredUnits:
    """One model on what it held out, or on an external cohort.

    Attributes:
        run: The model.
        inputs: Hash of what is read, by name.
        folder: The tiles that are scored, or that the bags were made of; None where
            they are not at hand.
        external: Bags of an external cohort; empty where tiles or held-out bags are
            scored.
        is_external: Whether an external cohort is scored.
        cautions: What is not known of its slide table, as sentences.
    """

    run: Run
    inputs: dict[str, str]
    folder: TileFolder | None = None
    external: Sequence[Bag] = ()
    is_external: bool = False
    cautions: tuple[str, ...] = ()

    @property
    def unit(self) -> Unit:
        """What is scored."""
        return self.run.card.find_scored_unit(is_external=self.is_external)

    @property
    def split(self) -> str:
        """Of the prediction table."""
        return "external" if self.is_external else "test"

    @property
    def tile_folder(self) -> TileFolder:
        """The tiles that a tile classifier is scored on; there are always some."""
        return cast("TileFolder", self.folder)

    def score(self, progress: Progress) -> tuple[pd.DataFrame, int]:
        """Make the prediction table; count tiles that could not be read."""
        if not self.is_external:
            return self._read_held_out(), 0
        if self.run.card.learner == "tiles":
            return self._score_tiles(progress)
        return self._score_bags(progress), 0

    def _read_held_out(self) -> pd.DataFrame:
        """Read what each fold said of the units that it held out."""
        card, held = self.run.card, self.run.held_out
        parts = []
        for fold, chosen in enumerate(card.folds):
            rows = held[(held["fold"] == fold) & (held["split"] == "test")]
            values = card.target.activate(find_logits(rows), chosen.temperature)
            rows = rows.reset_index(drop=True)
            if card.unit == "tile":
                # Where they lie, as far as they are on slides.
                places = ["tile_id", "x_px0", "y_px0", "size_px0"]
                tiles = self.tile_folder.tiles.filter(places)
                rows = rows.rename(columns={"id": "tile_id"})
                rows = rows.merge(tiles, on="tile_id", how="left")
            table = build_predictions(rows, values, card.target, unit=card.unit)
            parts.append(self._aggregate(table, chosen))
        return pd.concat(parts, ignore_index=True)

    def _score_tiles(self, progress: Progress) -> tuple[pd.DataFrame, int]:
        """Score external tiles by all folds together."""
        card = self.run.card
        scored = score_by_features(
            self.tile_folder,
            self.tile_folder.studied_tiles,
            [self.run.path / name for name in card.models],
            views=card.views,
            temperature=card.together.temperature,
            progress=progress,
        )
        table = build_predictions(
            scored.tiles.assign(split="external"),
            scored.probabilities,
            card.target,
            unit="tile",
        )
        return self._aggregate(table, card.together), scored.n_unreadable

    def _score_bags(self, progress: Progress) -> pd.DataFrame:
        """Score external bags by all folds, whose probabilities are averaged."""
        run, card = self.run, self.run.card
        heads, probabilities = run.open_heads(), []
        with progress.task("Scoring bags", len(self.external)) as task:
            for bag in self.external:
                scores = run.pool_folds(score_bag(heads, bag))
                probabilities.append(scores.mean(axis=0))
                task.advance()
        rows = pd.DataFrame(
            {
                "id": [bag.bag_id for bag in self.external],
                "patient_id": [str(bag.patient_id) for bag in self.external],
                "split": "external",
                "label": pd.array([bag.label for bag in self.external], "Int64"),
            }
        )
        table = build_predictions(
            rows, np.array(probabilities), card.target, unit=card.bag_unit
        )
        return aggregate_predictions(table, target=card.target)

    def _aggregate(self, table: pd.DataFrame, chosen: FoldCard) -> pd.DataFrame:
        """Score slides and patients, by the share that goes with the thresholds."""
        target = self.run.card.target
        if self.run.card.unit != "tile":
            return aggregate_predictions(table, target=target)
        return aggregate_predictions(
            table,
            SlideAggregation(share=chosen.share or 1.0),
            target=target,
            slide_labels=self.tile_folder.slide_labels,
        )

    def find_group_thresholds(self) -> dict[str, Thresholds] | None:
        """Find each patient's thresholds: those of the fold that held them out."""
        card = self.run.card
        if self.is_external or not card.is_cross_validated:
            return None
        held = self.run.held_out
        test = held[held["split"] == "test"]
        if card.unit == "bag":
            test = test.assign(patient_id=None)
        by_fold = [chosen.thresholds for chosen in card.folds]
        owners = groups_of(test).tolist()
        return {p: by_fold[k] for p, k in zip(owners, test["fold"], strict=True)}


def open_scored_units(
    run: Run, on: Path | None, cohort: Path | None, progress: Progress
) -> ScoredUnits:
    """Find out what is to be scored, and stop where it must not be.

    An external cohort lies `on` a tile folder, or is features with their slide table
    (`cohort`); without one, what the training held out is scored.
    """
    if on is None:
        if cohort is not None:
            raise ConfigError(
                "--cohort is the slide table of external features: name these by --on"
            )
        return _open_held_out(run)
    on = Path(on)
    if run.card.learner == "pixels":
        raise ModelError(
            f"{run.path}: was trained on drawn bags of pixels, and --on takes tiles or "
            "features of slides; score other bags by 'eosin predict --bags', which "
            "writes their labels beside what is found"
        )
    if run.card.learner == "tiles" or (on / "tiles.parquet").exists():
        return _open_tiles(run, on, progress)
    return _open_features(run, on, cohort)


def _open_held_out(run: Run) -> ScoredUnits:
    if run.card.learner != "tiles":
        return ScoredUnits(run=run, inputs={})
    source = run.find_source("tiles")
    if source is None or not source.exists():
        raise ManifestError(
            f"{run.path}: the tiles that it was trained on are gone; give others by "
            "--on"
        )
    folder = open_tile_folder(source)
    if folder.sha256 != run.card.training_data["tiles_sha256"]:
        raise ManifestError(
            f"{folder.path}: its tiles are no longer those that {run.path} was "
            "trained on; train again, or give other tiles by --on"
        )
    inputs = {"tiles.parquet": folder.sha256, "slides.csv": folder.hash_labels()}
    return ScoredUnits(run=run, inputs=inputs, folder=folder)


def _open_tiles(run: Run, on: Path, progress: Progress) -> ScoredUnits:
    folder = open_tile_folder(on)
    where = str(folder.path)
    run.require_like(see_tiles(folder), where=where, advice="tile again as it needs it")
    run.require_classes(folder.info.class_names, where=where)
    run.require_unseen(folder.slides, where=where)
    labels = folder.hash_labels(*run.card.columns)
    inputs = {"tiles.parquet": folder.sha256, "slides.csv": labels}
    if run.card.learner == "bags":
        bags = _encode_bags(run, folder, progress)
        return ScoredUnits(
            run=run, inputs=inputs, folder=folder, external=bags, is_external=True
        )
    if folder.studied_tiles.empty:
        raise ManifestError(
            f"{folder.path}: evaluation needs patches with a label, got none; 'eosin "
            "predict' takes those without"
        )
    return ScoredUnits(run=run, inputs=inputs, folder=folder, is_external=True)


def _encode_bags(run: Run, folder: TileFolder, progress: Progress) -> Sequence[Bag]:
    """Encode the slides of a tile folder as a bag model's own were."""
    card, sees, graph = run.card, run.card.sees, run.encoder
    if graph is None or sees.encoder_sha256 is None:
        raise ModelError(
            f"{run.path}: its encoder is not known; score features of the slides, made "
            "as the training's were: --on FEATURES --cohort SLIDES.csv"
        )
    name = sees.encoder or "encoder"
    encoder = TileEncoder(open_session(graph), name, sees.licence, sees.encoder_sha256)
    rows = list_readable(folder)
    features = encode_rows(folder, encoder, rows, views=sees.views, progress=progress)
    settings = BagTraining(unit=card.bag_unit, columns=card.columns)
    return label_encoded(folder, features, settings, card.class_names).bags


def _open_features(run: Run, on: Path, cohort: Path | None) -> ScoredUnits:
    """Read an external cohort's bags, none of whose patients was in training."""
    if cohort is None:
        raise ConfigError(
            f"{on}: external features need their slide table: --on FEATURES --cohort "
            "SLIDES.csv -o OUT"
        )
    card = run.card
    slides = read_cohort(cohort, class_names=card.class_names, needs_files=False)
    remedy = "label them, or use 'eosin predict', which needs none"
    require_labels(slides, slides.table, card.class_names, remedy=remedy)
    run.require_unseen(slides.table, where=str(cohort))
    for path in find_feature_files(on).values():
        run.require_like(
            see_features(path),
            where=str(path),
            advice="embed the slides as the training's were",
        )
    bags = read_bags(
        on,
        slides.table,
        card.class_names,
        per=card.bag_unit,
        columns=card.columns,
    )
    return ScoredUnits(
        run=run,
        inputs={"cohort": hash_file(cohort), "features": hash_features(on)},
        external=bags,
        is_external=True,
        cautions=(*slides.cautions, *run.caution_clinical(slides.table)),
    )
