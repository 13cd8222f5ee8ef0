"""From tiles, features or drawn bags to a trained model of any kind."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eosin.core import (
    WATCHED,
    Progress,
    RunRecord,
    Showable,
    atomic_path,
    caution_formulas,
    hash_files,
    open_run,
    require_own_files,
    write_csv,
)
from eosin.inference import note_calls
from eosin.reports import Nouns, draw_history, render_png
from eosin.runs.card import Card, Sees
from eosin.runs.choices import find_validation_auc
from eosin.runs.origin import find_tile_folder
from eosin.settings import (
    BagTraining,
    Device,
    PixelTraining,
    TileTraining,
    describe_recipe,
    require_settings,
)
from eosin.studies.bag_learner import BagLearner
from eosin.studies.folds import Folds, fit_folds
from eosin.studies.sources import Source, TrainSettings, open_source
from eosin.studies.splits import say_left_out
from eosin.studies.study import Study
from eosin.tiles import read_class_spelling

_OUTPUTS = (
    "attention",
    "fold_*",
    "card.json",
    "choices.csv",
    "encoder.onnx",
    "predictions.parquet",
    "history.csv",
    "history.png",
    "model.keras",
    "model.onnx",
    "run.json",
    "snapshots",
    "splits.csv",
    "state",
)


@dataclass(frozen=True)
class TrainResult(Showable):
    """What `train` made.

    Attributes:
        folder: The run folder.
        card: The models' card.
        validation_aucs: ROC AUC of tiles or bags on validation patients, one per fold;
            None where a class is absent.
        warnings: What the user should know, as sentences.
        words: What each unit is called.
    """

    pictures = ("history.png",)

    folder: Path
    card: Card
    validation_aucs: tuple[float | None, ...]
    warnings: tuple[str, ...]
    words: Mapping[str, str]


def train(
    data: Path,
    out: Path,
    settings: TrainSettings | None = None,
    *,
    cohort: Path | None = None,
    tiles: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> TrainResult:
    """Train a model, split by patient; what is given decides which kind.

    - Tiles with `TileTraining`: a tile classifier, by transfer learning.
    - Tiles with `BagTraining`: a model of bags (multiple-instance learning) from the
      labels of slides or patients; the tiles are encoded, once for all trainings.
    - Features and a slide table (`cohort`) with `BagTraining`: the same from feature
      files of `eosin embed`, CLAM, TRIDENT or STAMP.
    - Drawn bags with `BagTraining` or `PixelTraining`: a model of their features, or
      one whose encoder learns with it.

    Epochs, the temperature, thresholds and what `choose` names are chosen on patients
    that validate. Each fold scores the patients that it holds out, once.

    Writes models (`model.onnx`, or `fold_<k>/`), `card.json`, `splits.csv`,
    `predictions.parquet`, `history.csv`, `history.png` and `run.json`; of bag models
    `attention/` of the held-out bags, `encoder.onnx` where the encoder is known, and
    `choices.csv` where something was chosen. An interrupted call goes on where it
    stopped and ends with the same models.

    Args:
        data: A tile folder, a folder of feature files, or one of drawn bags.
        out: The run folder.
        settings: How to train; None takes the defaults of a tile classifier, or of a
            bag model where features or bags are given.
        cohort: The slide table, with features.
        tiles: The tile folder that bags were drawn from, if it has moved.
        overwrite: Replace a run of other settings.
        progress: Told how far it is.

    Raises:
        ManifestError: Data, slides and columns do not fit together.
        CohortError: The slide table is wrong, or the patients cannot be split.
        ConfigError: The settings contradict each other, the data, or are of another
            kind of model.
        ModelError: Weights cannot be had, training diverged, or an exported model
            differs from the trained one.
        RunError: `out` holds another run or cannot be written.
    """
    if settings is not None:
        require_settings(settings, TileTraining, BagTraining, PixelTraining)
    data, out, progress = Path(data), Path(out), progress or Progress()
    source = open_source(data, cohort, tiles, settings)
    settings = source.settings
    with open_run(
        out,
        "train",
        settings=asdict(settings),
        inputs=source.inputs | hash_files(weights=settings.weights),
        seed=settings.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        record.notes |= source.places
        if source.folder is not None:
            device: Device = "auto"
            if not isinstance(settings, PixelTraining):
                device = settings.device
            record.notes |= note_calls(source.folder.info.tile_px, device=device)
        return record.once(
            TrainResult,
            lambda: _train(source, record, progress),
            card=lambda: Card.read(out),
        )


def _train(source: Source, record: RunRecord, progress: Progress) -> TrainResult:
    """Make the study and its learner, fit the folds, and write what describes them."""
    out, settings = record.folder, source.settings
    study, learner, sees = source.prepare(out, progress)
    require_own_files(study.splits["id"].astype(str), "ids")
    folder = source.folder
    folds = fit_folds(
        study,
        learner,
        rule=settings.threshold_rule,
        state=out / "state",
        progress=progress,
        slide_labels=folder.slide_labels if folder and study.unit == "tile" else None,
    )
    folds.write(study, out)
    if (figure := draw_history(folds.history)) is not None:
        with atomic_path(out / "history.png") as temporary:
            temporary.write_bytes(render_png(figure))
    choices = learner.tabulate_choices() if isinstance(learner, BagLearner) else None
    if choices is not None:
        write_csv(out / "choices.csv", choices, float_format="%.6g")
    cautions = [
        *study.cautions,
        *folds.together.cautions,
        *caution_formulas(
            study.splits["slide_id"], study.splits["patient_id"], study.class_names
        ),
    ]
    left_out = say_left_out(folder, study.splits) if folder else []
    validation = folds.held_out[folds.held_out["split"] == "val"]
    card = _make_card(source, study, folds, sees, cautions)
    card.write(out)
    (out / "state" / "tiles.npy").unlink(missing_ok=True)
    return TrainResult(
        out,
        card,
        tuple(
            find_validation_auc(part, card.target)
            for _, part in validation.groupby("fold")
        ),
        tuple(dict.fromkeys([*folds.warnings, *left_out, *cautions])),
        Nouns.of_study(card.unit, folder).words,
    )


def _find_spelling(source: Source, study: Study) -> dict[str, str]:
    """Find how the annotations behind the tiles, if any, spell the study's classes."""
    if source.folder is None:
        place = find_tile_folder(Path(source.places["features"]))
    else:
        place = source.folder.path
    spelling = {} if place is None else read_class_spelling(place)
    return {name: spelling[name] for name in study.class_names if name in spelling}


def _make_card(
    source: Source,
    study: Study,
    folds: Folds,
    sees: Sees,
    cautions: Sequence[str],
) -> Card:
    settings, folder = source.settings, source.folder
    learners: dict[type, Any] = {TileTraining: "tiles", PixelTraining: "pixels"}
    tiles = settings if isinstance(settings, TileTraining) else None
    trained = study.splits[study.splits["split"] == "train"]
    counts: dict[str, Any] = {
        "n_patients": int(trained["patient_id"].nunique()),
        "n_slides": int(trained["slide_id"].nunique()),
    }
    if folder is not None:
        labelled = folder.tiles.loc[folder.tiles["label"].notna(), "slide_id"]
        n_tiles = int(labelled.isin(set(trained["slide_id"])).sum())
        counts |= {
            "tiles_sha256": folder.sha256,
            "n_tiles": n_tiles,
            "are_patches": folder.has_patches,
        }
    return Card(
        learner=learners.get(type(settings), "bags"),
        unit=study.unit,
        class_names=study.class_names,
        sees=sees,
        folds=folds.cards,
        together=folds.together,
        threshold_rule=settings.threshold_rule,
        views=tiles.views if tiles else 1,
        columns=getattr(settings, "columns", ()),
        bag_size=source.drawn.size if source.drawn else None,
        witnesses=source.drawn.witnesses if source.drawn else (),
        training_data=counts,
        cautions=tuple(dict.fromkeys(cautions)),
        is_made_data=source.is_made,
        recipe=describe_recipe(tiles) if tiles else None,
        class_spelling=_find_spelling(source, study),
    )
