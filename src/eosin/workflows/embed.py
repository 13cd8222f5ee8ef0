"""From tiles to features: one HDF5 file per slide."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.bags import FeatureInfo, read_key, write_features
from eosin.core import (
    ConfigError,
    EosinError,
    Progress,
    RunRecord,
    SlideError,
    SlideFailure,
    Task,
    hash_file,
    hash_object,
    open_run,
    to_file_name,
)
from eosin.inference import TileModel, encode_tiles, find_views
from eosin.slides import fingerprint_slide
from eosin.tiles import DAMAGED, apply_view
from eosin.workflows.encoder_patients import note_learnt
from eosin.workflows.tile_encoders import (
    ENCODER_FILE,
    TileEncoder,
    open_tile_encoder,
    wrap_torch_encoder,
)
from eosin.workflows.tile_folder import TileFolder, open_tile_folder

if TYPE_CHECKING:
    from eosin.models import TorchEncoder

_STATE = "state"
_OUTPUTS = ("*.h5", ENCODER_FILE, _STATE, "run.json")
_PATCHES = "patches"


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """How tiles become features.

    Attributes:
        encoder: An encoder's name, the folder of a run of `eosin train`, whose own
            encoder is taken, fine-tuned as it is, or a TOML file that describes an
            encoder of timm or transformers (`eosin.models.TorchEncoderSpec`).
        weights: `auto` takes those that were published with the encoder (ImageNet's,
            or a pathology encoder's own); `imagenet`, `none` (random) or a file. A
            run has its own.
        views: Turns and flips whose features are averaged: 1, 2, 4 or 8.
        batch: Tiles per call of the model.
        device: Where the model runs.
    """

    encoder: str = "densenet121"
    weights: str = "auto"
    views: Literal[1, 2, 4, 8] = 1
    batch: int = 32
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch must be 1 or more, got {self.batch}")


@dataclass(frozen=True)
class EmbedResult:
    """What `embed_tiles` made.

    Attributes:
        folder: Where it lies.
        n_slides: Slides with features.
        n_tiles: Tiles that were encoded by this call.
        dimension: Numbers per tile.
        failures: Slides that were given up on.
    """

    folder: Path
    n_slides: int
    n_tiles: int
    dimension: int
    failures: tuple[SlideFailure, ...]


def embed_tiles(
    tiles: Path,
    config: EmbedConfig,
    out: Path,
    *,
    encoder: "TorchEncoder | None" = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EmbedResult:
    """Encode the tiles of every slide.

    Writes `<slide_id>.h5` (see `eosin.bags.write_features`) and `run.json`. Of a
    patch data set, whose patches belong to no slide, one file `patches.h5`. Tiles that
    `eosin tile` found damaged are left out.

    A second call encodes only slides that are new or were changed; a killed one goes
    on within the slide that it had begun. Memory does not grow with the slide.

    Args:
        tiles: A folder of `eosin tile` or `eosin import`.
        config: How to encode.
        out: The folder to write to.
        encoder: A PyTorch module of one's own, in place of the one that `config`
            names.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ManifestError: `tiles` is no such folder.
        ConfigError: The encoder is not known.
        ModelError: The encoder takes other tiles, or its weights cannot be had.
        MissingExtraError: A package that the encoder needs is not installed.
        RunError: `out` holds other work or cannot be written.
    """
    progress = progress or Progress()
    folder = open_tile_folder(tiles)
    out = Path(out)
    settings = asdict(config)
    if encoder is not None:
        settings |= {"encoder": encoder.spec.name, "weights": "given"}
    weights = Path(config.weights)
    with open_run(
        out,
        "embed",
        settings=settings,
        inputs={"weights": hash_file(weights)} if weights.is_file() else {},
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        found = (
            wrap_torch_encoder(folder, encoder)
            if encoder is not None
            else open_tile_encoder(
                folder,
                config.encoder,
                weights=config.weights,
                device=config.device,
                place=out,
                known_sha256=record.notes.get("encoder_sha256"),
            )
        )
        embedding = _Embedding(folder, config, found, out)
        return embedding.run(record, progress)


@dataclass(frozen=True, eq=False)
class _AveragedViews:
    """A model whose features are the mean over a tile's turns and flips."""

    model: TileModel
    views: tuple[int, ...]

    @property
    def outputs(self) -> Mapping[str, tuple[int, ...]]:
        return {"features": self.model.outputs["features"]}

    def run(
        self, tiles: npt.NDArray[np.uint8], *, batch: int = 32
    ) -> dict[str, npt.NDArray[np.float32]]:
        total = np.zeros((len(tiles), *self.outputs["features"]), np.float32)
        for view in self.views:
            total += self.model.run(apply_view(tiles, view), batch=batch)["features"]
        return {"features": total / np.float32(len(self.views))}


class _Within(Progress):
    """Counts the tiles of each slide into one task for all."""

    def __init__(self, task: Task) -> None:
        self._task = task

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Task]:
        del name, total
        yield self._task


class _Embedding:
    """The features of one tile folder by one encoder."""

    def __init__(
        self, folder: TileFolder, config: EmbedConfig, encoder: TileEncoder, out: Path
    ) -> None:
        self._folder, self._config = folder, config
        self._encoder, self._out = encoder, out
        slides = folder.slides
        self._paths = dict(
            zip(slides["slide_id"].astype(str), slides["path"], strict=True)
        )
        self._model = _AveragedViews(encoder.model, find_views(config.views))

    def run(self, record: RunRecord, progress: Progress) -> EmbedResult:
        groups = self._group_tiles()
        keys = {name: self._find_key(name, part) for name, part in groups.items()}
        todo = [n for n in groups if read_key(self._find_file(n)) != keys[n]]
        if todo:
            record.reopen()
        record.notes |= self._describe(groups)
        n_tiles = 0
        total = sum(len(groups[name]) for name in todo)
        with progress.task("Encoding tiles", total) as task:
            for name in todo:
                try:
                    self._write(name, groups[name], keys[name], _Within(task))
                    n_tiles += len(groups[name])
                except EosinError as error:
                    record.failures.append(SlideFailure(name, "embed", str(error)))
        if not record.failures:
            shutil.rmtree(self._out / _STATE, ignore_errors=True)
        return EmbedResult(
            self._out,
            len(groups) - len(record.failures),
            n_tiles,
            self._encoder.dimension,
            tuple(record.failures),
        )

    def _group_tiles(self) -> dict[str, pd.DataFrame]:
        """Give the readable tiles of each slide; patches have no slide to be of."""
        tiles = self._folder.tiles
        tiles = tiles[~tiles["flags"].str.contains(DAMAGED)]
        if self._folder.has_patches:
            return {_PATCHES: tiles.reset_index(drop=True)}
        return {
            str(name): part.reset_index(drop=True)
            for name, part in tiles.groupby("slide_id", sort=False)
        }

    def _describe(self, groups: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
        folder = self._folder
        slides = folder.slides["slide_id"].astype(str).tolist()
        return {
            "tiles": str(folder.path.resolve()),
            "encoder": self._encoder.name,
            "encoder_sha256": self._encoder.sha256,
            "encoder_licence": self._encoder.licence,
            "dimension": self._encoder.dimension,
            "n_damaged_tiles": len(folder.tiles) - sum(map(len, groups.values())),
            "slides_without_tiles": (
                [] if folder.has_patches else [s for s in slides if s not in groups]
            ),
            **note_learnt(self._encoder.learnt_from),
        }

    def _find_key(self, name: str, part: pd.DataFrame) -> str:
        """Hash all that a slide's features depend on."""
        info = self._folder.info
        places = part[["tile_id", "x_px0", "y_px0", "size_px0"]]
        return hash_object(
            {
                "model": self._encoder.sha256,
                "pixels": (
                    self._hash_patches(part)
                    if self._folder.has_patches
                    else self._fingerprint(name)
                ),
                "views": self._config.views,
                "tiles": hash_object(places.to_numpy().tolist()),
                "tile": [info.tile_px, info.mpp, info.context],
            }
        )

    def _fingerprint(self, name: str) -> str | None:
        """Hash a slide; what cannot be read fails later, where it is recorded."""
        try:
            return fingerprint_slide(self._paths[name])
        except (SlideError, OSError):
            return None

    def _hash_patches(self, part: pd.DataFrame) -> str:
        """Hash where patches are and their files' sizes; there may be millions."""
        owners, sources, indices = (
            part[name].tolist() for name in ("slide_id", "source", "source_index")
        )
        files = [
            Path(self._paths[str(s)], f) for s, f in zip(owners, sources, strict=True)
        ]
        sizes = [f.stat().st_size if f.exists() else 0 for f in dict.fromkeys(files)]
        return hash_object([sources, indices, sizes])

    def _find_file(self, name: str) -> Path:
        return self._out / (to_file_name(name) + ".h5")

    def _write(
        self, name: str, part: pd.DataFrame, key: str, progress: Progress
    ) -> None:
        # What was found before the slide changed must not stay beside a failure.
        self._find_file(name).unlink(missing_ok=True)
        state = self._out / _STATE / to_file_name(name)
        with self._folder.open_reader(part) as reader:
            found = encode_tiles(
                reader.read,
                len(part),
                self._model,
                state,
                key=key,
                batch=self._config.batch,
                progress=progress,
            )
        write_features(
            self._find_file(name),
            found["features"][0],
            part[["x_px0", "y_px0"]].to_numpy(np.int64),
            self._describe_slide(name, part, key),
            tile_ids=part["tile_id"].tolist(),
        )
        # A map keeps its file in place on some systems.
        del found
        shutil.rmtree(state, ignore_errors=True)

    def _describe_slide(self, name: str, part: pd.DataFrame, key: str) -> FeatureInfo:
        info, slide = self._folder.info, self._find_slide(name)
        width, height = slide.get("width_px0"), slide.get("height_px0")
        return FeatureInfo(
            slide_id=name,
            encoder=self._encoder.name,
            tile_px=info.tile_px,
            # With context, more is shown on as many pixels.
            mpp=None if info.mpp is None else info.mpp * info.context,
            size_px0=int(part["size_px0"].iloc[0]),
            overlap_px=info.overlap_px,
            slide_size_px0=(int(width), int(height)) if width and height else None,
            slide_mpp=slide.get("mpp_used"),
            licence=self._encoder.licence,
            key=key,
        )

    def _find_slide(self, name: str) -> Mapping[str, float]:
        """Give what numbers the slide table has of a slide."""
        slides = self._folder.slides
        own = slides[slides["slide_id"].astype(str) == name]
        if own.empty:
            return {}
        numbers = own.select_dtypes("number").iloc[0].dropna()
        return {str(key): float(value) for key, value in numbers.items()}
