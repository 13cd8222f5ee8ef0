"""The report of a MIL model's evaluation: its overlays, figures and words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import find_feature_files
from eosin.core import ManifestError, Progress, SlideError, to_file_name
from eosin.evaluation import EvaluationResult, select_level
from eosin.heatmaps import picture_slide, rasterise_tiles, write_image
from eosin.reports import ReportData, SplitCount, write_figures, write_report
from eosin.workflows.mil_features import find_tile_folder, read_attributes
from eosin.workflows.mil_heatmaps import draw_attention, rank_attention
from eosin.workflows.mil_run import FoldChoice, MILRun
from eosin.workflows.mil_slides import SlideFinder, find_tile_size

_SHOWN_OVERLAYS = 12
_OVERLAY_PX = 700


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluatedMIL:
    """One MIL model, scored on one set of bags.

    Attributes:
        run: The model's run.
        split: `test` or `external`.
        predictions: The prediction table, slides and patients.
        result: The model's evaluation.
        baseline: That of mean colour alone; None where there is none.
        choices: What each fold chose on validation.
        n_instances: Tiles of each bag, as far as they are known.
        cautions: What a reader must know before believing the numbers.
    """

    run: MILRun
    split: str
    predictions: pd.DataFrame
    result: EvaluationResult
    baseline: EvaluationResult | None
    choices: Sequence[FoldChoice]
    n_instances: Mapping[str, int]
    cautions: Sequence[str]


def report_mil(study: EvaluatedMIL, out: Path, progress: Progress) -> None:
    """Write `report.html`, `figures/` and, where slides are at hand, `overlays/`.

    Raises:
        RunError: A file cannot be written.
    """
    run, result = study.run, study.result
    slides = select_level(study.predictions, "slide")
    data = ReportData(
        title=f"Evaluation of {run.path.resolve().name}",
        result=result,
        choices=_describe_choices(study),
        splits=[_count_split(study, slides)],
        baseline=study.baseline,
        history=_average_history(run),
        overlays=_draw_overlays(study, out, progress),
        method=_describe(study),
        versions=run.record["versions"],
        data_licence=_find_licence(study),
        cautions=[c for c in study.cautions if c not in result.cautions],
        are_patients_known=bool((slides["patient_id"] != slides["id"]).any())
        or run.per == "patient",
        unit="bag" if run.takes_pixels else "slide",
        created=run.record["finished"],
    )
    write_report(out / "report.html", data)
    write_figures(out / "figures", data)


def _describe_choices(study: EvaluatedMIL) -> list[tuple[str, str]]:
    """Say what was chosen on validation patients, and for whom it holds."""
    run = study.run
    name, rule = run.class_names[1], run.threshold_rule
    noun = "bag" if run.takes_pixels else "slide"
    rows = [(f"Score of a {noun}", "the model's own probability; nothing is averaged")]
    if noun == "slide":
        rows.append(("Score of a patient", "that of the slide in which most was found"))
    if study.split == "external":
        rows.append(("Temperature", f"{run.temperature:.3f}, of all folds together"))
    else:
        temperatures = _list_numbers([c.temperature for c in study.choices])
        rows.append(("Temperature of each fold", temperatures))
    if run.threshold is None:
        return [*rows, ("Call", "the class with the highest probability")]
    if study.split == "external":
        text = (
            f"probability {run.threshold:.3f}; chosen by the rule {rule} on the "
            "validation patients of all folds"
        )
        return [*rows, (f"A {noun} is called {name} from", text)]
    text = _list_numbers([c.threshold or 0.0 for c in study.choices])
    text += (
        f"; chosen in each fold by the rule {rule} on its own validation patients, and "
        "applied to the patients that it held out. Figures show that of all folds "
        f"together, {run.threshold:.3f}"
    )
    return [*rows, (f"A {noun} is called {name} from, by fold", text)]


def _list_numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _count_split(study: EvaluatedMIL, slides: pd.DataFrame) -> SplitCount:
    labels = slides["label"].dropna().to_numpy(np.int64)
    n_classes = len(study.run.class_names)
    return SplitCount(
        split=study.split,
        n_patients=slides["patient_id"].nunique(),
        n_slides=len(slides),
        n_tiles=sum(study.n_instances.values()),
        n_tiles_by_class=tuple(int((labels == i).sum()) for i in range(n_classes)),
    )


def _average_history(run: MILRun) -> pd.DataFrame | None:
    """Average the models' training curves, epoch by epoch."""
    path = run.path / "history.csv"
    if not path.is_file():
        return None
    history = pd.read_csv(path).select_dtypes("number")
    history = history.drop(columns=["fold", "seed"], errors="ignore")
    if "epoch" not in history or history.empty:
        return None
    return history.groupby("epoch", as_index=False).mean()


def _describe(study: EvaluatedMIL) -> dict[str, str]:
    """Say in words how the model came about."""
    run, origin = study.run, study.run.made_from
    settings = run.record["settings"]
    n_models = sum(len(fold) for fold in run.models)
    who = (
        "each patient is scored by the fold that never saw them"
        if study.split == "test"
        else "the mean of all folds' probabilities"
    )
    rate = settings.get("learning_rate")
    rows = {
        "Aggregator": run.aggregator,
        "A bag is": "a slide" if run.per == "slide" else "a patient, all slides joined",
        "Learnt from": f"labels of {run.per}s alone; no outline was used"
        + (f"; with the columns {', '.join(run.clinical)}" if run.clinical else ""),
        "Encoder": str(origin.get("encoder", "not stated by the features")),
        "Split": f"by patient, {len(run.models)} folds, {n_models} models; {who}",
        "Training": f"at most {settings.get('epochs')} epochs, "
        + (f"learning rate {rate:g}, " if rate else "")
        + f"{settings.get('batch')} bags a step; the "
        "curves are the mean over the models that were still learning",
    }
    if run.takes_pixels:
        rows |= _describe_drawn(run)
    if origin.get("mpp"):
        rows["Tiles"] = (
            f"{origin.get('tile_px', 0):.0f} px at {origin['mpp']:g} micrometres per "
            "pixel, as the encoder saw them"
        )
    return rows


def _describe_drawn(run: MILRun) -> dict[str, str]:
    """Say what a run from pixels learnt from."""
    card = run.card
    witnesses = ", ".join(map(str, card.get("witnesses", ()))) or "unknown numbers of"
    resolution = f" at {card['mpp']:g} micrometres per pixel" if card["mpp"] else ""
    folds = "1 side" if len(run.models) == 1 else f"{len(run.models)} folds"
    return {
        "A bag is": f"{card.get('bag_size', 'some')} drawn tiles; positive ones hold "
        f"{witnesses} witnesses",
        "Learnt from": "labels of bags alone, encoder and aggregator together",
        "Encoder": f"{card['encoder']}, first weights: {Path(card['weights']).name}",
        "Split": f"patients were divided before bags were drawn; each bag is scored by "
        f"a model that saw no patient of it ({folds} held out)",
        "Tiles": f"{card['tile_px']} px{resolution}",
    }


def _find_licence(study: EvaluatedMIL) -> str | None:
    run = study.run
    if study.split == "external":
        return None
    tiles = run.tiles or (find_tile_folder(run.features) if run.features else None)
    return SlideFinder.of_tiles(tiles).licence if tiles else None


def _draw_overlays(
    study: EvaluatedMIL, out: Path, progress: Progress
) -> dict[str, Path]:
    """Draw the attention of the slides that were called most wrongly.

    It is that of the fold which held the slide out. Slides that are not at hand, and
    bags of several slides, are left out.
    """
    run = study.run
    if study.split == "external" or run.per == "patient" or run.features is None:
        return {}
    finder = SlideFinder.of_tiles(find_tile_folder(run.features))
    shown = [
        slide_id
        for slide_id in study.result.slides["slide_id"].head(_SHOWN_OVERLAYS)
        if finder.find_path(slide_id) is not None
    ]
    paths: dict[str, Path] = {}
    with progress.task("Drawing overlays", len(shown)) as task:
        for slide_id in shown:
            image = _draw_overlay(run, finder, slide_id)
            if image is not None:
                path = out / "overlays" / f"{len(paths):02d}.jpg"
                write_image(path, image)
                paths[slide_id] = path
            task.advance()
    return paths


def _draw_overlay(
    run: MILRun, finder: SlideFinder, slide_id: str
) -> npt.NDArray[np.uint8] | None:
    """Draw one slide's held-out attention; None where its places are not known."""
    path = run.path / "attention" / f"{slide_id}.csv"
    if run.features is None or not path.is_file():
        return None
    table = pd.read_csv(path)
    if "x_px0" not in table:
        return None
    coords = table[["x_px0", "y_px0"]].to_numpy(np.int64)
    try:
        file = find_feature_files(run.features)[to_file_name(slide_id)]
        size_px0 = find_tile_size(
            read_attributes(file), coords, finder.find_mpp(slide_id)
        )
        with finder.open(slide_id) as slide:
            if slide is None:
                return None
            picture = picture_slide(slide, title=slide_id, max_px=_OVERLAY_PX)
    except (KeyError, ManifestError, SlideError):
        # Features or slides that have gone since cost the picture, not the report.
        return None
    heatmap = rasterise_tiles(
        coords[:, 0],
        coords[:, 1],
        size_px0,
        rank_attention(table["attention"].to_numpy() * len(table)),
    )
    return draw_attention(picture, heatmap, source="by the fold that held it out")
