"""From a run and held-out or external data to numbers that can be believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import (
    WATCHED,
    Progress,
    RunError,
    Showable,
    open_run,
    to_file_name,
    write_json,
)
from eosin.evaluation import (
    EvaluationResult,
    evaluate_predictions,
    select_level,
    write_predictions,
)
from eosin.inference import note_calls
from eosin.prediction.items import say_what_was_learnt
from eosin.prediction.overlays import (
    MappedSlide,
    map_attention,
    map_probabilities,
    write_overlays,
)
from eosin.reports import (
    EvaluationFacts,
    Nouns,
    make_evaluation_page,
    write_page,
)
from eosin.runs.choices import explain_choices, list_fold_cautions
from eosin.runs.colour_rival import ColourRival, open_training_tiles
from eosin.runs.run import read_run
from eosin.studies.scored_units import ScoredUnits, open_scored_units

_OUTPUTS = (
    "figures",
    "metrics.json",
    "overlays",
    "predictions.parquet",
    "report.html",
    "run.json",
)


@dataclass(frozen=True)
class EvaluateResult(Showable):
    """What `evaluate` found.

    Attributes:
        folder: Where it lies.
        metrics: As `metrics.json`: level -> metric -> value, low, high, n.
        baseline: The colour rival's, in the same form; may be empty.
        thresholds: Level -> lowest and highest threshold of its calls; empty with
            more than two classes.
        cautions: What a reader must know before believing the numbers.
        words: What each level is called.
    """

    pictures = ("figures/*-roc.png",)

    folder: Path
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    baseline: Mapping[str, Mapping[str, Mapping[str, Any]]]
    thresholds: Mapping[str, Sequence[float]]
    cautions: tuple[str, ...]
    words: Mapping[str, str]


def evaluate(
    run: Path,
    out: Path | None = None,
    *,
    on: Path | None = None,
    cohort: Path | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> EvaluateResult:
    """Score a model on the patients that its training held out, or on others.

    What each fold said of the patients that it held out was kept by the training, and
    is read here; each is called by that fold's own choices. Nothing is chosen here. A
    model of mean colour alone, fitted and thresholded on the same patients, stands
    beside it.

    Args:
        run: Folder that `train` wrote.
        out: Where to write; by default `evaluation` in the run folder.
        on: An external cohort, none of whose slides or patients may have been used in
            training: a tile folder; of bag models features, with `cohort`.
        cohort: The slide table of external features.
        n_bootstrap: Resamples of patients for the intervals.
        seed: Decides which resamples are drawn.
        overwrite: Replace an evaluation of other settings.
        progress: Told how far it is.

    Raises:
        ModelError: `run` holds no finished model, or it was trained on other tiles or
            features than `on` holds.
        ManifestError: Training patients are in `on`, or nothing held out has a label.
        ConfigError: `on` is not what this kind of model is scored on.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    found = read_run(run)
    if on is not None and out is None:
        raise RunError(
            "an external cohort needs a folder of its own; add -o (the default, "
            f"{found.path / 'evaluation'}, is for the held-out patients)"
        )
    out = Path(out) if out is not None else found.path / "evaluation"
    units = open_scored_units(found, on, cohort, progress)
    with open_run(
        out,
        "evaluate",
        settings={"on": str(on) if on else None, "n_bootstrap": n_bootstrap},
        inputs={"model": found.sha256} | units.inputs,
        seed=seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if units.is_external and units.folder is not None:
            record.notes |= note_calls(units.folder.info.tile_px)
        return record.once(
            EvaluateResult,
            lambda: _evaluate(
                units, out, n_bootstrap=n_bootstrap, seed=seed, progress=progress
            ),
        )


def _evaluate(
    units: ScoredUnits, out: Path, *, n_bootstrap: int, seed: int, progress: Progress
) -> EvaluateResult:
    """Score, write predictions, figures and report; return the numbers."""
    card = units.run.card
    options: dict[str, Any] = {
        "target": card.target,
        "split": units.split,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    words = Nouns.of_study(units.unit, units.folder).words
    table, n_unreadable = units.score(progress)
    write_predictions(out / "predictions.parquet", table, card.target)
    result = evaluate_predictions(
        table,
        thresholds=card.together.thresholds,
        by_group=units.find_group_thresholds(),
        words=words,
        **options,
    )
    rival = _evaluate_colours(units, options)
    made = card.caution_made(units.folder)
    cautions = list(dict.fromkeys((*made, *result.cautions, *_list_cautions(units))))
    if n_unreadable:
        cautions.append(f"{n_unreadable} damaged tiles could not be scored.")
    write_json(out / "metrics.json", result.metrics)
    slides = _map_slides(units, table, result)
    overlays = write_overlays(slides, out / "overlays", progress, cautions)
    facts = EvaluationFacts(
        run=units.run,
        result=result,
        baseline=rival,
        cautions=cautions,
        overlays=overlays,
        **_describe(units, table),
    )
    write_page(make_evaluation_page(facts), out)
    return EvaluateResult(
        out,
        result.metrics,
        rival.metrics if rival else {},
        result.thresholds,
        tuple(cautions),
        words,
    )


def _describe(units: ScoredUnits, table: pd.DataFrame) -> dict[str, Any]:
    """Gather what the page says of what was scored and chosen."""
    run, card = units.run, units.run.card
    trained_on = open_training_tiles(run)
    validation = None
    if card.learner == "tiles":
        validation = explain_choices(
            run.held_out,
            card.together.temperature,
            target=card.target,
            rule=card.threshold_rule,
            slide_labels=trained_on.slide_labels if trained_on else None,
        )
    return {
        "units": _list_units(units, table),
        "scored": units.folder,
        "trained_on": trained_on,
        "validation": validation,
    }


def _list_units(units: ScoredUnits, table: pd.DataFrame) -> pd.DataFrame:
    """List what the splits hold; with folds each unit is tested once."""
    run, card = units.run, units.run.card
    if card.unit == "tile":
        tiles = units.tile_folder.tiles
        if units.is_external or card.is_cross_validated:
            return tiles.assign(split=units.split)
        splits = run.splits.drop_duplicates("slide_id").set_index("slide_id")["split"]
        return tiles.assign(split=tiles["slide_id"].map(splits))
    rows = select_level(table, units.unit)
    counts = {bag.bag_id: len(bag) for bag in units.external}
    for name in () if units.is_external else rows["id"]:
        path = run.path / "attention" / f"{to_file_name(name)}.csv"
        counts[name] = path.read_bytes().count(b"\n") - 1 if path.is_file() else 0
    return rows.assign(tiles=rows["id"].map(counts))


def _map_slides(
    units: ScoredUnits, table: pd.DataFrame, result: EvaluationResult
) -> list[MappedSlide]:
    """Map the slides that were called most wrongly, where they are at hand."""
    run, card = units.run, units.run.card
    if card.learner == "tiles":
        tiles = select_level(table, "tile")
        threshold = card.together.tile_threshold
        folder = units.tile_folder
        return map_probabilities(folder, tiles, result, threshold)
    if units.is_external:
        return []
    return map_attention(run, open_training_tiles(run), result)


def _evaluate_colours(
    units: ScoredUnits, options: Mapping[str, Any]
) -> EvaluationResult | None:
    """Fit and score mean colour on the very same patients."""
    run = units.run
    trained_on = open_training_tiles(run)
    if trained_on is None:
        return None
    rival = ColourRival(run, trained_on, options)
    if run.card.learner == "tiles":
        scored = units.tile_folder
        external = scored.studied_tiles.assign(split="external")
        return rival.evaluate_tiles(scored, external if units.is_external else None)
    return None if units.is_external else rival.evaluate_bags()


def _list_cautions(units: ScoredUnits) -> list[str]:
    """Say what limits the numbers beside what they say themselves."""
    card = units.run.card
    known = list(card.cautions)
    if card.learner == "tiles":
        return [*known, *(units.folder.info.cautions if units.folder else ())]
    if units.is_external:
        known = [text for text in known if text.startswith("Threshold")]
        learnt = [say_what_was_learnt(units.run, "slide")] if card.bag_size else []
        return [*learnt, *known, *units.cautions]
    # Each held-out unit is called by its own fold, not by all together.
    known = [text for text in known if not text.startswith(("Threshold", "Temp"))]
    return [*list_fold_cautions(card.folds), *known]
