"""From a MIL run from pixels and new slides to calls, attention and galleries."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from eosin.core import (
    ConfigError,
    ModelError,
    Progress,
    hash_object,
    open_run,
)
from eosin.workflows.mil_bag_prediction import is_bag_done
from eosin.workflows.mil_pixel_prediction import PixelJob, PixelPredictor, find_tiling
from eosin.workflows.mil_prediction_config import MIL_PREDICTIONS, MILPredictConfig
from eosin.workflows.mil_prediction_tables import gather_slides
from eosin.workflows.mil_run import MILEnsemble, MILRun, open_mil_run
from eosin.workflows.predict import PredictResult
from eosin.workflows.slide_listing import fingerprint_readable, list_slides
from eosin.workflows.slide_pool import map_slides


def predict_mil_slides(
    run: Path,
    slides: Sequence[Path | str],
    config: MILPredictConfig,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PredictResult:
    """Score slides by all folds of a run from pixels, and show what they attend to.

    Slides are tiled as those of the training were. Writes what `predict_mil` does. A
    second call works only on slides that are new, were changed, or failed.

    Args:
        run: Folder that `train_pixel_mil` wrote.
        slides: Slide files, folders of them, or slide tables (CSV), which may name
            the slides' patients; a tile folder stands for its own.
        config: What is written.
        out: The folder to write to.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ModelError: `run` holds no finished MIL model, takes features, or does not say
            how its tiles were cut.
        ConfigError: `tile_px0` is given, which the run itself says.
        CohortError: A slide table is wrong, or two slides have one name.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    found = require_pixel_run(run, config)
    find_tiling(found)
    sha256 = found.sha256
    jobs = _list_jobs([_find_table(given) for given in slides], sha256)
    with open_run(
        out,
        "mil predict",
        settings={"model": sha256, **asdict(config)},
        overwrite=overwrite,
        outputs=MIL_PREDICTIONS,
    ) as record:
        record.notes["run"] = str(found.path.resolve())
        todo = [
            (job.bag_id, job)
            for job in jobs
            if not is_bag_done(record.folder, job.bag_id, job.key)
        ]
        if todo:
            record.reopen()
            predictor = PixelPredictor(found, MILEnsemble(found), config, record.folder)
            with progress.task("Scoring slides", len(todo)) as task:
                # Keras is used by one thread at a time.
                for _ in map_slides(
                    predictor.predict, todo, record=record, task=task, workers=1
                ):
                    pass
        return gather_slides(
            found, jobs, record, config, cautions=(say_what_was_learnt(found.card),)
        )


def require_pixel_run(run: Path, config: MILPredictConfig) -> MILRun:
    """Open a run that takes tiles, and check what is asked of it.

    Args:
        run: Its folder.
        config: What is written.

    Raises:
        ModelError: `run` holds no finished MIL model, takes features, or does not say
            what its bags were drawn from.
        ConfigError: `tile_px0` is given.
    """
    found = open_mil_run(run)
    if not found.takes_pixels:
        raise ModelError(
            f"{found.path}: its models take features, not tiles; embed the slides as "
            "the training's were, and give the folder of feature files"
        )
    if config.tile_px0 is not None:
        raise ConfigError(
            "tile_px0 is for feature files that do not say it; a run from pixels cuts "
            "tiles as it was trained on them"
        )
    # Missing, it is found out here and not with every slide anew.
    _ = found.sources
    return found


def say_what_was_learnt(card: Mapping[str, object]) -> str:
    """Say why calls of slides deserve doubt after training on drawn bags.

    Args:
        card: The run's.
    """
    witnesses = card["witnesses"]
    counts = ", ".join(map(str, witnesses if isinstance(witnesses, list) else ()))
    return (
        f"The models learnt from drawn bags of {card['bag_size']} tiles, positive ones "
        f"with {counts} witnesses. A slide has another number of tiles and another "
        "share of witnesses, for which neither probability nor threshold was fitted: "
        "let the probability rank slides, and do not take it for a rate."
    )


def _find_table(given: Path | str) -> Path | str:
    """Take a tile folder's slide table in its place."""
    table = Path(given) / "slides.csv"
    is_tiled = (Path(given) / "tiles.parquet").is_file() and table.is_file()
    return table if is_tiled else given


def _list_jobs(slides: Sequence[Path | str], sha256: str) -> list[PixelJob]:
    """List the slides, each with the hash of all that its result depends on."""
    jobs = []
    for row in list_slides(slides).to_dict("records"):
        slide_id, path = str(row["slide_id"]), str(row["path"])
        mpp = None if pd.isna(row["mpp"]) else float(row["mpp"])
        patient_id = str(row["patient_id"])
        content = [path, fingerprint_readable(path), mpp, patient_id]
        key = hash_object({"model": sha256, "slide": content})
        jobs.append(PixelJob(slide_id, path, mpp, patient_id, key))
    return jobs
