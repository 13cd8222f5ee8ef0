"""From a tile table to learning rates that a training may begin with."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import (
    Progress,
    RunRecord,
    atomic_path,
    hash_file,
    open_run,
)
from eosin.reports import LearningRatePanel, draw_learning_rates, render_png
from eosin.training import (
    CachedViews,
    HeadConfig,
    LearningRateCurve,
    LearningRateSweep,
    PixelTiles,
    find_fine_tuning_curve,
    find_head_curve,
    fit_head,
)
from eosin.workflows.fold_inputs import FoldInputs
from eosin.workflows.fold_training import Augmentation
from eosin.workflows.tile_folder import TileFolder, open_tile_folder
from eosin.workflows.tile_splits import assign_splits
from eosin.workflows.train_tiles import TrainConfig

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


@dataclass(frozen=True, kw_only=True)
class FindLRConfig(TrainConfig):
    """Which training is to be tested, and with which learning rates.

    Attributes:
        lowest: Learning rate of the first step, above 0.
        highest: Learning rate of the last step; between them each step's is the same
            multiple of the one before.
        n_steps: Training steps of a test at most, 10 or more.
        smoothing: Share of the steps over which the loss is averaged, 0 to 0.5.
        stop_factor: A test ends where the running loss exceeds so many times its
            lowest, above 1.
    """

    lowest: float = 1e-6
    highest: float = 1.0
    n_steps: int = 100
    smoothing: float = 0.1
    stop_factor: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.sweep

    @property
    def sweep(self) -> LearningRateSweep:
        """The learning rates of a test."""
        return LearningRateSweep(
            lowest=self.lowest,
            highest=self.highest,
            n_steps=self.n_steps,
            smoothing=self.smoothing,
            stop_factor=self.stop_factor,
        )


@dataclass(frozen=True)
class FindLRResult:
    """What `find_learning_rates` found.

    Attributes:
        folder: Where it lies.
        suggested: Learning rate by the field of `TrainConfig` that takes it; None
            where the loss did not fall beyond its noise.
    """

    folder: Path
    suggested: Mapping[str, float | None]


def find_learning_rates(
    tiles: Path,
    config: FindLRConfig,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
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
    folder = open_tile_folder(tiles)
    inputs = {"tiles.parquet": folder.sha256, "slides.csv": folder.labels_sha256}
    if config.weights not in ("imagenet", "none") and Path(config.weights).is_file():
        inputs["weights"] = hash_file(Path(config.weights))
    with open_run(
        out,
        "lr-find",
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
        self, folder: TileFolder, config: FindLRConfig, progress: Progress
    ) -> None:
        self._config, self._progress = config, progress
        self._inputs = FoldInputs(
            folder, assign_splits(folder, config), config, progress
        )
        self._tiles = self._inputs.arrange(0)

    def run(self) -> dict[str, LearningRateCurve]:
        """Test the stages that the training will have."""
        config = self._config
        classifier = self._inputs.build()
        options: dict[str, Any] = {"sweep": config.sweep, "progress": self._progress}
        curves: dict[str, LearningRateCurve] = {}
        activations = None
        if config.weights != "none" or config.depth != "all":
            arrays = self._inputs.encode(classifier)
            activations = arrays.get("activations")
            curves["head"] = find_head_curve(
                classifier, arrays["features"], self._tiles, config.head, **options
            )
            if config.depth != "none":
                fit_head(
                    classifier,
                    arrays["features"],
                    self._tiles,
                    _take(config.head, curves["head"]),
                    progress=self._progress,
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


def _take(head: HeadConfig, curve: LearningRateCurve) -> HeadConfig:
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
        [
            LearningRatePanel(
                _TITLES[stage],
                curve.table,
                curve.steepest,
                curve.minimum,
                curve.suggested,
            )
            for stage, curve in curves.items()
        ]
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
