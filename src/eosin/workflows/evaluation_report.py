"""The report of an evaluation: its overlays, figures and words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import Progress, read_json
from eosin.evaluation import (
    EvaluationResult,
    ValidationChoices,
    probability_columns,
    select_level,
)
from eosin.heatmaps import draw_overlay, picture_slide, rasterise_tiles, write_image
from eosin.inference import ModelCard
from eosin.reports import (
    ReportData,
    SplitCount,
    count_splits,
    write_figures,
    write_report,
)
from eosin.slides import open_slide
from eosin.workflows.encoder_patients import find_depth
from eosin.workflows.tile_folder import TileFolder

_SHOWN_OVERLAYS = 12
_OVERLAY_PX = 700


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluatedStudy:
    """One model, scored on one set of tiles.

    Attributes:
        run: The model's run folder.
        card: Its card.
        folder: The tiles that were scored.
        splits: The run's `splits.csv`.
        split: `test` or `external`.
        predictions: The prediction table, all levels.
        result: The model's evaluation.
        baseline: The colour baseline's; None where there is none.
        choices: What was chosen on validation.
        cautions: What a reader must know before believing the numbers.
    """

    run: Path
    card: ModelCard
    folder: TileFolder
    splits: pd.DataFrame
    split: str
    predictions: pd.DataFrame
    result: EvaluationResult
    baseline: EvaluationResult | None
    choices: ValidationChoices
    cautions: Sequence[str]


def report_study(
    study: EvaluatedStudy, out: Path, progress: Progress | None = None
) -> None:
    """Write `report.html`, `figures/` and `overlays/`.

    Raises:
        RunError: A file cannot be written.
    """
    overlays = _draw_overlays(study, out, progress or Progress())
    record = read_json(study.run / "run.json")
    result = study.result
    data = ReportData(
        title=f"Evaluation of {study.run.resolve().name}",
        result=result,
        choices=study.choices,
        splits=_count_splits(study),
        baseline=study.baseline,
        history=pd.read_csv(study.run / "history.csv"),
        overlays=overlays,
        method=_describe(study.card, record["settings"], study.choices),
        versions=record["versions"],
        data_licence=study.folder.licence,
        cautions=[c for c in study.cautions if c not in result.cautions],
        are_slides_made=study.folder.is_made,
        are_patients_known=study.folder.knows_patients,
        created=record["finished"],
    )
    write_report(out / "report.html", data)
    write_figures(out / "figures", data)


def _draw_overlays(
    study: EvaluatedStudy, out: Path, progress: Progress
) -> dict[str, Path]:
    """Draw the slides that the model got most wrong; patches have none."""
    if study.folder.has_patches:
        return {}
    if "source" in study.folder.tiles:
        # Patches have no place on a slide.
        return {}
    tiles = select_level(study.predictions, "tile")
    slides = study.folder.slides.set_index("slide_id")
    shown = study.result.slides.head(_SHOWN_OVERLAYS)
    names = study.card.class_names
    paths: dict[str, Path] = {}
    with progress.task("Drawing overlays", len(shown)) as task:
        for ranked in shown.to_dict("records"):
            slide_id = ranked["slide_id"]
            label = _choose_class(ranked, names)
            own = tiles[tiles["slide_id"] == slide_id]
            row = slides.loc[slide_id]
            heatmap = rasterise_tiles(
                own["x_px0"].to_numpy(int),
                own["y_px0"].to_numpy(int),
                int(own["size_px0"].iloc[0]),
                own[probability_columns(names)[label]].to_numpy(),
            )
            with open_slide(row["path"], mpp=float(row["mpp_used"])) as slide:
                picture = picture_slide(slide, title=slide_id, max_px=_OVERLAY_PX)
            path = out / "overlays" / f"{len(paths):02d}.jpg"
            image = draw_overlay(
                picture,
                heatmap,
                threshold=study.card.tile_threshold,
                class_name=names[label],
            )
            write_image(path, image)
            paths[slide_id] = path
            task.advance()
    return paths


def _choose_class(slide: Mapping[Any, Any], class_names: Sequence[str]) -> int:
    """Choose the class to show: the slide's own, or the positive one found most."""
    if not pd.isna(slide["label"]) and slide["label"] > 0:
        return int(slide["label"])
    columns = probability_columns(class_names)[1:]
    return 1 + max(range(len(columns)), key=lambda i: float(slide[columns[i]]))


def _count_splits(study: EvaluatedStudy) -> tuple[SplitCount, ...]:
    names, tiles = study.card.class_names, study.folder.tiles
    if study.split == "external":
        return count_splits(tiles.assign(split="external"), names)
    if len(study.card.models) > 1:
        # Every patient is held out once.
        return count_splits(tiles.assign(split="test"), names)
    split_of = dict(zip(study.splits["slide_id"], study.splits["split"], strict=True))
    return count_splits(tiles.assign(split=tiles["slide_id"].map(split_of)), names)


def _describe(
    card: ModelCard, settings: Mapping[str, Any], choices: ValidationChoices
) -> dict[str, str]:
    """Say in words how the model came about."""
    tuned = {
        "none": "head only",
        "last": "head and last block",
        "all": "all layers",
        "progressive": "head, then block by block",
    }
    return {
        "Encoder": f"{card.encoder}, weights {card.weights}",
        "Trained": tuned[find_depth(settings)],
        "Tiles": f"{card.tile_px} px at {_write_mpp(card.mpp)}",
        "Split": (
            "by patient, one split"
            if len(card.models) == 1
            else f"by patient, {len(card.models)} folds; each patient is scored by the "
            "model that never saw them"
        ),
        "Slide score": choices.aggregation.aggregation.describe(),
        "Temperature": f"{card.temperature:.3f}, fitted on validation patients",
        "Weights' licence": card.encoder_licence,
    }


def _write_mpp(mpp: float | None) -> str:
    if mpp is None:
        return "a resolution that nobody stated"
    return f"{mpp:g} micrometres per pixel"
