"""From a tile table to learning rates that a training may begin with."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import (
    WATCHED,
    Progress,
    RunRecord,
    Showable,
    atomic_path,
    hash_files,
    open_run,
    write_csv,
    write_text,
)
from eosin.reports import draw_learning_rates, render_png
from eosin.settings import RateSearch, require_settings
from eosin.studies.splits import split_tiles
from eosin.studies.tile_inputs import TileInputs
from eosin.studies.tile_learner import Augmentation
from eosin.tiles import TileFolder, open_tile_folder
from eosin.training import (
    CachedViews,
    LearningRateCurve,
    Listeners,
    PixelTiles,
    find_fine_tuning_curve,
    find_head_curve,
    fit_head,
)

RULE = (
    "the learning rate at which the loss falls fastest, but at most a tenth of that at "
    "which it is lowest"
)
"""How the suggestion is found in the curve."""
SOURCE = (
    "range test of Smith, Cyclical learning rates for training neural networks, "
    "WACV 2017"
)
"""Where the curve comes from."""

_OUTPUTS = ("curve.csv", "curve.png", "run.json", "suggested.toml")
_FIELDS = {"head": "learning_rate", "fine_tune": "tune_learning_rate"}
_TITLES = {"head": "Head", "fine_tune": "Fine-tuning"}


@dataclass(frozen=True)
class FindLRResult(Showable):
    """What `find_learning_rates` found.

    Attributes:
        folder: Where it lies.
        suggested: Learning rate by the field of `TileTraining` that takes it; None
            where the loss did not fall beyond its noise.
    """

    pictures = ("curve.png",)

    folder: Path
    suggested: Mapping[str, float | None]


def find_learning_rates(
    tiles: Path,
    out: Path,
    settings: RateSearch | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> FindLRResult:
    """Find which learning rates a training takes, by short trainings over rising ones.

    The head is tested on features that are encoded once, and, where the settings ask
    for fine-tuning, that as well, after the head was fitted at the suggested rate.
    Training tiles of the first split are all that it sees: those held out stay unseen.
    Writes `curve.csv`, `curve.png`, `suggested.toml` (for `eosin train --settings`) and
    `run.json`.

    Args:
        tiles: Folder that `tile_cohort` wrote.
        out: Where to write.
        settings: The training to come, and the learning rates to try.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ManifestError: `tiles` is no finished tile folder.
        CohortError: The patients cannot be split.
        ConfigError: The settings contradict each other or the tiles.
        ModelError: Weights cannot be had, or the loss is not finite from the start.
        RunError: `out` holds other work or cannot be written.
    """
    settings = require_settings(settings, RateSearch)
    folder, out = open_tile_folder(tiles), Path(out)
    with open_run(
        out,
        "train --find-lr",
        settings=asdict(settings),
        inputs={
            "tiles.parquet": folder.sha256,
            "slides.csv": folder.hash_labels(),
            **hash_files(weights=settings.weights),
        },
        seed=settings.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        return record.once(
            FindLRResult,
            lambda: _write(
                _find_curves(folder, settings, progress or Progress()), record
            ),
        )


def _find_curves(
    folder: TileFolder, settings: RateSearch, progress: Progress
) -> dict[str, LearningRateCurve]:
    """Test the stages that the training will have."""
    inputs = TileInputs(folder, split_tiles(folder, settings), settings, progress)
    tiles, classifier = inputs.arrange(0), inputs.build()
    options: dict[str, Any] = {"sweep": settings, "progress": progress}
    curves: dict[str, LearningRateCurve] = {}
    activations = None
    if settings.weights != "none" or settings.depth != "all":
        arrays = inputs.encode(classifier)
        features, activations = arrays["features"], arrays.get("activations")
        curves["head"] = find_head_curve(
            classifier, features, tiles, settings, **options
        )
        if settings.depth != "none":
            # Trained at what was suggested, if anything was.
            rate = curves["head"].suggested or settings.learning_rate
            fit = replace(settings, learning_rate=rate)
            fit_head(classifier, features, tiles, fit, Listeners(progress=progress))
    if settings.depth != "none":
        with inputs.open_reader() as reader:
            source: CachedViews | PixelTiles
            if activations is not None:
                source = CachedViews(activations)
            else:
                augment = Augmentation(settings.stain_jitter)
                source = PixelTiles(reader.read, len(inputs.tiles), augment=augment)
            curves["fine_tune"] = find_fine_tuning_curve(
                classifier, source, tiles, settings.tuning, **options
            )
    return curves


def _write(curves: Mapping[str, LearningRateCurve], record: RunRecord) -> FindLRResult:
    out = record.folder
    table = pd.concat(
        [curve.table.assign(stage=stage) for stage, curve in curves.items()],
        ignore_index=True,
    )
    columns = ["stage", "learning_rate", "loss", "smoothed"]
    write_csv(out / "curve.csv", table[columns])
    figure = draw_learning_rates(
        {
            _TITLES[stage]: (
                curve.table,
                {
                    "steepest": curve.steepest,
                    "lowest": curve.minimum,
                    "suggested": curve.suggested,
                },
            )
            for stage, curve in curves.items()
        }
    )
    with atomic_path(out / "curve.png") as temporary:
        temporary.write_bytes(render_png(figure))
    suggested = {_FIELDS[stage]: curve.suggested for stage, curve in curves.items()}
    lines = [f"# {RULE}", f"# {SOURCE}"]
    lines += [f"{name} = {rate:.2e}" for name, rate in suggested.items() if rate]
    write_text(out / "suggested.toml", "\n".join(lines) + "\n")
    record.notes |= {"rule": RULE, "source": SOURCE}
    return FindLRResult(out, suggested)
