"""From a MIL run from pixels and drawn bags to calls, attention and galleries."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eosin.bags import read_bag_table
from eosin.core import (
    ModelError,
    Progress,
    RunRecord,
    SlideFailure,
    hash_file,
    hash_object,
    open_run,
    read_json,
)
from eosin.evaluation import probability_columns
from eosin.reports import AttendedSlide, AttentionData, write_attention
from eosin.tiles import TileReader
from eosin.workflows.make_bags import BAG_TABLE
from eosin.workflows.mil_bag_prediction import find_bag_part, is_bag_done
from eosin.workflows.mil_drawn_bags import (
    TILE_COLUMNS,
    DrawnBagPredictor,
    DrawnJob,
)
from eosin.workflows.mil_drawn_maps import draw_slide_maps
from eosin.workflows.mil_gallery import find_gallery
from eosin.workflows.mil_prediction_config import MIL_PREDICTIONS, MILPredictConfig
from eosin.workflows.mil_prediction_tables import describe_models, write_tables
from eosin.workflows.mil_run import MILEnsemble, MILRun
from eosin.workflows.predict_mil_pixels import require_pixel_run, say_what_was_learnt
from eosin.workflows.run_checks import find_differences
from eosin.workflows.slide_pool import map_slides
from eosin.workflows.tile_folder import TileFolder, open_tile_folder
from eosin.workflows.train_mil_pixels import require_drawn_from

_OUTPUTS = (*MIL_PREDICTIONS, "bags.csv", "tiles.csv")


@dataclass(frozen=True, eq=False)
class DrawnBagsResult:
    """What `predict_mil_bags` made.

    Attributes:
        folder: Where it lies.
        bags: One row per bag, as in `bags.csv`.
        failures: Bags that were given up on, and slides whose maps were.
        cautions: What a reader must know before believing the calls.
    """

    folder: Path
    bags: pd.DataFrame
    failures: tuple[SlideFailure, ...]
    cautions: tuple[str, ...]


def predict_mil_bags(
    run: Path,
    tiles: Path,
    bags: Path,
    config: MILPredictConfig,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DrawnBagsResult:
    """Score drawn bags by all folds of a run from pixels, and show their attention.

    Writes `bags.csv`, `tiles.csv` (each tile's attention in its bag), `failures.csv`
    and `attention.html`, for each bag `<bag_id>.gallery.png`, and for each slide that
    tiles were drawn from the same maps as `predict_mil`, of the mean attention over
    the bags that hold a tile. A second call works only on bags that failed.

    Args:
        run: Folder that `train_pixel_mil` wrote.
        tiles: The tile folder that the bags were drawn from.
        bags: The bag table of `make_bags`, or its folder. Its labels and witnesses are
            written beside what is found, and used for nothing else.
        config: What is written.
        out: The folder to write to.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ModelError: `run` holds no finished MIL model or takes features, or the tiles
            or classes are others than its own.
        ManifestError: The bags were not drawn from these tiles.
        ConfigError: `tile_px0` is given.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    found = require_pixel_run(run, config)
    bags = Path(bags)
    path = bags / BAG_TABLE if bags.is_dir() else bags
    table, info = read_bag_table(path)
    folder = open_tile_folder(tiles)
    require_drawn_from(path, info, folder)
    _require_own_tiles(found, folder, info.class_names)
    cautions = []
    is_same = [info.size, list(info.witnesses)] == [
        found.card["bag_size"],
        found.card["witnesses"],
    ]
    if not is_same:
        cautions.append(say_what_was_learnt(found.card))
    sha256 = found.sha256
    with open_run(
        out,
        "mil predict bags",
        settings={"model": sha256, **asdict(config)},
        inputs={"bags": hash_file(path), "tiles": folder.sha256},
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        record.notes["run"] = str(found.path.resolve())
        jobs = _list_jobs(table, folder, sha256)
        todo = [
            (job.bag_id, job)
            for job in jobs
            if not is_bag_done(record.folder, job.bag_id, job.key)
        ]
        if todo:
            record.reopen()
            with folder.open_reader() as reader:
                _score(found, reader, todo, config, record, progress)
        return _gather(found, folder, jobs, record, config, cautions, progress)


def _require_own_tiles(
    run: MILRun, folder: TileFolder, class_names: Sequence[str]
) -> None:
    """Stop where tiles or classes are not those that a run learnt from."""
    card = run.card
    problems = find_differences(
        folder.info,
        tile_px=card["tile_px"],
        context=card.get("context", 1.0),
        mpp=card["mpp"],
    )
    if tuple(class_names) != run.class_names:
        problems.append(
            f"classes {', '.join(run.class_names)}, the bags have "
            f"{', '.join(class_names)}"
        )
    if problems:
        raise ModelError(
            f"{folder.path}: the model was trained on {'; '.join(problems)}; tile and "
            "draw bags as for the training"
        )


def _list_jobs(table: pd.DataFrame, folder: TileFolder, sha256: str) -> list[DrawnJob]:
    """List the bags, each with the hash of all that its result depends on."""
    place = pd.Series(np.arange(len(folder.tiles)), index=folder.tiles["tile_id"])
    table = table.assign(place=place.loc[table["tile_id"]].to_numpy())
    return [
        DrawnJob(
            str(bag_id),
            rows,
            hash_object({"model": sha256, "tiles": rows["tile_id"].tolist()}),
        )
        for bag_id, rows in table.groupby("bag_id", sort=False)
    ]


def _score(
    run: MILRun,
    reader: TileReader,
    todo: Sequence[tuple[str, DrawnJob]],
    config: MILPredictConfig,
    record: RunRecord,
    progress: Progress,
) -> None:
    predictor = DrawnBagPredictor(run, MILEnsemble(run), reader, config, record.folder)
    with progress.task("Scoring bags", len(todo)) as task:
        # Keras is used by one thread at a time.
        for _ in map_slides(
            predictor.predict, todo, record=record, task=task, workers=1
        ):
            pass


def _gather(
    run: MILRun,
    folder: TileFolder,
    jobs: Sequence[DrawnJob],
    record: RunRecord,
    config: MILPredictConfig,
    cautions: list[str],
    progress: Progress,
) -> DrawnBagsResult:
    """Write the tables, the maps of the slides and the page."""
    out = record.folder
    failed = {failure.slide_id for failure in record.failures}
    parts = [
        read_json(find_bag_part(out, j.bag_id)) for j in jobs if j.bag_id not in failed
    ]
    rows = [part["row"] for part in parts]
    n_seen = sum(row["seen_in_training"] for row in rows)
    if n_seen:
        cautions.append(
            f"{n_seen:,} of {len(rows):,} bags hold tiles of patients that training "
            "has seen; 'eosin mil evaluate' scores the training's own bags by the fold "
            "that held them out."
        )
    rows += [
        {"bag_id": job.bag_id, "split": job.rows["split"].iloc[0], "status": "failed"}
        for job in jobs
        if job.bag_id in failed
    ]
    bags = pd.DataFrame(rows, columns=_list_columns(run))
    if not record.is_done:
        empty = pd.DataFrame(columns=["bag_id", *TILE_COLUMNS])
        tables = [pd.DataFrame(part["tiles"]) for part in parts] or [empty]
        tiles = pd.concat(tables, ignore_index=True)
        record.failures += draw_slide_maps(run, folder, tiles, config, out, progress)
        write_tables(out, {"bags.csv": bags, "tiles.csv": tiles}, record.failures)
        _write_page(run, [part["row"] for part in parts], out, cautions)
    return DrawnBagsResult(out, bags, tuple(record.failures), tuple(cautions))


def _list_columns(run: MILRun) -> list[str]:
    return [
        "bag_id",
        "split",
        "status",
        "label",
        *probability_columns(run.class_names),
        "lowest_fold",
        "highest_fold",
        "seen_in_training",
        "tiles",
        "highest_attention",
        "tiles_with_half",
        "true_label",
        "witnesses",
        "witness_auc",
        "seconds",
    ]


def _write_page(
    run: MILRun, rows: Sequence[dict[str, Any]], out: Path, cautions: Sequence[str]
) -> None:
    """Write `attention.html`, the most suspicious bags first."""
    column = probability_columns(run.class_names)[0]
    data = AttentionData(
        title=f"What {run.path.resolve().name} attends to in drawn bags",
        facts=f"{describe_models(run)} · {len(rows):,} bags",
        scale=(
            *cautions,
            "Attention sums to 1 over the tiles of a bag, so it is told as times 1/n: "
            "with 1 a tile counts as much as if all n tiles were attended alike.",
            "Labels and witnesses are those of the bag table; what is found rests on "
            "neither.",
            "The maps beside this file show, slide by slide, the mean attention over "
            "the bags that hold a tile. Attention is weighed against the other tiles "
            "of a bag, so that tiles of different bags compare roughly.",
        ),
        slides=[
            _describe(run, row, out) for row in sorted(rows, key=lambda r: r[column])
        ],
    )
    write_attention(out / "attention.html", data)


def _describe(run: MILRun, row: dict[str, Any], out: Path) -> AttendedSlide:
    name = run.class_names[1]
    facts = [
        ("Called", str(row["label"])),
        (f"Probability of {name}", f"{row[f'probability_{name}']:.3f}"),
        ("Drawn as", f"{row['true_label']}, {row['witnesses']} witnesses"),
        ("Side", str(row["split"])),
    ]
    if row["witness_auc"] is not None:
        facts.append(("Attention tells witnesses, AUC", f"{row['witness_auc']:.2f}"))
    if row["seen_in_training"]:
        facts.append(("Seen in training", "yes, patients of its tiles"))
    gallery = find_gallery(out, str(row["bag_id"]))
    return AttendedSlide(
        slide_id=str(row["bag_id"]),
        facts=facts,
        overlay=None,
        gallery=gallery if gallery.exists() else None,
        words=row["gallery"],
    )
