"""From new slides to scores, heatmaps and QuPath annotations, without Keras."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from eosin.core import (
    ConfigError,
    Progress,
    RunRecord,
    SlideError,
    SlideFailure,
    atomic_path,
    hash_object,
    open_run,
    read_json,
)
from eosin.inference import hash_models, open_session, read_card
from eosin.slides import fingerprint_slide
from eosin.workflows.slide_listing import list_slides
from eosin.workflows.slide_pool import map_slides
from eosin.workflows.slide_prediction import SlideJob, SlidePredictor, find_part

_WHOLE_NUMBERS = ("tiles", "damaged_tiles", "regions")
_OUTPUTS = (
    "*.geojson",
    "*.heatmap.tif",
    "*.heatmap-colour.tif",
    "*.overlay.jpg",
    "failures.csv",
    "parts",
    "run.json",
    "slides.csv",
)


@dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """How new slides are scored.

    Attributes:
        slide_mpp: Micrometres per level-0 pixel of slides that do not say it and
            have none in a slide table.
        device: Where the model runs.
        views: Turns and flips averaged for each tile; None takes the model's own.
        batch: Tiles per call of the model.
        overlap_px: Pixels that tiles share; None takes the model's own. Half the
            tile gives a heatmap of twice the resolution at four times the cost.
        threshold: Tile probability from which an area is outlined; None takes the
            model's own, which was chosen on validation patients. With more than two
            classes an area is outlined as the class that is most probable there, and
            a threshold leaves out what is less probable than that.
        min_area_mm2: Smaller outlined areas are left out; None is one tile.
        tile_objects: Whether the GeoJSON also holds every tile at or above the
            threshold.
    """

    slide_mpp: float | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    views: Literal[1, 2, 4, 8] | None = None
    batch: int = 32
    overlap_px: int | None = None
    threshold: float | None = None
    min_area_mm2: float | None = None
    tile_objects: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch must be 1 or more, got {self.batch}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(
                f"threshold must lie between 0 and 1, got {self.threshold:g}"
            )


@dataclass(frozen=True)
class PredictResult:
    """What `predict_slides` made.

    Attributes:
        folder: Where it lies.
        slides: One row per slide, as in `slides.csv`.
        failures: Slides that were given up on.
    """

    folder: Path
    slides: pd.DataFrame
    failures: tuple[SlideFailure, ...]


def predict_slides(
    run: Path,
    slides: Sequence[Path | str],
    config: PredictConfig,
    out: Path,
    *,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PredictResult:
    """Score slides with a trained model.

    Writes for each slide `<slide_id>.geojson` (QuPath), `<slide_id>.heatmap.tif`
    (probabilities), `<slide_id>.heatmap-colour.tif` (the same as a picture, for
    viewers that show no floating-point values) and `<slide_id>.overlay.jpg`, and for
    all `slides.csv` and `failures.csv`. With more than two classes each positive
    class has a heatmap and an overlay of its own, `<slide_id>.<class>.heatmap.tif`.
    A second call scores only slides that are new, were changed, or failed; the
    tables list those of earlier calls too.

    Args:
        run: Folder that `train_classifier` wrote.
        slides: Slide files, folders of them, or slide tables (CSV).
        config: How to score them.
        out: The folder to write to.
        workers: Slides worked on at once; they share one model.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ModelError: `run` holds no finished model.
        CohortError: A slide table is wrong, or two slides have one name.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    run = Path(run)
    card = read_card(run)
    table = list_slides(slides)
    model_hash = hash_models(run, card)
    with open_run(
        out,
        "predict",
        settings={"model": model_hash, **asdict(config)},
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        record.notes["run"] = str(run.resolve())
        jobs = _find_jobs(table, out, model_hash)
        if jobs:
            record.reopen()
            sessions = [
                open_session(run / name, device=config.device) for name in card.models
            ]
            predictor = SlidePredictor(card, sessions, config, out)
            with progress.task("Scoring slides", len(jobs)) as task:
                for _ in map_slides(
                    predictor.predict, jobs, record=record, task=task, workers=workers
                ):
                    pass
        return _gather(table, record)


def _find_jobs(
    table: pd.DataFrame, out: Path, model_hash: str
) -> list[tuple[str, SlideJob]]:
    """List the slides that are new, were changed, or failed before."""
    jobs = []
    for row in table.to_dict("records"):
        path = str(row["path"])
        mpp = None if pd.isna(row["mpp"]) else float(row["mpp"])
        content = _fingerprint(path)
        key = hash_object({"slide": content, "mpp": mpp, "model": model_hash})
        part = find_part(out, row["slide_id"])
        if not part.exists() or read_json(part).get("key") != key:
            jobs.append((row["slide_id"], SlideJob(row["slide_id"], path, mpp, key)))
    return jobs


def _fingerprint(path: str) -> str | None:
    """Hash a slide; what cannot be read fails later, where it is recorded."""
    try:
        return fingerprint_slide(path)
    except (SlideError, OSError):
        return None


def _gather(table: pd.DataFrame, record: RunRecord) -> PredictResult:
    """Write the tables of all slides, in the order they were given."""
    failed = {failure.slide_id for failure in record.failures}
    rows = []
    for slide_id, path in zip(table["slide_id"], table["path"], strict=True):
        if slide_id in failed:
            rows.append({"slide_id": slide_id, "path": path, "status": "failed"})
        else:
            rows.append(read_json(find_part(record.folder, slide_id))["row"])
    asked = set(table["slide_id"])
    parts = sorted(find_part(record.folder, "any").parent.glob("*.json"))
    earlier = [read_json(part)["row"] for part in parts]
    rows += [row for row in earlier if row["slide_id"] not in asked]
    slides = pd.DataFrame(rows)
    for name in ("score", "label", "tumour_mm2", "seconds", *_WHOLE_NUMBERS):
        if name not in slides:
            slides[name] = None
    slides = slides.astype(dict.fromkeys(_WHOLE_NUMBERS, "Int64"))
    failures = pd.DataFrame(
        [asdict(failure) for failure in record.failures],
        columns=["slide_id", "step", "message"],
    )
    if not record.is_done:
        for name, frame in (("slides.csv", slides), ("failures.csv", failures)):
            with atomic_path(record.folder / name) as temporary:
                frame.to_csv(temporary, index=False)
    return PredictResult(record.folder, slides, tuple(record.failures))
