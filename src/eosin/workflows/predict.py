"""From new slides to scores, heatmaps and QuPath annotations, without Keras."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import pandas as pd

from eosin.cohorts import say_examples
from eosin.core import (
    ConfigError,
    Progress,
    RunRecord,
    SlideFailure,
    atomic_path,
    hash_object,
    open_run,
    read_json,
)
from eosin.inference import hash_models, open_session, read_card
from eosin.workflows.earlier_failures import keep_failures
from eosin.workflows.slide_listing import fingerprint_readable, list_slides
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
        cautions: What a reader must know before believing the calls.
    """

    folder: Path
    slides: pd.DataFrame
    failures: tuple[SlideFailure, ...]
    cautions: tuple[str, ...] = ()


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
    all `slides.csv` (`seen_in_training` says whose patient the model was trained or
    chosen on) and `failures.csv`. With more than two classes each positive
    class has a heatmap and an overlay of its own, `<slide_id>.<class>.heatmap.tif`.
    A second call scores only slides that are new, were changed, or failed; the
    tables list those of earlier calls too, failed ones as well.

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
        return _gather(table, record, _Seen.of_run(run))


class _Seen:
    """Slides and patients that a model was trained or chosen on."""

    def __init__(self, slides: set[str], patients: set[str]) -> None:
        self._slides, self._patients = slides, patients

    @classmethod
    def of_run(cls, run: Path) -> Self:
        """Read them from a run; with folds each patient has trained some model."""
        path = run / "splits.csv"
        if not path.exists():
            return cls(set(), set())
        splits = pd.read_csv(path, dtype=str, keep_default_na=False)
        seen = splits[splits["split"].isin(("train", "val"))]
        return cls(set(seen["slide_id"]), set(seen["patient_id"]))

    def mark(self, slides: pd.DataFrame) -> pd.Series:
        """Say of each slide whether it or its patient was seen."""
        return slides["slide_id"].isin(self._slides) | slides["patient_id"].isin(
            self._patients
        )


def describe_seen(slides: pd.DataFrame) -> tuple[str, ...]:
    """Say how many slides' calls are no sign of how good a model is.

    Args:
        slides: `slide_id` and `seen_in_training`.

    Returns:
        One sentence, or none.
    """
    # Of a slide that failed nothing may be said.
    is_seen = slides["seen_in_training"].eq(True)  # noqa: FBT003 - a value
    seen = [str(slide_id) for slide_id in slides.loc[is_seen, "slide_id"]]
    if not seen:
        return ()
    return (
        f"{len(seen):,} of {len(slides):,} slides ({say_examples(seen)}) are of "
        "patients that the model was trained or chosen on: what it finds on them says "
        "nothing of how it does on new patients. Its evaluation scores those that were "
        "held out.",
    )


def _find_jobs(
    table: pd.DataFrame, out: Path, model_hash: str
) -> list[tuple[str, SlideJob]]:
    """List the slides that are new, were changed, or failed before."""
    jobs = []
    for row in table.to_dict("records"):
        path = str(row["path"])
        mpp = None if pd.isna(row["mpp"]) else float(row["mpp"])
        content = fingerprint_readable(path)
        key = hash_object({"slide": content, "mpp": mpp, "model": model_hash})
        part = find_part(out, row["slide_id"])
        if not part.exists() or read_json(part).get("key") != key:
            patient = str(row["patient_id"])
            job = SlideJob(str(row["slide_id"]), path, mpp, key, patient)
            jobs.append((job.slide_id, job))
    return jobs


def _gather(table: pd.DataFrame, record: RunRecord, seen: _Seen) -> PredictResult:
    """Write the tables of all slides, in the order they were given."""
    failed = {failure.slide_id for failure in record.failures}
    rows = []
    columns = (table["slide_id"], table["path"], table["patient_id"])
    for slide_id, path, patient in zip(*columns, strict=True):
        if slide_id in failed:
            own = {"slide_id": slide_id, "path": path, "status": "failed"}
        else:
            own = read_json(find_part(record.folder, slide_id))["row"]
        # What the table says now goes before what it said when the slide was scored.
        rows.append(own | {"patient_id": patient})
    asked = set(table["slide_id"])
    parts = sorted(find_part(record.folder, "any").parent.glob("*.json"))
    earlier = [read_json(part)["row"] for part in parts]
    rows += [row for row in earlier if row["slide_id"] not in asked]
    rows += keep_failures(record, asked)
    slides = pd.DataFrame(rows)
    for name in (
        "patient_id",
        "score",
        "label",
        "tumour_mm2",
        "seconds",
        *_WHOLE_NUMBERS,
    ):
        if name not in slides:
            slides[name] = None
    slides = slides.astype(dict.fromkeys(_WHOLE_NUMBERS, "Int64"))
    slides["seen_in_training"] = seen.mark(slides)
    cautions = describe_seen(slides)
    failures = pd.DataFrame(
        [asdict(failure) for failure in record.failures],
        columns=["slide_id", "step", "message"],
    )
    if not record.is_done:
        for name, frame in (("slides.csv", slides), ("failures.csv", failures)):
            with atomic_path(record.folder / name) as temporary:
                frame.to_csv(temporary, index=False)
        record.notes["cautions"] = list(cautions)
    return PredictResult(record.folder, slides, tuple(record.failures), cautions)
