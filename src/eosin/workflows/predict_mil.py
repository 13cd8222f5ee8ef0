"""From a MIL run and features of new slides to calls, attention and galleries."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.bags import ClinicalValues, find_feature_files, read_clinical
from eosin.cohorts import find_patient, read_cohort
from eosin.core import (
    ConfigError,
    Progress,
    RunRecord,
    SlideFailure,
    atomic_path,
    fingerprint_file,
    hash_object,
    open_run,
    read_json,
    to_file_name,
)
from eosin.evaluation import (
    aggregate_slides,
    call_classes,
    probability_columns,
    select_level,
)
from eosin.reports import AttendedSlide, AttentionData, write_attention
from eosin.workflows.mil_bag_prediction import (
    BagJob,
    BagPredictor,
    find_bag_part,
    read_bag_rows,
)
from eosin.workflows.mil_features import find_tile_folder
from eosin.workflows.mil_gallery import find_gallery
from eosin.workflows.mil_run import MILEnsemble, MILRun, open_mil_run
from eosin.workflows.mil_slides import SlideFinder
from eosin.workflows.predict import PredictResult
from eosin.workflows.slide_pool import map_slides

_WHOLE_NUMBERS = ("tiles", "tiles_with_half", "attended_regions")
_OUTPUTS = (
    "*.gallery.png",
    "*.geojson",
    "*.heatmap-colour.tif",
    "*.heatmap.tif",
    "*.overlay.jpg",
    "attention.html",
    "failures.csv",
    "parts",
    "patients.csv",
    "run.json",
    "slides.csv",
)


@dataclass(frozen=True, kw_only=True)
class MILPredictConfig:
    """What is made of new slides' attention.

    Attributes:
        outline_from: Attention over 1/n from which an area is outlined, above 0;
            1 is what every tile has where all are attended alike.
        tile_objects: How many of the most attended tiles the GeoJSON holds as tile
            objects; 0 for none.
        gallery_tiles: How many of them the gallery shows; 0 for none.
        tile_px0: Side of a tile in level-0 pixels, for feature files that do not say
            it; None takes it from the file.
        instance_threshold: Probability from which a tile counts for the outlines of
            methods that score tiles. No label of a tile was ever seen, so that it
            could not be chosen.
    """

    outline_from: float = 2.0
    tile_objects: int = 100
    gallery_tiles: int = 24
    tile_px0: int | None = None
    instance_threshold: float = 0.5

    def __post_init__(self) -> None:
        if not self.outline_from > 0:
            raise ConfigError(
                f"outline_from must be above 0, got {self.outline_from:g}"
            )
        for name in ("tile_objects", "gallery_tiles"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more")
        if self.tile_px0 is not None and self.tile_px0 < 1:
            raise ConfigError(f"tile_px0 must be 1 or more, got {self.tile_px0}")
        if not 0 <= self.instance_threshold <= 1:
            raise ConfigError(
                "instance_threshold must lie between 0 and 1, got "
                f"{self.instance_threshold:g}"
            )


def predict_mil(
    run: Path,
    features: Path,
    config: MILPredictConfig,
    out: Path,
    *,
    slides: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PredictResult:
    """Score slides by all folds of a MIL run, and show what they attend to.

    Writes `slides.csv`, `patients.csv`, `failures.csv` and `attention.html`, and for
    each slide `<slide_id>.geojson` (QuPath), `<slide_id>.heatmap.tif` (rank of
    attention), `<slide_id>.heatmap-colour.tif`, and, where the slide is at hand,
    `<slide_id>.overlay.jpg` and `<slide_id>.gallery.png`. Methods that score tiles have
    the same four of the tiles' probabilities, `<slide_id>.instances.*`. A second call
    works only on slides that are new, were changed, or failed.

    Args:
        run: Folder that `train_mil_study` wrote.
        features: Features of the slides, made as those of the training.
        config: What is written.
        out: The folder to write to.
        slides: A slide table: which slides, of whom, and where their files are. None
            takes every feature file, and slides from where `eosin embed` says that
            their tiles were cut.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ModelError: `run` holds no finished MIL model.
        ManifestError: There is no feature file.
        CohortError: The slide table is wrong.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    found = open_mil_run(run)
    files = find_feature_files(features)
    table, clinical = _list_slides(found, files, slides)
    finder = (
        SlideFinder.of_tiles(find_tile_folder(features))
        if slides is None
        else SlideFinder.of_table(slides)
    )
    sha256 = found.sha256
    with open_run(
        out,
        "mil predict",
        settings={"model": sha256, **asdict(config)},
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        record.notes["run"] = str(found.path.resolve())
        jobs = [
            replace(
                job,
                clinical=clinical.get(job.patient_id),
                key=hash_object([job.key, clinical.get(job.patient_id)]),
            )
            for job in _list_jobs(found, table, files, finder, sha256)
        ]
        todo = [(job.bag_id, job) for job in jobs if not _is_done(job, record.folder)]
        missing = [s for s in table["slide_id"] if to_file_name(s) not in files]
        if todo or missing:
            record.reopen()
        record.failures += [
            SlideFailure(s, "mil predict", f"has no feature file in {features}")
            for s in missing
        ]
        if todo:
            predictor = BagPredictor(
                found, MILEnsemble(found), finder, config, record.folder
            )
            with progress.task("Scoring bags", len(todo)) as task:
                # Keras is used by one thread at a time.
                for _ in map_slides(
                    predictor.predict, todo, record=record, task=task, workers=1
                ):
                    pass
        return _gather(found, jobs, record, config)


def _list_slides(
    run: MILRun, files: Mapping[str, Path], slides: Path | None
) -> tuple[pd.DataFrame, Mapping[str, ClinicalValues]]:
    """List the slides that are wanted, and patients' clinical values if any are."""
    if slides is None:
        if run.clinical:
            raise ConfigError(
                f"{run.path}: its models take {', '.join(run.clinical)} beside the "
                "features; give a slide table with these columns by --slides"
            )
        patients = [find_patient(name) for name in files]
        return pd.DataFrame({"slide_id": list(files), "patient_id": patients}), {}
    table = read_cohort(slides, needs_files=False).table
    clinical = read_clinical(table, run.clinical) if run.clinical else {}
    return table[["slide_id", "patient_id"]].astype(str), clinical


def _list_jobs(
    run: MILRun,
    table: pd.DataFrame,
    files: Mapping[str, Path],
    finder: SlideFinder,
    sha256: str,
) -> list[BagJob]:
    """List the bags, each with the hash of all that its result depends on."""
    owner = "slide_id" if run.per == "slide" else "patient_id"
    jobs = []
    for bag_id, rows in table.groupby(owner, sort=False):
        slide_ids = [s for s in rows["slide_id"] if to_file_name(s) in files]
        if not slide_ids:
            continue
        paths = [files[to_file_name(s)] for s in slide_ids]
        content = [
            [
                str(path),
                fingerprint_file(path),
                finder.fingerprint(s),
                finder.find_mpp(s),
            ]
            for s, path in zip(slide_ids, paths, strict=True)
        ]
        key = hash_object({"model": sha256, "slides": content})
        patient = str(rows["patient_id"].iloc[0])
        jobs.append(BagJob(str(bag_id), patient, tuple(slide_ids), tuple(paths), key))
    return jobs


def _is_done(job: BagJob, out: Path) -> bool:
    part = find_bag_part(out, job.bag_id)
    return part.exists() and read_json(part).get("key") == job.key


def _gather(
    run: MILRun,
    jobs: Sequence[BagJob],
    record: RunRecord,
    config: MILPredictConfig,
) -> PredictResult:
    """Write the tables of all slides, those of earlier calls too, and the page."""
    out = record.folder
    failed = {failure.slide_id for failure in record.failures}
    rows: list[dict[str, Any]] = []
    for job in jobs:
        if job.bag_id in failed:
            rows += [
                {"slide_id": s, "patient_id": job.patient_id, "status": "failed"}
                for s in job.slide_ids
            ]
        else:
            rows += read_bag_rows(out, job.bag_id)
    asked = {find_bag_part(out, job.bag_id).name for job in jobs}
    for part in sorted((out / "parts").glob("*.json")):
        if part.name not in asked:
            rows += read_json(part)["rows"]
    slides = pd.DataFrame(rows, columns=_list_columns(run, rows))
    result = PredictResult(out, slides, tuple(record.failures))
    if not record.is_done:
        _write_tables(run, result)
        _write_page(run, rows, out, config)
    return result


def _list_columns(run: MILRun, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the columns of `slides.csv`; some are there for some methods only."""
    extra = [name for row in rows for name in row if name == "instances_mm2"]
    return [
        "slide_id",
        "patient_id",
        "status",
        "label",
        *probability_columns(run.class_names),
        "lowest_fold",
        "highest_fold",
        "seen_in_training",
        "tiles",
        "highest_attention",
        "tiles_with_half",
        "attended_mm2",
        "attended_regions",
        *dict.fromkeys(extra),
        "seconds",
        "features",
        "note",
    ]


def _write_tables(run: MILRun, result: PredictResult) -> None:
    slides = result.slides
    whole = dict.fromkeys(_WHOLE_NUMBERS, "Int64")
    failures = pd.DataFrame(
        [asdict(failure) for failure in result.failures],
        columns=["slide_id", "step", "message"],
    )
    tables = {
        "slides.csv": slides.astype(whole),
        "patients.csv": score_patients(run, slides),
        "failures.csv": failures,
    }
    for name, frame in tables.items():
        with atomic_path(result.folder / name) as temporary:
            frame.to_csv(temporary, index=False)


def score_patients(run: MILRun, slides: pd.DataFrame) -> pd.DataFrame:
    """Score patients by their slides, as the evaluation does.

    Args:
        run: The run.
        slides: As in `slides.csv`.

    Returns:
        `patient_id`, `slides`, `label` and `probability_<class>`.
    """
    names = list(run.class_names)
    columns = probability_columns(names)
    done = slides[slides["status"] == "done"]
    if done.empty:
        return pd.DataFrame(columns=["patient_id", "slides", "label", *columns])
    rows = done[["slide_id", "patient_id", *columns]].assign(
        level="slide", id=done["slide_id"], split="external", label=None
    )
    table = select_level(aggregate_slides(rows, class_names=names), "patient")
    probabilities = table[columns].to_numpy(float)
    called = call_classes(probabilities, run.threshold)
    counts = done.groupby("patient_id", sort=False).size()
    return pd.DataFrame(
        {
            "patient_id": table["id"],
            "slides": counts.loc[table["id"]].to_numpy(),
            "label": [names[int(label)] for label in called],
            **{name: table[name] for name in columns},
        }
    )


def _write_page(
    run: MILRun,
    rows: Sequence[Mapping[str, Any]],
    out: Path,
    config: MILPredictConfig,
) -> None:
    """Write `attention.html`, the most suspicious slides first."""
    column = probability_columns(run.class_names)[0]
    done = sorted((r for r in rows if r["status"] == "done"), key=lambda r: r[column])
    n_models = sum(len(fold) for fold in run.models)
    data = AttentionData(
        title=f"What {run.path.resolve().name} attends to",
        facts=f"{run.aggregator} · {len(run.models)} folds, {n_models} models · "
        f"{len(done):,} slides",
        scale=(
            "Attention sums to 1 over the tiles of a "
            + ("slide" if run.per == "slide" else "patient")
            + ", so it is told as times 1/n: with 1 a tile counts as much as if all n "
            "tiles were attended alike. It is the mean over all models of all folds.",
            "Colours show the rank among the tiles, 0 to 1: something is always the "
            "brightest, on a slide with nothing to be found too. Orange outlines hold "
            f"attention of {config.outline_from:g} times 1/n or more.",
            "Attention says which tiles the model weighed, not that they are "
            f"{run.class_names[1]}. No outline by hand was ever seen.",
        ),
        slides=[_describe_slide(run, row, out) for row in done],
    )
    write_attention(out / "attention.html", data)


def _describe_slide(run: MILRun, row: Mapping[str, Any], out: Path) -> AttendedSlide:
    slide_id = str(row["slide_id"])
    overlay = out / (to_file_name(slide_id) + ".overlay.jpg")
    gallery = find_gallery(out, slide_id)
    facts = [("Called", str(row["label"]))]
    facts += [
        (f"Probability of {name}", f"{row[f'probability_{name}']:.3f}")
        for name in run.class_names[1:]
    ]
    if row["seen_in_training"]:
        facts.append(("Seen in training", "yes; for held-out results see the report"))
    facts += [
        ("Between folds", f"{row['lowest_fold']:.3f} to {row['highest_fold']:.3f}"),
        ("Tiles", f"{row['tiles']:,}"),
        ("Half of the attention on", f"{row['tiles_with_half']:,} tiles"),
    ]
    return AttendedSlide(
        slide_id=slide_id,
        facts=facts,
        overlay=overlay if overlay.exists() else None,
        gallery=gallery if gallery.exists() else None,
        words=row.get("gallery", ()),
        note=str(row.get("note", "")),
    )
