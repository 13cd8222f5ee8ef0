"""The tables and the page of what a MIL run says of new slides."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from eosin.core import (
    RunRecord,
    SlideFailure,
    atomic_path,
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
from eosin.workflows.earlier_failures import keep_failures
from eosin.workflows.mil_bag_prediction import find_bag_part, read_bag_rows
from eosin.workflows.mil_gallery import find_gallery
from eosin.workflows.mil_prediction_config import MILPredictConfig
from eosin.workflows.mil_run import MILRun
from eosin.workflows.predict import PredictResult, describe_seen

_WHOLE_NUMBERS = ("tiles", "damaged_tiles", "tiles_with_half", "attended_regions")


class AskedBag(Protocol):
    """A bag that was asked for."""

    @property
    def bag_id(self) -> str:
        """The slide, or the patient whose slides are joined."""
        ...

    @property
    def patient_id(self) -> str:
        """Its patient."""
        ...

    @property
    def slide_ids(self) -> tuple[str, ...]:
        """Its slides."""
        ...


def gather_slides(
    run: MILRun,
    jobs: Sequence[AskedBag],
    record: RunRecord,
    config: MILPredictConfig,
    *,
    cautions: Sequence[str] = (),
) -> PredictResult:
    """Write the tables of all slides, those of earlier calls too, and the page.

    Args:
        run: The run.
        jobs: The bags that were asked for.
        record: Of the call, with its failures, to which those of earlier calls are
            added; nothing is written where it is done.
        config: What was written of each slide.
        cautions: What a reader must know before believing the calls, as sentences.

    Returns:
        The table, the failures and the cautions.

    Raises:
        RunError: A file cannot be written.
    """
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
    named = {name for job in jobs for name in (job.bag_id, *job.slide_ids)}
    rows += keep_failures(record, named | failed)
    slides = pd.DataFrame(rows, columns=_list_columns(run, rows))
    whole = [name for name in _WHOLE_NUMBERS if name in slides]
    slides = slides.astype(dict.fromkeys(whole, "Int64"))
    known = (*cautions, *describe_seen(slides))
    result = PredictResult(out, slides, tuple(record.failures), known)
    if not record.is_done:
        tables = {"slides.csv": slides, "patients.csv": score_patients(run, slides)}
        write_tables(out, tables, record.failures)
        _write_page(run, rows, result, config)
    return result


def write_tables(
    out: Path, tables: Mapping[str, pd.DataFrame], failures: Sequence[SlideFailure]
) -> None:
    """Write tables as CSV by their names, and `failures.csv`.

    Raises:
        RunError: A file cannot be written.
    """
    columns = ["slide_id", "step", "message"]
    given_up = pd.DataFrame([asdict(own) for own in failures], columns=columns)
    for name, frame in {**tables, "failures.csv": given_up}.items():
        with atomic_path(out / name) as temporary:
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
        *(["damaged_tiles"] if run.takes_pixels else []),
        "highest_attention",
        "tiles_with_half",
        "attended_mm2",
        "attended_regions",
        *dict.fromkeys(extra),
        "seconds",
        "path" if run.takes_pixels else "features",
        "note",
    ]


def _write_page(
    run: MILRun,
    rows: Sequence[Mapping[str, Any]],
    result: PredictResult,
    config: MILPredictConfig,
) -> None:
    """Write `attention.html`, the most suspicious slides first."""
    out = result.folder
    column = probability_columns(run.class_names)[0]
    done = sorted((r for r in rows if r["status"] == "done"), key=lambda r: r[column])
    data = AttentionData(
        title=f"What {run.path.resolve().name} attends to",
        facts=f"{describe_models(run)} · {len(done):,} slides",
        scale=(
            *result.cautions,
            "Attention sums to 1 over the tiles of a "
            + ("slide" if run.per == "slide" else "patient")
            + ", so it is told as times 1/n: with 1 a tile counts as much as if all n "
            "tiles were attended alike."
            + (
                " It is the mean over all models of all folds."
                if len(run.models) > 1
                else ""
            ),
            "Colours show the rank among the tiles, 0 to 1: something is always the "
            "brightest, on a slide with nothing to be found too. Orange outlines hold "
            f"attention of {config.outline_from:g} times 1/n or more.",
            "Attention says which tiles the model weighed, not that they are "
            f"{run.class_names[1]}. {_say_teacher(run)}",
        ),
        slides=[_describe_slide(run, row, out) for row in done],
    )
    write_attention(out / "attention.html", data)


def _say_teacher(run: MILRun) -> str:
    if not run.takes_pixels:
        return "No outline by hand was ever seen."
    return (
        "It was told labels of bags alone; the bags were drawn by labels of tiles, as "
        "outlines give them."
    )


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
    if len(run.models) > 1:
        facts.append(
            ("Between folds", f"{row['lowest_fold']:.3f} to {row['highest_fold']:.3f}")
        )
    facts += [
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


def describe_models(run: MILRun) -> str:
    """Say in one line which models a run has."""
    n_models = sum(len(fold) for fold in run.models)
    folds = "1 fold" if len(run.models) == 1 else f"{len(run.models)} folds"
    models = "1 model" if n_models == 1 else f"{n_models} models"
    return f"{run.aggregator} · {folds}, {models}"
