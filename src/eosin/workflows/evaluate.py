"""From a run and held-out or external tiles to numbers that can be believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import (
    ManifestError,
    Progress,
    RunError,
    RunRecord,
    open_run,
    read_json,
    write_json,
)
from eosin.evaluation import (
    EvaluationResult,
    GroupThresholds,
    SlideAggregation,
    aggregate_predictions,
    build_tile_predictions,
    choose_on_validation,
    evaluate_predictions,
    fit_colour_baseline,
    read_predictions,
    write_predictions,
)
from eosin.inference import ModelCard, hash_models, read_card
from eosin.workflows.evaluation_report import EvaluatedStudy, report_study
from eosin.workflows.run_checks import (
    open_training_folder,
    require_same_tiles,
    require_unchanged,
    require_unseen,
)
from eosin.workflows.scoring import score_by_features
from eosin.workflows.tile_folder import TileFolder, open_tile_folder

_OUTPUTS = (
    "figures",
    "metrics.json",
    "overlays",
    "predictions.parquet",
    "report.html",
    "run.json",
)


@dataclass(frozen=True)
class EvaluateResult:
    """What `evaluate_run` found.

    Attributes:
        folder: Where it lies.
        metrics: As `metrics.json`: level -> metric -> value, low, high, n.
        baseline_metrics: The colour baseline's, in the same form; may be empty.
        thresholds: Level -> lowest and highest threshold of its calls; empty with
            more than two classes.
        cautions: What a reader must know before believing the numbers.
        is_of_bags: Whether drawn bags were scored, which stand as slides and as
            patients.
    """

    folder: Path
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    baseline_metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    thresholds: Mapping[str, Sequence[float]]
    cautions: tuple[str, ...]
    is_of_bags: bool = False

    @classmethod
    def from_record(
        cls, record: RunRecord, *, is_of_bags: bool = False
    ) -> "EvaluateResult":
        """Take it from the notes of a run that is done."""
        notes = record.notes
        return cls(
            record.folder,
            notes["metrics"],
            notes["baseline"],
            notes.get("thresholds", {}),
            tuple(notes["cautions"]),
            is_of_bags,
        )


def evaluate_run(
    run: Path,
    *,
    on: Path | None = None,
    out: Path | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EvaluateResult:
    """Score a model on the patients that its training held out, or on others.

    Everything that can be chosen was chosen on validation patients when the model
    was trained; nothing is chosen here. A colour baseline, fitted and thresholded
    on the same patients, is scored beside the model.

    Args:
        run: Folder that `train_classifier` wrote.
        on: An external tile folder; none of its slides or patients may have been
            used in training.
        out: Where to write; by default `evaluation` in the run folder.
        n_bootstrap: Resamples of patients for the intervals.
        seed: Decides which resamples are drawn.
        overwrite: Replace an evaluation of other settings.
        progress: Told how far it is.

    Raises:
        ModelError: `run` holds no finished model, or its tiles differ from `on`'s.
        ManifestError: Training slides are in `on`, or no held-out tile has a label.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    run = Path(run)
    card = read_card(run)
    if on is not None and out is None:
        raise RunError(
            "an external cohort needs a folder of its own; add -o (the default, "
            f"{run / 'evaluation'}, is for the held-out patients)"
        )
    out = Path(out) if out is not None else run / "evaluation"
    trained_on = open_training_folder(run)
    folder = open_tile_folder(on) if on is not None else trained_on
    if on is None and trained_on is not None:
        require_unchanged(run, card, trained_on)
    if folder is None:
        raise ManifestError(
            f"{run}: the tile folder that it was trained on is gone; give tiles by --on"
        )
    with open_run(
        out,
        "evaluate",
        settings={"on": str(on) if on else None, "n_bootstrap": n_bootstrap},
        inputs={"card": read_json(run / "card.json")["training_data"]["tiles_sha256"]}
        | {
            "tiles.parquet": folder.sha256,
            "slides.csv": folder.labels_sha256,
            "model": hash_models(run, card),
        },
        seed=seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            study = _Study(run, card, folder, trained_on, is_external=on is not None)
            content = study.evaluate(out, n_bootstrap, seed, progress)
            write_json(out / "metrics.json", content["metrics"])
            record.notes |= content
        return EvaluateResult.from_record(record)


class _Study:
    """One model on one set of tiles."""

    def __init__(
        self,
        run: Path,
        card: ModelCard,
        folder: TileFolder,
        trained_on: TileFolder | None,
        *,
        is_external: bool,
    ) -> None:
        self._run, self._card = run, card
        self._folder, self._trained_on = folder, trained_on
        self._split = "external" if is_external else "test"
        self._splits = pd.read_csv(
            run / "splits.csv",
            dtype={"slide_id": str, "patient_id": str},
            keep_default_na=False,
        )
        require_same_tiles(card, folder)
        self._tiles = folder.studied_tiles
        if self._tiles.empty:
            raise ManifestError(
                f"{folder.path}: evaluation needs patches with a label, got none; "
                "'eosin predict' takes those without"
            )
        if is_external:
            require_unseen(self._splits, folder)

    def evaluate(
        self, out: Path, n_bootstrap: int, seed: int, progress: Progress
    ) -> dict[str, Any]:
        """Score, write predictions, figures and report; return the numbers."""
        names = self._card.class_names
        parts, n_unreadable = self._score(progress)
        validation, _ = read_predictions(self._run / "validation.parquet")
        choices = choose_on_validation(
            validation,
            class_names=names,
            slide_labels=self._trained_on.slide_labels if self._trained_on else None,
            rule=self._card.threshold_rule,
        )
        # The thresholds on the card belong to the share that was chosen with them.
        aggregation = replace(
            choices.aggregation.aggregation, share=self._card.aggregation_share
        )
        table = self._aggregate_parts(parts, aggregation)
        write_predictions(out / "predictions.parquet", table, names)
        options: dict[str, Any] = {
            "class_names": names,
            "split": self._split,
            "n_bootstrap": n_bootstrap,
            "seed": seed,
        }
        result = evaluate_predictions(
            table,
            threshold=self._card.tile_threshold,
            slide_threshold=self._card.slide_threshold,
            group_thresholds=self._find_group_thresholds(),
            **options,
        )
        baseline = self._evaluate_baseline(options)
        known = (*self._card.cautions, *self._folder.info.cautions)
        cautions = list(dict.fromkeys((*result.cautions, *known)))
        if n_unreadable:
            cautions.append(f"{n_unreadable} damaged tiles could not be scored.")
        study = EvaluatedStudy(
            run=self._run,
            card=self._card,
            folder=self._folder,
            splits=self._splits,
            split=self._split,
            predictions=table,
            result=result,
            baseline=baseline,
            choices=choices,
            cautions=cautions,
        )
        report_study(study, out, progress)
        return {
            "metrics": result.metrics,
            "baseline": baseline.metrics if baseline else {},
            "thresholds": result.thresholds,
            "cautions": cautions,
        }

    @property
    def _has_folds(self) -> bool:
        """Whether each patient is scored by the fold that held the patient out."""
        return self._split == "test" and bool(self._card.fold_choices)

    def _find_group_thresholds(self) -> GroupThresholds | None:
        """Find each patient's thresholds: those of the fold that held them out."""
        if not self._has_folds or len(self._card.class_names) > 2:
            return None
        test = self._splits[self._splits["split"] == "test"]
        fold_of = dict(zip(test["patient_id"], test["fold"], strict=True))
        slides, tiles = (
            {p: float(self._card.fold_choices[k][name]) for p, k in fold_of.items()}
            for name in ("slide_threshold", "tile_threshold")
        )
        return slides, tiles

    def _aggregate_parts(
        self, parts: Sequence[pd.DataFrame], aggregation: SlideAggregation
    ) -> pd.DataFrame:
        """Score slides and patients; with folds each by its own fold's share."""
        if not self._has_folds:
            return self._aggregate(pd.concat(parts, ignore_index=True), aggregation)
        return pd.concat(
            [
                self._aggregate(
                    part,
                    replace(aggregation, share=float(chosen["aggregation_share"])),
                )
                for part, chosen in zip(parts, self._card.fold_choices, strict=True)
            ],
            ignore_index=True,
        )

    def _score(self, progress: Progress) -> tuple[list[pd.DataFrame], int]:
        """Score held-out tiles, each by the fold that did not train on it."""
        card = self._card
        models = [self._run / name for name in card.models]
        if self._split == "external":
            jobs = [(self._tiles, models)]
        else:
            jobs = [
                (self._tiles[self._tiles["slide_id"].isin(ids)], [own])
                for own, ids in zip(models, self._find_test_slides(), strict=True)
            ]
        temperatures = (
            [float(chosen["temperature"]) for chosen in card.fold_choices]
            if self._has_folds
            else [card.temperature] * len(jobs)
        )
        parts, n_unreadable = [], 0
        for (tiles, own_models), temperature in zip(jobs, temperatures, strict=True):
            scored = score_by_features(
                self._folder,
                tiles,
                own_models,
                views=card.views,
                temperature=temperature,
                progress=progress,
            )
            n_unreadable += scored.n_unreadable
            parts.append(
                build_tile_predictions(
                    scored.tiles.assign(split=self._split),
                    scored.probabilities,
                    card.class_names,
                )
            )
        return parts, n_unreadable

    def _find_test_slides(self) -> list[set[str]]:
        test = self._splits[self._splits["split"] == "test"]
        return [
            set(test.loc[test["fold"] == fold, "slide_id"])
            for fold in range(len(self._card.models))
        ]

    def _aggregate(
        self, tiles: pd.DataFrame, aggregation: SlideAggregation
    ) -> pd.DataFrame:
        return aggregate_predictions(
            tiles,
            aggregation,
            class_names=self._card.class_names,
            slide_labels=self._folder.slide_labels,
        )

    def _evaluate_baseline(self, options: Mapping[str, Any]) -> EvaluationResult | None:
        """Fit and score the colour baseline on the very same patients."""
        if self._trained_on is None:
            return None
        source = self._trained_on.studied_tiles
        names = self._card.class_names
        parts = []
        for _, slides in self._splits.groupby("fold"):
            split_of = dict(zip(slides["slide_id"], slides["split"], strict=True))
            tiles = source.assign(split=source["slide_id"].map(split_of))
            try:
                baseline = fit_colour_baseline(tiles, class_names=names)
                chosen_on = tiles[tiles["split"] == "val"]
                held_out = (
                    tiles[tiles["split"] == "test"]
                    if self._split == "test"
                    else self._tiles.assign(split="external")
                )
                parts.append((baseline.predict(chosen_on), baseline.predict(held_out)))
            except ManifestError:
                # Tiles that were cut without measuring have no colours.
                return None
        validation = _average([part[0] for part in parts])
        own = choose_on_validation(
            validation,
            class_names=names,
            slide_labels=self._trained_on.slide_labels,
            rule=self._card.threshold_rule,
        )
        table = self._aggregate(
            _average([part[1] for part in parts]), own.aggregation.aggregation
        )
        return evaluate_predictions(
            table,
            threshold=own.threshold,
            slide_threshold=own.slide_threshold,
            **options,
        )


def _average(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average what several folds say of one tile."""
    table = pd.concat(parts, ignore_index=True)
    columns = [c for c in table.columns if c.startswith("probability_")]
    first = table.drop_duplicates("id").set_index("id")
    first[columns] = table.groupby("id")[columns].mean()
    return first.reset_index()
