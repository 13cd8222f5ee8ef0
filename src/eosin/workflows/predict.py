"""From a run of any kind and what is new to calls, maps and tables, without Keras."""

import functools
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import (
    WATCHED,
    ConfigError,
    Items,
    ModelError,
    Progress,
    RunRecord,
    caution_formulas,
    open_run,
    require_own_files,
)
from eosin.evaluation import write_predictions
from eosin.inference import note_calls
from eosin.prediction.items import Asked, Item, list_bags, list_items
from eosin.prediction.outputs import (
    GALLERY,
    OUTPUTS,
    OVERLAY,
    find_output,
    require_own_outputs,
)
from eosin.prediction.patches import (
    Patches,
    list_patches,
    means_patches,
    score_block,
    tabulate_patches,
)
from eosin.prediction.predictor import (
    draw_slide_maps,
    join_tiles,
    list_layers,
    predict_item,
)
from eosin.prediction.scorer import STATE, TileScorer, open_scorer
from eosin.prediction.submission import (
    SubmissionPlan,
    plan_submission,
    write_submission,
)
from eosin.prediction.tables import (
    PredictResult,
    describe_seen,
    list_rows,
    score_patients,
    tabulate_items,
    write_tables,
)
from eosin.prediction.words import (
    describe_calls,
    describe_models,
    describe_row,
    describe_scale,
    list_shown,
)
from eosin.reports import AttendedSlide, make_attention_page, write_page
from eosin.runs.card import Card
from eosin.runs.run import Run, read_run
from eosin.settings import PredictionSettings, Scored, require_settings

_PAGE = "attention.html"
_OUTPUTS = (
    *(f"*{suffix}" for suffix in OUTPUTS),
    *(_PAGE, "parts", STATE, "run.json"),
    *("slides.csv", "patients.csv", "bags.csv", "tiles.csv", "failures.csv"),
    *("predictions.csv", "predictions.parquet"),
)
_RECORDED_FAILURES = 100
_NEXT = "drag the files .geojson onto their slides in QuPath"
_FILES = "overlays, heatmaps, and .geojson to drag onto the slides in QuPath"


def predict(  # noqa: PLR0913 - what is predicted, with what, and how
    run: Path,
    what: Path | str | Sequence[Path | str],
    out: Path,
    settings: PredictionSettings | None = None,
    *,
    cohort: Path | None = None,
    bags: Path | None = None,
    are_patches: bool | None = None,
    submission: Path | None = None,
    sample: Path | None = None,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> PredictResult:
    """Score what is new with a trained model of any kind.

    Of slides it writes `slides.csv` (`seen_in_training` says whose patient the models
    were trained or chosen on), `failures.csv` and for each slide `<slide_id>.geojson`
    (QuPath), `<slide_id>.heatmap.tif`, `<slide_id>.heatmap-colour.tif` (the same as a
    picture, for viewers that show no floating-point values) and
    `<slide_id>.overlay.jpg`. With more than two classes each positive class has maps of
    its own, `<slide_id>.<class>.heatmap.tif`.

    Bag models map the rank of attention, write `patients.csv`, `attention.html` and
    `<slide_id>.gallery.png`, and, where the method scores tiles, the same maps of the
    tiles' own probabilities, `<slide_id>.instances.*`. Slides are tiled and encoded as
    those of the training were. Of drawn bags there are `bags.csv`, `tiles.csv` (each
    tile's attention in its bag) and `<bag_id>.gallery.png`, and for each slide that
    tiles were drawn from the maps of the mean attention over the bags that hold a tile.

    Of patches it writes `predictions.csv`, `predictions.parquet` and `failures.csv`.

    A second call works only on what is new, was changed, or failed; the tables list
    what earlier calls found too.

    Args:
        run: Folder that `train` wrote.
        what: One or more slide files, folders of them, slide tables, packs or
            addresses; for models of features one folder of feature files; for tile
            classifiers a folder that `import_patches` wrote, or folders of images and
            images no larger than the model's tiles; with `bags` the tile folder that
            they were drawn from.
        out: The folder to write to.
        settings: How to score, and what is written.
        cohort: With feature files a slide table: which slides, of whom, and where their
            files are. None takes every feature file, and slides from where `eosin
            embed` says that their tiles were cut.
        bags: For bag models that take tiles, a bag table of `make_bags`, or its folder.
        are_patches: Whether images are patches, for tile classifiers; None finds out by
            their size.
        submission: Of patches, a CSV to write in Kaggle's form, `id,label` with the
            probability of the positive class. Ids are checked before anything is
            scored.
        sample: A CSV with the ids that it must have; None takes those of a
            `sample_submission.csv` in the data set's folder or above, or of the test
            images.
        workers: Slides worked on at once; they share the models.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ModelError: `run` holds no finished models, or they take something else.
        CohortError: A slide table is wrong, two slides or patches have one name, or
            ids are missing or surplus in the submission.
        ManifestError: There is no feature file, or bags were drawn from other tiles.
        ConfigError: A setting is not for these models.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    what = [what] if isinstance(what, str | Path) else list(what)
    settings = require_settings(settings, PredictionSettings)
    models = read_run(run)
    kind: Scored = "bags"
    if are_patches is None and models.card.learner == "tiles":
        are_patches = means_patches(what, models.card.sees.tile_px)
    if are_patches or models.card.learner == "tiles":
        kind = "patches" if are_patches else "tiles"
    settings.require_for(kind)
    _require_meant(
        kind,
        {"bags": bags, "cohort": cohort, "submission": submission, "sample": sample},
    )
    plan: SubmissionPlan | None = None
    with ExitStack() as stack:
        asked: Asked | Patches
        if are_patches:
            asked = list_patches(models, what, settings)
            if submission is not None:
                plan = _plan(Path(submission), sample, asked, models.card)
        elif bags is not None:
            asked = list_bags(models, what, Path(bags), stack)
        else:
            asked = list_items(models, what, settings, cohort=cohort)
        record = stack.enter_context(
            open_run(
                out,
                "predict",
                settings={"model": models.sha256, **asdict(settings)},
                inputs=asked.inputs,
                overwrite=overwrite,
                outputs=_OUTPUTS,
            )
        )
        calls = note_calls(
            models.card.sees.tile_px, device=settings.device, batch=settings.batch
        )
        record.notes |= {"run": str(models.path.resolve()), **calls}
        step = _Step(models, settings, record, progress, workers)
        if isinstance(asked, Patches):
            return step.score_patches(asked, plan)
        return step.score_items(asked)


def _require_meant(kind: Scored, files: Mapping[str, object]) -> None:
    """Stop where a file is given that has no meaning for what is scored."""
    meant = {"submission", "sample"} if kind == "patches" else {"bags", "cohort"}
    if files["bags"] is not None:
        meant.discard("cohort")
    for name, file in files.items():
        if file is not None and name not in meant:
            raise ConfigError(
                f"--{name} {file} has no meaning for what is scored here; leave it out"
            )


def _plan(
    path: Path, sample: Path | None, patches: Patches, card: Card
) -> SubmissionPlan:
    """Find the ids of a submission, and hold the patches' against them."""
    if not card.target.is_binary:
        raise ModelError(
            "a submission holds the probability of one class against the other; this "
            f"model has {len(card.class_names)}: {', '.join(card.class_names)}"
        )
    ids = None if sample is None else Path(sample)
    plan = plan_submission(path, ids, patches.folder)
    plan.require(patches.table["tile_id"].tolist())
    return plan


@dataclass(frozen=True, eq=False)
class _Step:
    """One call, with all that its parts need."""

    run: Run
    settings: PredictionSettings
    record: RunRecord
    progress: Progress
    workers: int

    def score_items(self, asked: Asked) -> PredictResult:
        """Score slides or drawn bags; of bag models with the page."""
        card, out = self.run.card, self.record.folder
        noun = "slide" if asked.folder is None else "bag"
        names = [source.name for item in asked.items for source in item.sources]
        require_own_files(names, f"{noun}s")
        require_own_outputs(names, list_layers(card))
        parts = self._score(asked.items, f"Scoring {noun}s")
        rows = list_rows(parts, asked.items)
        table = tabulate_items(self.run, rows, noun)
        made = card.caution_made()
        ids = (table[name] for name in (f"{noun}_id", "patient_id") if name in table)
        odd = caution_formulas(*ids, card.class_names)
        cautions = (*made, *asked.cautions, *describe_seen(table), *odd)
        is_scored = bool((table["status"] == "done").any())
        if not self.record.is_done:
            tables = {f"{noun}s.csv": table}
            if asked.folder is not None:
                tiles = tables["tiles.csv"] = join_tiles(parts)
                self.record.failures += draw_slide_maps(
                    card, asked.folder, tiles, self.settings, out, self.progress
                )
            elif card.learner != "tiles":
                tables["patients.csv"] = score_patients(card, table)
            if card.learner != "tiles":
                for row, is_seen in zip(rows, table["seen_in_training"], strict=True):
                    row["seen_in_training"] = is_seen
                (out / _PAGE).unlink(missing_ok=True)
                if is_scored:
                    self._write_page(noun, rows, cautions)
            self._write(tables, cautions)
        ends: dict[str, object] = {"Attention": out / _PAGE, "Next": _NEXT}
        if card.learner == "tiles":
            ends = {"Table": out / "slides.csv", "Files": f"{out}: {_FILES}"}
        headline = describe_calls(card, self.settings, noun, table["label"])
        if not is_scored:
            has_failed = bool((table["status"] == "failed").all())
            ends = {"Table": out / f"{noun}s.csv"}
            ends = {"Failures": out / "failures.csv"} if has_failed else ends
            headline = (f"No {noun} was scored.",)
        return PredictResult(
            folder=out,
            noun=f"{noun}s",
            table=table,
            failures=tuple(self.record.failures),
            headline=headline,
            shown=list_shown(card, noun),
            ends=ends,
            cautions=cautions,
        )

    def score_patches(
        self, patches: Patches, plan: SubmissionPlan | None
    ) -> PredictResult:
        """Score patches in blocks, and write the submission."""
        card, out = self.run.card, self.record.folder
        items = Items(self.record, patches.blocks)
        if items.todo:
            self.record.reopen()
            scorer = TileScorer(self.run, self.settings)
            with closing(patches.open_reader()) as reader:
                work = functools.partial(score_block, scorer, reader)
                name = "Scoring patches"
                items.run(work, self.progress, name=name, workers=self.workers)
        found = tabulate_patches(patches, items.gather(), card)
        if not self.record.is_done:
            self.record.failures = list(found.failures[:_RECORDED_FAILURES])
            path = out / "predictions.parquet"
            write_predictions(path, found.predictions, card.target)
            tables = {"predictions.csv": found.simple, "failures.csv": found.failed}
            self._write(tables, patches.notes)
        ends: dict[str, object] = {"Probabilities": out / "predictions.csv"}
        if plan is not None:
            positive = found.simple[card.target.columns[1]].to_numpy()
            write_submission(plan, found.simple["id"].tolist(), positive)
            checked = f"its ids checked against {plan.source}"
            ends["Submission"] = f"{plan.path}, {checked}"
        return PredictResult(
            folder=out,
            noun="patches",
            table=found.simple,
            failures=found.failures,
            headline=describe_calls(
                card, self.settings, "patch", found.simple["called"]
            ),
            ends=ends,
            notes=patches.notes,
            cautions=card.caution_made(),
        )

    def _score(self, asked: Sequence[Item], task: str) -> list[dict[str, Any]]:
        """Work on what is to be done; give the parts of all."""
        items, out = Items(self.record, asked), self.record.folder
        if items.todo:
            self.record.reopen()
            scorer = open_scorer(self.run, self.settings, out)
            work = functools.partial(predict_item, self.run.card, scorer, out)
            items.run(work, self.progress, name=task, workers=self.workers)
            if not self.record.failures:
                shutil.rmtree(out / STATE, ignore_errors=True)
        return items.gather()

    def _write(
        self, tables: Mapping[str, pd.DataFrame], cautions: Sequence[str]
    ) -> None:
        self.record.notes["cautions"] = list(cautions)
        write_tables(self.record.folder, tables, self.record.failures)

    def _write_page(
        self,
        noun: str,
        rows: Sequence[Mapping[str, Any]],
        cautions: Sequence[str],
    ) -> None:
        """Write the page of attention, the most suspicious slides or bags first."""
        card, out = self.run.card, self.record.folder
        done = [row for row in rows if row["status"] == "done"]
        done.sort(key=lambda row: float(row[card.target.columns[0]]))
        slides = []
        for row in done:
            name = str(row[f"{noun}_id"])
            pictures = (find_output(out, name, suffix) for suffix in (OVERLAY, GALLERY))
            overlay, gallery = (path if path.exists() else None for path in pictures)
            slides.append(
                AttendedSlide(
                    slide_id=name,
                    facts=describe_row(card, row),
                    overlay=overlay,
                    gallery=gallery,
                    words=row.get("gallery", ()),
                    note=str(row.get("note", "")),
                )
            )
        name = self.run.path.resolve().name
        page = make_attention_page(
            f"What {name} attends to" + " in drawn bags" * (noun == "bag"),
            (*describe_models(card), f"{len(done):,} {noun}{'s'[: len(done) != 1]}"),
            describe_scale(card, noun, self.settings.outline_from, cautions),
            slides,
        )
        write_page(page, out, _PAGE)
