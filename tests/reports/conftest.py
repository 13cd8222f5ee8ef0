"""A small made study, and its report."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from eosin.core import SlideFailure
from eosin.evaluation import (
    EvaluationResult,
    ValidationChoices,
    aggregate_predictions,
    build_tile_predictions,
    choose_on_validation,
    evaluate_predictions,
)
from eosin.reports import ReportData, count_splits, render_report


def make_predictions(
    class_names: tuple[str, ...], *, n_slides: int = 48, noise: float = 1.5
) -> pd.DataFrame:
    """Make tiles of two slides a patient, of which classes differ."""
    rng = np.random.default_rng(4)
    n_classes, n_tiles = len(class_names), 10
    slide = np.repeat(np.arange(n_slides), n_tiles)
    patient = slide // 2
    label = (patient // 3 + slide) % n_classes
    tiles = pd.DataFrame(
        {
            "tile_id": np.arange(len(slide)),
            "slide_id": [f"S{i:02}" for i in slide],
            "patient_id": [f"P{i:02}" for i in patient],
            "split": np.array(["train", "val", "test"])[patient % 3],
            "label": label,
        }
    )
    logits = 2.0 * np.eye(n_classes)[label]
    logits = logits + rng.normal(0, noise, logits.shape)
    logits += rng.normal(0, noise / 2, (n_slides, n_classes))[slide]
    parts = np.exp(logits)
    return build_tile_predictions(
        tiles, parts / parts.sum(axis=1, keepdims=True), class_names
    )


def evaluate(
    tiles: pd.DataFrame, class_names: tuple[str, ...], split: str = "test"
) -> tuple[ValidationChoices, EvaluationResult]:
    choices = choose_on_validation(tiles, class_names=class_names)
    table = aggregate_predictions(
        tiles, choices.aggregation.aggregation, class_names=class_names
    )
    result = evaluate_predictions(
        table,
        class_names=class_names,
        threshold=choices.threshold,
        slide_threshold=choices.slide_threshold,
        split=split,
        n_bootstrap=60,
    )
    return choices, result


def make_data(
    class_names: tuple[str, ...] = ("normal", "tumour"),
    *,
    split: str = "test",
    **changes: object,
) -> ReportData:
    tiles = make_predictions(class_names)
    choices, result = evaluate(tiles, class_names, split)
    settings: dict[str, object] = {
        "title": "A study",
        "result": result,
        "choices": choices,
        "splits": count_splits(tiles, class_names),
        "data_licence": "made, CC0",
    }
    return ReportData(**(settings | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def data() -> ReportData:
    return make_data()


@pytest.fixture(scope="session")
def result(data: ReportData) -> EvaluationResult:
    return data.result


@pytest.fixture(scope="session")
def baseline() -> EvaluationResult:
    names = ("normal", "tumour")
    return evaluate(make_predictions(names, noise=6), names)[1]


@pytest.fixture(scope="session")
def three_classes() -> ReportData:
    return make_data(("normal", "clear cell", "papillary"))


@pytest.fixture(scope="session")
def history() -> pd.DataFrame:
    epochs = np.arange(1, 6)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "stage": ["head"] * 3 + ["fine_tune"] * 2,
            "accuracy": 1 - 0.5 / epochs,
            "loss": 1 / epochs,
            "val_loss": 1.1 / epochs,
            "val_roc_auc": 1 - 0.4 / epochs,
            "learning_rate": 1e-3,
            "empty": np.nan,
        }
    )


@pytest.fixture(scope="session")
def full_data(
    data: ReportData,
    baseline: EvaluationResult,
    history: pd.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> ReportData:
    """A report with every section."""
    overlay: Path = tmp_path_factory.mktemp("overlays") / "Bild ä.jpg"
    Image.new("RGB", (900, 500), (200, 120, 160)).save(overlay)
    return ReportData(
        title="A study",
        result=data.result,
        choices=data.choices,
        splits=data.splits,
        baseline=baseline,
        history=history,
        overlays={data.result.slides.loc[0, "slide_id"]: overlay},
        method={"Encoder": "smallcnn"},
        versions={"eosin": "0.1.0"},
        data_licence="made, CC0",
        cautions=["The scanner changed in May."],
        failures=[SlideFailure("S99", "tile", "S99.svs: no mpp")],
        are_slides_made=True,
        are_patients_known=False,
        created="2026-01-31",
    )


@pytest.fixture(scope="session")
def light_data(data: ReportData) -> ReportData:
    """A report of the slide level alone, which is quickly drawn."""
    levels = {"slide": data.result.levels["slide"]}
    return dataclasses.replace(
        data, result=dataclasses.replace(data.result, levels=levels)
    )


@pytest.fixture(scope="session")
def full_text(full_data: ReportData) -> str:
    return render_report(full_data)
