"""From new slides to scores, heatmaps and QuPath annotations, without Keras."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from eosin.annotations import Feature, write_geojson
from eosin.cohorts import read_cohort
from eosin.core import (
    CohortError,
    ConfigError,
    Progress,
    RunRecord,
    SlideFailure,
    atomic_path,
    fingerprint_file,
    hash_file,
    hash_object,
    open_run,
    read_json,
    to_file_name,
    write_json,
)
from eosin.evaluation import SlideAggregation, call_classes
from eosin.heatmaps import (
    CLASS_COLOURS,
    Heatmap,
    PredictedRegion,
    draw_overlay,
    find_regions,
    picture_slide,
    rasterise_tiles,
    write_heatmap,
    write_heatmap_picture,
    write_image,
)
from eosin.inference import (
    ModelCard,
    Session,
    TileScores,
    open_session,
    read_card,
    score_tiles,
)
from eosin.slides import Slide, open_slide
from eosin.tiles import TileSpec, find_tissue, place_tiles
from eosin.workflows.slide_listing import iter_rows, list_files
from eosin.workflows.slide_pool import map_slides
from eosin.workflows.tile import TileConfig

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
            model's own, which was chosen on validation patients.
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
    slides: Sequence[Path],
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
    all `slides.csv` and `failures.csv`. A second call scores only slides that are
    new, were changed, or failed.

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
    model_hash = hash_object([hash_file(run / name) for name in card.models])
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
            predictor = _Predictor(card, sessions, config, out)
            with progress.task("Scoring slides", len(jobs)) as task:
                for _ in map_slides(
                    predictor.predict, jobs, record=record, task=task, workers=workers
                ):
                    pass
        return _gather(table, record)


def list_slides(paths: Sequence[Path]) -> pd.DataFrame:
    """List slides from files, folders and slide tables.

    Returns:
        Columns `slide_id`, `path` and `mpp` (NaN where not given).

    Raises:
        CohortError: A table is wrong, a folder has no slide, or two different
            files give one slide id.
    """
    rows: list[dict[str, Any]] = []
    for path in map(Path, paths):
        if path.suffix.lower() == ".csv":
            cohort = read_cohort(path).table
            rows += iter_rows(cohort[["slide_id", "path", "mpp"]])
            continue
        rows += [
            {"slide_id": file.stem, "path": str(file.resolve()), "mpp": np.nan}
            for file in list_files(path)
        ]
    table = pd.DataFrame(rows, columns=["slide_id", "path", "mpp"])
    table = table.drop_duplicates("path", ignore_index=True)
    repeated = table[table["slide_id"].duplicated(keep=False)]
    if len(repeated):
        raise CohortError(
            "each slide needs a name of its own, since its results are named after it; "
            f"these share one: {', '.join(repeated['path'][:4])}; list them in a slide "
            "table with a column slide_id"
        )
    return table


@dataclass(frozen=True)
class _Job:
    """One slide to be scored."""

    slide_id: str
    path: Path
    mpp: float | None
    key: str


class _Predictor:
    """A model with all that is needed to score a slide; safe on many threads."""

    def __init__(
        self,
        card: ModelCard,
        sessions: Sequence[Session],
        config: PredictConfig,
        out: Path,
    ) -> None:
        self._card, self._sessions = card, sessions
        self._config, self._out = config, out
        overlap = config.overlap_px
        self._spec = TileSpec(
            card.mpp, card.tile_px, card.overlap_px if overlap is None else overlap
        )
        self._threshold = (
            card.tile_threshold if config.threshold is None else config.threshold
        )

    def predict(self, job: _Job) -> None:
        """Score one slide and write its files; its part last, when all are there."""
        started = time.monotonic()
        with open_slide(job.path, mpp=job.mpp or self._own_mpp(job)) as slide:
            tiles = self._place(slide)
            scores = self._score(slide, tiles)
            row = self._summarise(job, slide, scores)
            if len(self._card.class_names) == 2 and len(tiles):
                row |= self._draw(job, slide, tiles, scores, row)
            else:
                write_geojson(self._path(job, ".geojson"), [])
        row["seconds"] = round(time.monotonic() - started, 2)
        write_json(_part_path(self._out, job.slide_id), {"key": job.key, "row": row})

    def _own_mpp(self, job: _Job) -> float | None:
        """Take --slide-mpp only where the slide itself says nothing."""
        if self._config.slide_mpp is None:
            return None
        with open_slide(job.path) as slide:
            return None if slide.mpp is not None else self._config.slide_mpp

    def _place(self, slide: Slide) -> pd.DataFrame:
        method = TileConfig(tissue=self._card.tissue).tissue_method  # type: ignore[arg-type]
        tissue = find_tissue(slide, method)
        return place_tiles(slide, self._spec, tissue, min_tissue=self._card.min_tissue)

    def _score(self, slide: Slide, tiles: pd.DataFrame) -> TileScores:
        boxes = tiles[["x_px0", "y_px0", "size_px0", "size_px0"]].to_numpy(np.int64)
        px = self._card.tile_px

        def read(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
            out = np.empty((len(rows), px, px, 3), np.uint8)
            slide.read_tiles(boxes[rows], out)
            return out

        return score_tiles(
            read,
            len(tiles),
            self._sessions,
            views=self._config.views or self._card.views,
            temperature=self._card.temperature,
            batch=self._config.batch,
        )

    def _summarise(self, job: _Job, slide: Slide, scores: TileScores) -> dict[str, Any]:
        card = self._card
        known = scores.probabilities[np.isfinite(scores.probabilities).all(axis=1)]
        row: dict[str, Any] = {
            "slide_id": job.slide_id,
            "path": str(job.path),
            "status": "done" if len(known) else "no tissue",
            "mpp": slide.require_mpp(),
            "mpp_source": slide.mpp_source,
            "tiles": len(scores.probabilities),
            "damaged_tiles": scores.n_unreadable,
            "score": None,
            "label": None,
            "tumour_mm2": 0.0,
        }
        if len(known):
            aggregation = SlideAggregation(share=card.aggregation_share)
            slide_scores = aggregation.score_slide(known)
            called = call_classes(slide_scores[None], card.slide_threshold)[0]
            row["score"] = float(slide_scores[1:].max())
            row["label"] = card.class_names[int(called)]
        return row

    def _draw(
        self,
        job: _Job,
        slide: Slide,
        tiles: pd.DataFrame,
        scores: TileScores,
        row: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write the heatmap, the overlay and the annotations of one slide."""
        mpp, size = slide.require_mpp(), slide.dimensions
        heatmap = rasterise_tiles(
            tiles["x_px0"].to_numpy(np.int64),
            tiles["y_px0"].to_numpy(np.int64),
            int(tiles["size_px0"].iloc[0]),
            scores.probabilities[:, 1],
        )
        threshold = 0.5 if self._threshold is None else self._threshold
        tile_mm2 = (int(tiles["size_px0"].iloc[0]) * mpp / 1000) ** 2
        least = self._config.min_area_mm2
        regions = find_regions(
            heatmap,
            threshold,
            mpp=mpp,
            slide_size=size,
            # A hair less, because areas are sums of floats.
            min_area_mm2=tile_mm2 * 0.999 if least is None else least,
        )
        place: dict[str, Any] = {"slide_size": size, "mpp": mpp}
        write_heatmap(self._path(job, ".heatmap.tif"), heatmap, **place)
        write_heatmap_picture(self._path(job, ".heatmap-colour.tif"), heatmap, **place)
        write_geojson(
            self._path(job, ".geojson"),
            list(self._iter_features(regions, tiles, scores, threshold)),
            slide_bounds=slide.bounds,
        )
        area = sum(region.area_mm2 for region in regions)
        self._write_overlay(job, slide, heatmap, regions, row, threshold)
        return {"tumour_mm2": round(area, 4), "regions": len(regions)}

    def _write_overlay(
        self,
        job: _Job,
        slide: Slide,
        heatmap: Heatmap,
        regions: Sequence[PredictedRegion],
        row: Mapping[str, Any],
        threshold: float,
    ) -> None:
        image = draw_overlay(
            picture_slide(slide, title=job.slide_id),
            heatmap,
            subtitle=f"{row['label']}, score {row['score']:.3f}",
            threshold=threshold,
            regions=regions,
            class_name=self._card.class_names[1],
        )
        write_image(self._path(job, ".overlay.jpg"), image)

    def _iter_features(
        self,
        regions: Sequence[PredictedRegion],
        tiles: pd.DataFrame,
        scores: TileScores,
        threshold: float,
    ) -> Iterator[Feature]:
        name = self._card.class_names[1]
        for index, region in enumerate(regions, 1):
            yield Feature(
                region.geometry,
                class_name=name,
                colour=CLASS_COLOURS[1],
                name=f"{name} {index}, predicted",
                measurements={
                    "Mean probability": region.mean_probability,
                    "Max probability": region.max_probability,
                    "Area mm^2": region.area_mm2,
                },
            )
        if not self._config.tile_objects:
            return
        for x, y, size, probability in zip(
            tiles["x_px0"],
            tiles["y_px0"],
            tiles["size_px0"],
            scores.probabilities[:, 1],
            strict=True,
        ):
            if probability >= threshold:
                yield Feature(
                    shapely.box(x, y, x + size, y + size),
                    class_name=name,
                    colour=CLASS_COLOURS[1],
                    object_type="tile",
                    measurements={"Probability": float(probability)},
                )

    def _path(self, job: _Job, suffix: str) -> Path:
        return self._out / (to_file_name(job.slide_id) + suffix)


def _find_jobs(
    table: pd.DataFrame, out: Path, model_hash: str
) -> list[tuple[str, _Job]]:
    """List the slides that are new, were changed, or failed before."""
    jobs = []
    for row in table.to_dict("records"):
        path = Path(row["path"])
        mpp = None if pd.isna(row["mpp"]) else float(row["mpp"])
        content = fingerprint_file(path) if path.is_file() else None
        key = hash_object({"slide": content, "mpp": mpp, "model": model_hash})
        part = _part_path(out, row["slide_id"])
        if not part.exists() or read_json(part).get("key") != key:
            jobs.append((row["slide_id"], _Job(row["slide_id"], path, mpp, key)))
    return jobs


def _gather(table: pd.DataFrame, record: RunRecord) -> PredictResult:
    """Write the tables of all slides, in the order they were given."""
    failed = {failure.slide_id: failure.message for failure in record.failures}
    rows = []
    for slide_id, path in zip(table["slide_id"], table["path"], strict=True):
        if slide_id in failed:
            rows.append({"slide_id": slide_id, "path": path, "status": "failed"})
        else:
            rows.append(read_json(_part_path(record.folder, slide_id))["row"])
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


def _part_path(out: Path, slide_id: str) -> Path:
    return out / "parts" / (to_file_name(slide_id) + ".json")
