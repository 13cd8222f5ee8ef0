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
    hash_file,
    open_run,
)
from eosin.reports import draw_learning_rates, render_png
from eosin.settings import HeadFit, RateSearch, require_settings
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
    config: RateSearch,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> FindLRResult:
    """Find which learning rates a training takes, by short trainings over rising ones.

    The head is tested on features that are encoded once, and, where the settings ask
    for fine-tuning, that as well, after the head was fitted at the suggested rate.
    Training tiles of the first split are all that it sees: those held out stay unseen.
    Writes `curve.csv`, `curve.png`, `suggested.toml` (for `eosin train --config`) and
    `run.json`.

    Args:
        tiles: Folder that `tile_cohort` wrote.
        config: The training to come, and the learning rates to try.
        out: Where to write.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ManifestError: `tiles` is no finished tile folder.
        CohortError: The patients cannot be split.
        ConfigError: The settings contradict each other or the tiles.
        ModelError: Weights cannot be had, or the loss is not finite from the start.
        RunError: `out` holds other work or cannot be written.
    """
    require_settings(config, RateSearch)
    folder, out = open_tile_folder(tiles), Path(out)
    inputs = {"tiles.parquet": folder.sha256, "slides.csv": folder.hash_labels()}
    if config.weights not in ("imagenet", "none") and Path(config.weights).is_file():
        inputs["weights"] = hash_file(Path(config.weights))
    with open_run(
        out,
        "train --find-lr",
        settings=asdict(config),
        inputs=inputs,
        seed=config.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            curves = _Tests(folder, config, progress or Progress()).run()
            _write(curves, record)
        return FindLRResult(out, dict(record.notes["suggested"]))


class _Tests:
    """The tests of one training's stages."""

    def __init__(
        self, folder: TileFolder, config: RateSearch, progress: Progress
    ) -> None:
        self._config, self._progress = config, progress
        self._inputs = TileInputs(folder, split_tiles(folder, config), config, progress)
        self._tiles = self._inputs.arrange(0)

    def run(self) -> dict[str, LearningRateCurve]:
        """Test the stages that the training will have."""
        config = self._config
        classifier = self._inputs.build()
        options: dict[str, Any] = {"sweep": config, "progress": self._progress}
        curves: dict[str, LearningRateCurve] = {}
        activations = None
        if config.weights != "none" or config.depth != "all":
            arrays = self._inputs.encode(classifier)
            activations = arrays.get("activations")
            curves["head"] = find_head_curve(
                classifier, arrays["features"], self._tiles, config, **options
            )
            if config.depth != "none":
                fit_head(
                    classifier,
                    arrays["features"],
                    self._tiles,
                    _take(config, curves["head"]),
                    Listeners(progress=self._progress),
                )
        if config.depth != "none":
            with self._inputs.open_reader() as reader:
                source = (
                    CachedViews(activations)
                    if activations is not None
                    else PixelTiles(
                        reader.read,
                        len(self._inputs.tiles),
                        augment=Augmentation(config.stain_jitter),
                    )
                )
                curves["fine_tune"] = find_fine_tuning_curve(
                    classifier, source, self._tiles, config.tuning, **options
                )
        return curves


def _take(head: HeadFit, curve: LearningRateCurve) -> HeadFit:
    """Train the head at what was suggested, if anything was."""
    if curve.suggested is None:
        return head
    return replace(head, learning_rate=curve.suggested)


def _write(curves: Mapping[str, LearningRateCurve], record: RunRecord) -> None:
    out = record.folder
    table = pd.concat(
        [curve.table.assign(stage=stage) for stage, curve in curves.items()],
        ignore_index=True,
    )
    with atomic_path(out / "curve.csv") as temporary:
        table[["stage", "learning_rate", "loss", "smoothed"]].to_csv(
            temporary, index=False
        )
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
    with atomic_path(out / "suggested.toml") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    record.notes["suggested"] = suggested
    record.notes["rule"] = RULE
    record.notes["source"] = SOURCE
