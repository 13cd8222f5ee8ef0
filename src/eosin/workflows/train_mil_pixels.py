"""From a table of drawn bags and their tiles to a MIL model with its own encoder.

The encoder learns with the aggregator, from labels of bags alone. Every tile of a bag
is in memory with all that its encoder keeps for the gradient, so that bags are small:
some 40 tiles of 96 to 256 px.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import Bag, BagTableInfo, read_bag_table, share_drawn
from eosin.core import (
    ManifestError,
    Progress,
    atomic_path,
    hash_file,
    open_run,
    require_free_space,
)
from eosin.models import MILModel, build_pixel_mil_model, find_encoder
from eosin.training import MILConfig, MILFitResult, TrainingBags
from eosin.workflows.make_bags import BAG_TABLE
from eosin.workflows.mil_cohort import MILCohort
from eosin.workflows.mil_fitting import run_training
from eosin.workflows.mil_run import MIL_FORMAT, SOURCES, is_held_out
from eosin.workflows.mil_study import MILStudy
from eosin.workflows.tile import TileConfig
from eosin.workflows.tile_folder import (
    TileFolder,
    open_tile_folder,
    read_tile_settings,
)
from eosin.workflows.train_mil import MIL_OUTPUTS, MILStudyConfig, MILStudyResult

_TILES_PER_READ = 256


@dataclass(frozen=True, kw_only=True)
class PixelMILConfig:
    """How an encoder and an aggregator are trained together.

    Attributes:
        encoder: One of `eosin.models.ENCODERS`.
        weights: The encoder's first weights: `imagenet`, `none` (random) or a file;
            `auto` takes ImageNet's where there are any.
        fine_tune: Whether all of the encoder is trained, or its last block, which takes
            a fraction of the memory. `auto` is all for random weights, the last block
            for others.
        aggregator: The method, one of `eosin.models.AGGREGATORS`.
        n_seeds: Models per fold, from other first weights, 1 or more.
        widths: Widths of the dense layers between encoder and aggregator.
        dropout: Share of the projected features dropped in training, [0, 1).
        epochs: Epochs at most.
        learning_rate: The schedule's peak; None takes 1e-3 for random weights and 1e-4
            for others.
        batch: Bags per step at most.
        max_tiles: Tiles per step at most, which bounds the memory; a bag that is larger
            by itself makes a step of its own.
        max_instances: Tiles of a bag that one step sees at most, drawn anew in every
            epoch.
        patience: Epochs without a better one before training stops.
        threshold_rule: How the threshold is chosen on validation.
        n_bootstrap: Resamples of bags for the intervals.
        seed: Of the weights and the order.
    """

    encoder: str = "smallcnn"
    weights: str = "auto"
    fine_tune: Literal["auto", "last", "all"] = "auto"
    aggregator: str = "gated_attention"
    n_seeds: int = 1
    widths: tuple[int, ...] = (128,)
    dropout: float = 0.25
    epochs: int = 30
    learning_rate: float | None = None
    batch: int = 4
    max_tiles: int = 160
    max_instances: int = 64
    patience: int = 8
    threshold_rule: str = "youden"
    n_bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        find_encoder(self.encoder)

    @property
    def first_weights(self) -> str:
        """The encoder's first weights, `auto` resolved."""
        if self.weights != "auto":
            return self.weights
        has_some = find_encoder(self.encoder).imagenet_licence is not None
        return "imagenet" if has_some else "none"

    @property
    def training(self) -> MILConfig:
        """The settings of one training."""
        is_new = self.first_weights == "none"
        depth = self.fine_tune
        if depth == "auto":
            depth = "all" if is_new else "last"
        return MILConfig(
            epochs=self.epochs,
            monitor="val_loss",
            learning_rate=self.learning_rate or (1e-3 if is_new else 1e-4),
            batch=self.batch,
            patience=self.patience,
            max_instances=self.max_instances,
            max_padded=self.max_tiles,
            batch_norm="trained" if is_new else "frozen",
            depth=depth,
            seed=self.seed,
        )


def train_pixel_mil(
    tiles: Path,
    bags: Path,
    config: PixelMILConfig,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MILStudyResult:
    """Train a MIL model end to end on drawn bags, and score it on held-out ones.

    With sides `train`, `val` and `test` one model is trained. With sides `fold_<k>`
    each is held out once, and the next one validates.

    Writes what `train_mil_study` does. A killed run goes on with the epoch it had
    reached.

    Args:
        tiles: The tile folder that the bags were drawn from.
        bags: The bag table of `make_bags`, or its folder.
        config: How to train.
        out: The folder to write to.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ManifestError: The bags are of other tiles, or have too few sides.
        ConfigError: The encoder takes no tiles of this size.
        ModelError: The encoder's weights cannot be had.
        SlideError: A slide cannot be read.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    out, bags = Path(out), Path(bags)
    path = bags / BAG_TABLE if bags.is_dir() else bags
    table, info = read_bag_table(path)
    folder = open_tile_folder(tiles)
    require_drawn_from(path, info, folder)
    splits = divide_bags(table, where=str(path))
    weights = Path(config.weights)
    with open_run(
        out,
        "mil train from pixels",
        settings=asdict(config),
        inputs={
            "bags": hash_file(path),
            "tiles": folder.sha256,
            "format": MIL_FORMAT,
        }
        | ({"weights": hash_file(weights)} if weights.is_file() else {}),
        seed=config.seed,
        overwrite=overwrite,
        outputs=MIL_OUTPUTS,
    ) as record:
        if not record.is_done:
            pixels = out / "state" / "tiles.npy"
            cohort = _make_cohort(table, info, folder, pixels, progress)
            study = MILStudy(
                cohort,
                _describe_study(config, info),
                splits,
                out,
                progress,
                fit=_PixelFit(config, folder.info.tile_px),
                card=_describe_input(config, info, folder),
            )
            record.notes["tiles"] = str(folder.path.resolve())
            record.notes["bags"] = str(path.resolve())
            record.notes |= study.run()
            _write_sources(out / SOURCES, table)
            pixels.unlink()
        notes = record.notes
        return MILStudyResult(out, notes["metrics"], tuple(notes["cautions"]))


def divide_bags(table: pd.DataFrame, *, where: str) -> list[npt.NDArray[np.str_]]:
    """Say which bags train, validate and test, once for each fold.

    Args:
        table: Of `read_bag_table`.
        where: What messages call it.

    Raises:
        ManifestError: There is no side to validate or test on.
    """
    sides = table.drop_duplicates("bag_id")["split"].to_numpy(np.str_)
    names = sorted(set(sides.tolist()), key=lambda name: (len(name), name))
    if set(names) == {"train", "val", "test"}:
        return [sides]
    if len(names) < 3 or not all(name.startswith("fold_") for name in names):
        raise ManifestError(
            f"{where}: bags of train, val and test are needed, or of three folds or "
            f"more, to train, validate and test on; it has {', '.join(names)}; see "
            "'eosin bags make --help'"
        )
    found = []
    for fold, name in enumerate(names):
        split = np.full(len(sides), "train", dtype="<U5")
        split[sides == names[(fold + 1) % len(names)]] = "val"
        split[sides == name] = "test"
        found.append(split)
    return found


def read_pixel_bags(
    table: pd.DataFrame, folder: TileFolder, path: Path, progress: Progress
) -> list[Bag]:
    """Read the tiles of drawn bags, each once, into a file that the bags share.

    Memory is bounded by a few hundred tiles; the file takes `px * px * 3` bytes for
    each tile that is drawn.

    Args:
        table: Of `read_bag_table`.
        folder: The tiles that the bags were drawn from.
        path: The file; one that is there is used as it is.
        progress: Told of every block of tiles.

    Returns:
        Bags in the table's order, whose instances are `(px * px * 3,)`, uint8. Each
        counts as a patient of its own, because its tiles come from many.

    Raises:
        SlideError: A slide cannot be read.
        RunError: The file cannot be written.
    """
    wanted = table["tile_id"].unique()
    place = pd.Series(np.arange(len(folder.tiles)), index=folder.tiles["tile_id"])
    tiles = folder.tiles.iloc[place.loc[wanted]].reset_index(drop=True)
    shape = (len(tiles), 3 * folder.info.tile_px**2)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        require_free_space(
            path.parent, int(np.prod(shape)), f"a copy of {len(tiles):,} tiles"
        )
        with atomic_path(path) as temporary, folder.open_reader(tiles) as reader:
            kept = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.uint8, shape=shape
            )
            with progress.task("Reading tiles", len(tiles)) as task:
                for start in range(0, len(tiles), _TILES_PER_READ):
                    rows = np.arange(start, min(start + _TILES_PER_READ, len(tiles)))
                    kept[rows] = reader.read(rows).reshape(len(rows), -1)
                    task.advance(len(rows))
            kept.flush()
            del kept
    pixels = np.load(path, mmap_mode="r")
    bags = share_drawn(table, tiles["tile_id"].tolist(), pixels)
    return [replace(bag, patient_id=bag.bag_id) for bag in bags]


def require_drawn_from(path: Path, info: BagTableInfo, folder: TileFolder) -> None:
    """Stop where a bag table was drawn from other tiles.

    Args:
        path: The bag table, for the message.
        info: Of the table.
        folder: The tiles.

    Raises:
        ManifestError: It was.
    """
    if info.tiles_sha256 != folder.sha256:
        raise ManifestError(
            f"{path}: these bags were drawn from other tiles than those in "
            f"{folder.path}; give the tile folder that they were drawn from, or draw "
            "them again by 'eosin bags make'"
        )


class _PixelFit:
    """Trains one model; stands for `fit_model`."""

    def __init__(self, config: PixelMILConfig, tile_px: int) -> None:
        self._config, self._tile_px = config, tile_px

    def __call__(
        self,
        cohort: MILCohort,
        config: MILStudyConfig,
        split: npt.NDArray[np.str_],
        *,
        seed: int,
        state: Path,
        progress: Progress,
    ) -> tuple[MILModel, MILFitResult]:
        own = self._config
        bags = TrainingBags(
            cohort.bags,
            np.flatnonzero(split == "train"),
            np.flatnonzero(split == "val"),
            cohort.class_names,
        )
        model = build_pixel_mil_model(
            config.aggregator,
            own.encoder,
            tile_px=self._tile_px,
            weights=own.first_weights,
            n_classes=bags.n_classes,
            widths=config.widths,
            dropout=config.dropout,
            seed=1000 * seed + config.seed,
        )
        return model, run_training(model, bags, own.training, state, progress)


def _describe_input(
    config: PixelMILConfig, info: BagTableInfo, folder: TileFolder
) -> dict[str, Any]:
    """Say what the models take, so that new slides can be tiled likewise."""
    cut = read_tile_settings(folder.path)
    return {
        "encoder": config.encoder,
        "weights": config.first_weights,
        "tile_px": folder.info.tile_px,
        "mpp": folder.info.mpp,
        "overlap_px": folder.info.overlap_px,
        "context": folder.info.context,
        # Patches were cut elsewhere; slides are tiled as `eosin tile` does.
        "tissue": str(cut.get("tissue", TileConfig.tissue)),
        "min_tissue": float(cut.get("min_tissue", TileConfig.min_tissue)),
        "bag_size": info.size,
        "witnesses": list(info.witnesses),
    }


def _write_sources(path: Path, table: pd.DataFrame) -> None:
    """Write which slides and patients the bags of each side were drawn from."""
    sources = table[["slide_id", "patient_id", "split"]].drop_duplicates()
    with atomic_path(path) as temporary:
        sources.sort_values(["split", "slide_id"]).to_csv(temporary, index=False)


def _make_cohort(
    table: pd.DataFrame,
    info: BagTableInfo,
    folder: TileFolder,
    pixels: Path,
    progress: Progress,
) -> MILCohort:
    bags = read_pixel_bags(table, folder, pixels, progress)
    held_out = table[table["split"].map(is_held_out)]
    n_bags, n = held_out["bag_id"].nunique(), held_out["patient_id"].nunique()
    caution = (
        f"Bags share patients and tiles: the {n_bags:,} that were held out are of "
        f"{n:,} {'patient' if n == 1 else 'patients'}. The intervals count every bag "
        "as a patient of its own, and so are too narrow for a claim about new patients."
    )
    return MILCohort(bags, table, info.class_names, {}, (caution,))


def _describe_study(config: PixelMILConfig, info: BagTableInfo) -> MILStudyConfig:
    """Say what a study of features would be told."""
    return MILStudyConfig(
        classes=info.class_names,
        aggregator=config.aggregator,
        n_seeds=config.n_seeds,
        widths=config.widths,
        dropout=config.dropout,
        threshold_rule=config.threshold_rule,
        n_bootstrap=config.n_bootstrap,
        seed=config.seed,
    )
