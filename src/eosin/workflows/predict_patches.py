"""From patches to probabilities and a submission, without Keras."""

import itertools
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from eosin.cohorts import say_examples
from eosin.core import (
    CohortError,
    ConfigError,
    ModelError,
    Progress,
    RunRecord,
    SlideFailure,
    atomic_path,
    open_run,
)
from eosin.evaluation import (
    build_tile_predictions,
    call_classes,
    probability_columns,
    read_predictions,
    write_predictions,
)
from eosin.inference import ModelCard, hash_models, open_session, read_card
from eosin.workflows.patch_listing import PatchListing, WhichPatches, list_patches
from eosin.workflows.patch_scores import PatchScores, score_patches
from eosin.workflows.submission import (
    Submission,
    SubmissionPlan,
    plan_submission,
    write_submission,
)

_OUTPUTS = (
    "failures.csv",
    "parts",
    "predictions.csv",
    "predictions.parquet",
    "run.json",
)
_RECORDED_FAILURES = 100


@dataclass(frozen=True, kw_only=True)
class PatchPredictConfig:
    """How patches are scored.

    Attributes:
        which: Of an imported folder, the patches without a label, or all of them;
            `auto` is those without where there are any.
        views: Turns and flips averaged for each patch; None takes the model's own.
        device: Where the model runs.
        batch: Patches per call of the model.
        resample: Whether images of another size than the model's tiles are brought
            to it. Their resolution then is another, too.
    """

    which: WhichPatches = "auto"
    views: Literal[1, 2, 4, 8] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    batch: int = 64
    resample: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch must be 1 or more, got {self.batch}")


@dataclass(frozen=True)
class PatchPredictResult:
    """What `predict_patches` made.

    Attributes:
        folder: Where it lies.
        n_patches: Patches that were to be scored.
        n_failed: Those of them that cannot be read.
        called: Patches by the class they are called.
        submission: The file that was written, if any.
        checked_against: Where the ids of the submission come from.
        notes: What the user should know, as sentences.
        failures: Patches that cannot be read, 100 at most.
    """

    folder: Path
    n_patches: int
    n_failed: int
    called: dict[str, int]
    submission: Path | None
    checked_against: Path | None
    notes: tuple[str, ...]
    failures: tuple[SlideFailure, ...]


def predict_patches(
    run: Path,
    patches: Sequence[Path | str],
    config: PatchPredictConfig,
    out: Path,
    *,
    submission: Submission | None = None,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PatchPredictResult:
    """Score patches with a trained model, and write a submission where asked.

    Writes `predictions.csv`, `predictions.parquet` and `failures.csv`. Patches are
    scored in parts of a fixed size, so that memory is bounded, and an interrupted
    call goes on at the next part and ends with the same numbers. With folds the mean
    of the folds' probabilities is taken.

    Args:
        run: Folder that `train_classifier` wrote.
        patches: One folder that `import_patches` wrote, or folders of images and
            images.
        config: How to score them.
        out: The folder to write to.
        submission: A CSV to write in Kaggle's form, `id,label` with the probability
            of the positive class.
        workers: Threads that read.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ModelError: `run` holds no finished model, it is for other tiles, or a
            submission is asked for and it has not two classes.
        CohortError: There is no patch, two have one id, or ids are missing or
            surplus in the submission. Ids are checked before anything is scored.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    run, out = Path(run), Path(out)
    card = read_card(run)
    listing = list_patches(patches, card, which=config.which, resample=config.resample)
    plan = _plan(submission, listing, card)
    _require_unique(listing)
    model_hash = hash_models(run, card)
    with open_run(
        out,
        "predict patches",
        settings={"model": model_hash, **asdict(config)},
        inputs={"patches": listing.fingerprint},
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            record.notes["run"] = str(run.resolve())
            sessions = [
                open_session(run / name, device=config.device) for name in card.models
            ]
            with closing(listing.open_reader()) as reader:
                scores = score_patches(
                    reader.read,
                    len(listing.table),
                    sessions,
                    out / "parts",
                    views=config.views or card.views,
                    temperature=card.temperature,
                    batch=config.batch,
                    readers=workers,
                    progress=progress,
                )
            _write(listing, scores, card, record)
        table, _ = read_predictions(out / "predictions.parquet")
        if plan is not None:
            positive = probability_columns(card.class_names)[1]
            write_submission(plan, table["id"].tolist(), table[positive].to_numpy())
        return PatchPredictResult(
            out,
            record.notes["n_patches"],
            record.notes["n_failed"],
            record.notes["called"],
            plan.path if plan else None,
            plan.source if plan else None,
            listing.notes,
            tuple(record.failures),
        )


def _plan(
    submission: Submission | None, listing: PatchListing, card: ModelCard
) -> SubmissionPlan | None:
    """Find the ids of the submission, and hold the patches' against them."""
    if submission is None:
        return None
    if len(card.class_names) != 2:
        raise ModelError(
            "a submission holds the probability of one class against the other; this "
            f"model has {len(card.class_names)}: {', '.join(card.class_names)}"
        )
    plan = plan_submission(submission, listing.folder)
    plan.require(listing.table["tile_id"].tolist())
    return plan


def _require_unique(listing: PatchListing) -> None:
    ids = listing.table["tile_id"]
    if (is_twice := ids.duplicated()).any():
        raise CohortError(
            f"{listing.folder}: each patch needs an id of its own, its file's name "
            f"without the suffix; {int(is_twice.sum()):,} ids stand for several files "
            f"({say_examples(ids[is_twice].unique())})"
        )


def _write(
    listing: PatchListing, scores: PatchScores, card: ModelCard, record: RunRecord
) -> None:
    """Write the tables, and record what was found."""
    table, names = listing.table, card.class_names
    rows = sorted(scores.errors)
    messages = [scores.errors[row] for row in rows]
    if len(rows) == len(table):
        raise CohortError(
            f"not one of {len(rows):,} patches can be read; the first: {messages[0]}"
        )
    failed = table.iloc[rows][["tile_id", "file"]].assign(message=messages)
    record.failures += [
        SlideFailure(tile_id, "predict", message)
        for tile_id, message in itertools.islice(
            zip(failed["tile_id"], messages, strict=True), _RECORDED_FAILURES
        )
    ]
    is_read = np.ones(len(table), bool)
    is_read[rows] = False
    table, found = table[is_read], scores.probabilities[is_read]
    predictions = build_tile_predictions(table.assign(split="external"), found, names)
    write_predictions(record.folder / "predictions.parquet", predictions, names)
    called = [names[i] for i in call_classes(found, card.tile_threshold)]
    columns = dict(zip(probability_columns(names), found.T, strict=True))
    simple = table[["tile_id", "file"]].assign(called=called, **columns)
    for name, frame in (("predictions.csv", simple), ("failures.csv", failed)):
        with atomic_path(record.folder / name) as temporary:
            frame.rename(columns={"tile_id": "id"}).to_csv(temporary, index=False)
    record.notes |= {
        "n_patches": len(listing.table),
        "n_failed": len(rows),
        "called": dict(Counter(called)),
    }
