"""From a MIL run and features of new slides to calls, attention and galleries."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from eosin.bags import ClinicalValues, find_feature_files, read_clinical
from eosin.cohorts import find_patient, read_cohort
from eosin.core import (
    ConfigError,
    ModelError,
    Progress,
    SlideFailure,
    fingerprint_file,
    hash_object,
    open_run,
    to_file_name,
)
from eosin.workflows.mil_bag_prediction import BagJob, BagPredictor, is_bag_done
from eosin.workflows.mil_features import find_tile_folder
from eosin.workflows.mil_prediction_config import MIL_PREDICTIONS, MILPredictConfig
from eosin.workflows.mil_prediction_tables import gather_slides
from eosin.workflows.mil_run import MILEnsemble, MILRun, open_mil_run
from eosin.workflows.mil_slides import SlideFinder
from eosin.workflows.predict import PredictResult
from eosin.workflows.slide_pool import map_slides


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
        ModelError: `run` holds no finished MIL model, or one that takes pixels.
        ManifestError: There is no feature file.
        CohortError: The slide table is wrong.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    found = open_mil_run(run)
    if found.takes_pixels:
        raise ModelError(
            f"{found.path}: its models take tiles, not features; give it slides, or a "
            "tile folder with the bags that were drawn from it"
        )
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
        outputs=MIL_PREDICTIONS,
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
        todo = [
            (job.bag_id, job)
            for job in jobs
            if not is_bag_done(record.folder, job.bag_id, job.key)
        ]
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
        return gather_slides(found, jobs, record, config)


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
