"""From a MIL run and held-out or external bags to numbers that can be believed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eosin.bags import Bag, find_feature_files, read_bags
from eosin.cohorts import read_cohort, require_labels
from eosin.core import (
    ManifestError,
    ModelError,
    Progress,
    RunError,
    hash_file,
    open_run,
    write_json,
)
from eosin.evaluation import (
    aggregate_slides,
    caution_bags,
    evaluate_predictions,
    probability_columns,
    write_predictions,
)
from eosin.workflows.encoder_patients import LEARNT
from eosin.workflows.evaluate import EvaluateResult
from eosin.workflows.mil_colours import evaluate_mean_colour
from eosin.workflows.mil_evaluation_report import EvaluatedMIL, report_mil
from eosin.workflows.mil_features import hash_features, require_same_origin
from eosin.workflows.mil_run import (
    MILEnsemble,
    MILRun,
    is_held_out,
    list_fold_cautions,
    open_mil_run,
    tabulate_slides,
)

_OUTPUTS = (
    "figures",
    "metrics.json",
    "overlays",
    "predictions.parquet",
    "report.html",
    "run.json",
)


def evaluate_mil_run(
    run: Path,
    *,
    on: Path | None = None,
    cohort: Path | None = None,
    out: Path | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EvaluateResult:
    """Score a MIL model on the patients that its folds held out, or on others.

    Each held-out patient is scored by the fold that never saw them, with temperature
    and threshold that this fold's validation patients alone chose. An external cohort
    is scored by all folds together, with what all validation patients chose; nothing
    is chosen on it. Mean colour alone is scored beside the model where the tile table
    is still there.

    Args:
        run: Folder that `train_mil_study` wrote.
        on: Features of an external cohort, none of whose patients was in training.
        cohort: Its slide table, with labels; needed with `on`, and only there.
        out: Where to write; by default `evaluation` in the run folder.
        n_bootstrap: Resamples of patients for the intervals.
        seed: Decides which resamples are drawn.
        overwrite: Replace an evaluation of other settings.
        progress: Told how far it is.

    Raises:
        ModelError: `run` holds no finished MIL model, or the features are of others.
        ManifestError: Patients of the training are in `on`, or features and slides do
            not fit together.
        CohortError: The slide table is wrong.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    found = open_mil_run(run)
    inputs = {"model": found.sha256, "held_out": hash_file(found.path / "held_out.csv")}
    bags: list[Bag] = []
    if on is not None or cohort is not None:
        if on is None or cohort is None or out is None:
            raise RunError(
                "an external cohort needs its features, its slide table and a folder "
                "of its own: --on FEATURES --cohort SLIDES.csv -o OUT"
            )
        if found.takes_pixels:
            raise ModelError(
                f"{found.path}: its models take tiles, and --on takes features; score "
                "other bags by 'eosin mil predict --bags', which writes their labels "
                "beside what is found"
            )
        bags = _read_external(found, Path(on), Path(cohort))
        inputs |= {"cohort": hash_file(Path(cohort)), "features": hash_features(on)}
    out = Path(out) if out is not None else found.path / "evaluation"
    with open_run(
        out,
        "mil evaluate",
        settings={"on": str(on) if on else None, "n_bootstrap": n_bootstrap},
        inputs=inputs,
        seed=seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            study = _Study(found, bags, n_bootstrap=n_bootstrap, seed=seed)
            content = study.evaluate(out, progress)
            write_json(out / "metrics.json", content["metrics"])
            record.notes |= content
        return EvaluateResult.from_record(record, is_of_bags=found.takes_pixels)


class _Study:
    """One model on its held-out bags, or on external ones."""

    def __init__(
        self, run: MILRun, external: Sequence[Bag], *, n_bootstrap: int, seed: int
    ) -> None:
        self._run, self._external = run, external
        self._split = "external" if external else "test"
        self._choices = run.choose_by_fold()
        self._options: dict[str, Any] = {
            "class_names": run.class_names,
            "split": self._split,
            "n_bootstrap": n_bootstrap,
            "seed": seed,
        }

    def evaluate(self, out: Path, progress: Progress) -> dict[str, Any]:
        """Score, write predictions, figures and report; return the numbers."""
        run = self._run
        slides = self._score_external(progress) if self._external else self._score()
        table = aggregate_slides(slides, class_names=run.class_names)
        write_predictions(out / "predictions.parquet", table, run.class_names)
        result = evaluate_predictions(
            table,
            threshold=None,
            slide_threshold=run.threshold,
            group_thresholds=self._find_group_thresholds(),
            **self._options,
        )
        if run.takes_pixels:
            result = caution_bags(result)
        baseline = None
        if not self._external:
            baseline = evaluate_mean_colour(run, self._options)
        cautions = list(dict.fromkeys((*result.cautions, *self._list_cautions())))
        report_mil(
            EvaluatedMIL(
                run=run,
                split=self._split,
                predictions=table,
                result=result,
                baseline=baseline,
                choices=self._choices,
                n_instances=self._count_instances(),
                cautions=cautions,
            ),
            out,
            progress,
        )
        return {
            "metrics": result.metrics,
            "baseline": baseline.metrics if baseline else {},
            "thresholds": result.thresholds,
            "cautions": cautions,
        }

    def _score(self) -> pd.DataFrame:
        """Score each held-out bag by the fold that did not see its patient."""
        run = self._run
        parts = []
        for fold, choice in enumerate(self._choices):
            held = run.held_out
            rows = held[(held["fold"] == fold) & (held["split"] == "test")]
            part = pd.DataFrame(
                {
                    "level": "slide",
                    "id": rows["bag_id"],
                    "slide_id": rows["bag_id"],
                    "patient_id": rows["patient_id"],
                    "split": "test",
                    "label": rows["label"].astype("Int64"),
                }
            )
            part[probability_columns(run.class_names)] = run.find_probabilities(
                rows, choice.temperature
            )
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def _score_external(self, progress: Progress) -> pd.DataFrame:
        """Score external bags by all folds; their labels are not looked at."""
        ensemble = MILEnsemble(self._run)
        found = []
        with progress.task("Scoring bags", len(self._external)) as task:
            for bag in self._external:
                found.append(ensemble.predict([bag])[0].probabilities)
                task.advance()
        return tabulate_slides(
            self._external, np.array(found), self._run.class_names, split="external"
        )

    def _find_group_thresholds(
        self,
    ) -> tuple[Mapping[str, float], Mapping[str, float]] | None:
        """Find each held-out patient's threshold: that of the fold they were in."""
        if self._external or len(self._run.class_names) > 2:
            return None
        held = self._run.held_out
        test = held[held["split"] == "test"]
        thresholds = [choice.threshold for choice in self._choices]
        by_patient = {
            str(patient): float(thresholds[fold] or 0.0)
            for patient, fold in zip(test["patient_id"], test["fold"], strict=True)
        }
        return by_patient, {}

    def _list_cautions(self) -> list[str]:
        """Say what limits the numbers beside what they say themselves."""
        run = self._run
        told = run.record.get("notes", {}).get("cautions", [])
        if self._external:
            said = [text for text in told if text.startswith("Threshold")]
        else:
            said = list_fold_cautions(self._choices)
            said += [text for text in told if text.startswith(LEARNT)]
        if run.takes_pixels:
            said.append(
                "Bags were drawn: what stands as a slide or as a patient in files is a "
                f"bag. The bags that are scored share {_count_patients(run)}, and "
                "tiles, so that intervals, which count each bag as a patient of its "
                "own, are too narrow for a claim about new patients."
            )
        if run.per == "patient":
            said.append(
                "A bag holds all slides of a patient, so that what stands as a slide "
                "below is a patient."
            )
        return said

    def _count_instances(self) -> Mapping[str, int]:
        """Count the tiles of each bag, as far as they are at hand."""
        if self._external:
            return {bag.bag_id: len(bag) for bag in self._external}
        folder = self._run.path / "attention"
        return {
            path.stem: path.read_bytes().count(b"\n") - 1
            for path in folder.glob("*.csv")
        }


def _count_patients(run: MILRun) -> str:
    """Say how many patients the held-out bags of a run from pixels are of."""
    try:
        sources = run.sources
    except ModelError:
        return "patients"
    n = sources.loc[sources["split"].map(is_held_out), "patient_id"].nunique()
    return "1 patient" if n == 1 else f"{n:,} patients"


def _read_external(run: MILRun, features: Path, cohort: Path) -> list[Bag]:
    """Read an external cohort's bags, none of whose patients was in training."""
    slides = read_cohort(cohort, class_names=run.class_names, needs_files=False)
    table = slides.table
    remedy = "label them, or use 'eosin mil predict', which needs none"
    require_labels(slides, table, run.class_names, remedy=remedy)
    _require_unseen(run, table, cohort)
    for path in find_feature_files(features).values():
        require_same_origin(run.made_from, path, model=run.path)
    return read_bags(
        features, table, run.class_names, per=run.per, columns=run.clinical
    )


def _require_unseen(run: MILRun, table: pd.DataFrame, cohort: Path) -> None:
    """Stop where an external cohort shares a patient or a slide with training."""
    for ours, theirs in (("patient_id", "patient_id"), ("bag_id", "slide_id")):
        known = set(run.splits[ours].astype(str))
        shared = sorted(known & set(table[theirs].astype(str)))
        if shared:
            raise ManifestError(
                f"{cohort}: an external cohort must be unseen, and {len(shared)} "
                f"{theirs}(s) were in the training cohort ({', '.join(shared[:5])}); "
                "leave them out, or rename them if they are others by the same name"
            )
