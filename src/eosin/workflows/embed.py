"""From tiles to features: the store's, one HDF5 file per slide."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eosin.bags import FeatureInfo, read_key, write_features
from eosin.core import (
    WATCHED,
    EosinError,
    Progress,
    RunRecord,
    Showable,
    SlideFailure,
    hash_files,
    hash_object,
    open_run,
    to_file_name,
)
from eosin.inference import EncodedTiles, Part, Session, list_parts, note_calls
from eosin.runs.origin import note_learnt, see_tiles
from eosin.runs.run import ENCODER_FILE
from eosin.settings import EmbedSettings, require_settings
from eosin.studies.encoders import open_tile_encoder
from eosin.studies.tile_encoder import TileEncoder, open_store
from eosin.tiles import DAMAGED, FINGERPRINT, TileFolder, open_tile_folder

_OUTPUTS = ("*.h5", ENCODER_FILE, "run.json")
_PATCHES = "patches"


@dataclass(frozen=True)
class EmbedResult(Showable):
    """What `embed_tiles` made.

    Attributes:
        folder: Where it lies.
        n_slides: Slides with features.
        n_tiles: Tiles of the files that this call wrote.
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
    out: Path,
    settings: EmbedSettings | None = None,
    *,
    encoder: Any = None,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> EmbedResult:
    """Encode the tiles of every slide, as far as nothing encoded them before.

    Writes `<slide_id>.h5` (see `eosin.bags.write_features`), `encoder.onnx` and
    `run.json`. Of a patch data set, whose patches belong to no slide, one file
    `patches.h5`. Tiles that `eosin tile` found damaged are left out.

    A second call writes only slides that are new or were changed; a killed one goes
    on within the slide that it had begun. Memory does not grow with the slide.

    Args:
        tiles: A folder of `eosin tile` or `eosin import`.
        out: The folder to write to.
        settings: How to encode.
        encoder: A PyTorch module of one's own (`eosin.models.TorchEncoder`), in place
            of the one that `settings` names.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ManifestError: `tiles` is no such folder.
        ConfigError: The encoder is not known.
        ModelError: The encoder takes other tiles, or its weights cannot be had.
        MissingExtraError: A package that the encoder needs is not installed.
        RunError: `out` holds other work or cannot be written.
    """
    settings = require_settings(settings, EmbedSettings)
    folder, out = open_tile_folder(tiles), Path(out)
    recorded = asdict(settings)
    if encoder is not None:
        recorded |= {"encoder": encoder.spec.name, "weights": "given"}
    with open_run(
        out,
        "embed",
        settings=recorded,
        inputs=hash_files(weights=settings.weights),
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        opened = open_tile_encoder(
            folder,
            settings.encoder,
            weights=settings.weights,
            device=settings.device,
            place=out,
            module=encoder,
            known_sha256=record.notes.get("encoder_sha256"),
        )
        embedding = _Embedding(
            folder, settings, opened, open_store(folder, opened), out
        )
        return embedding.run(record, progress or Progress())


class _Mean:
    """The mean over views of some rows of the store, read when it is used."""

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(
        self, features: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]
    ) -> None:
        self._features, self._rows = features, rows
        self.shape = (len(rows), features.shape[2])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> npt.NDArray[np.float32]:
        wanted = self._rows[rows]
        total = np.zeros((len(wanted), self.shape[1]), np.float32)
        for view in self._features:
            total += view[wanted]
        return np.asarray(total / np.float32(len(self._features)), np.float32)


@dataclass(frozen=True, eq=False)
class _Embedding:
    """The features of one tile folder by one encoder."""

    folder: TileFolder
    settings: EmbedSettings
    encoder: TileEncoder
    store: EncodedTiles
    out: Path

    def run(self, record: RunRecord, progress: Progress) -> EmbedResult:
        """Encode and write the slides that are new, were changed, or failed."""
        damaged = self.folder.tiles["flags"].str.contains(DAMAGED).to_numpy(bool)
        rows_of: dict[Part, npt.NDArray[np.int64]] = {}
        for part in list_parts(self.folder):
            is_damaged = damaged[part.first : part.first + part.n]
            if not is_damaged.all():
                rows_of[part] = part.first + np.flatnonzero(~is_damaged)
        replaced = self.folder.find_replaced(part.slide_id for part in rows_of)
        todo = [
            part
            for part in rows_of
            if part.slide_id in replaced
            or read_key(self._find_file(part)) != self._find_key(part)
        ]
        if todo:
            record.reopen()
        record.notes |= self._describe(rows_of, int(damaged.sum()))
        n_tiles = 0
        with progress.task("Writing features", len(todo)) as task:
            for part in todo:
                try:
                    self._write(part, rows_of[part], progress)
                    n_tiles += len(rows_of[part])
                except EosinError as error:
                    name = part.slide_id or _PATCHES
                    record.failures.append(SlideFailure(name, "embed", str(error)))
                task.advance(note=part.slide_id)
        return EmbedResult(
            folder=self.out,
            n_slides=len(rows_of) - len(record.failures),
            n_tiles=n_tiles,
            dimension=self.encoder.dimension,
            failures=tuple(record.failures),
        )

    def _write(
        self, part: Part, rows: npt.NDArray[np.int64], progress: Progress
    ) -> None:
        # What was found before the slide changed must not stay beside a failure.
        self._find_file(part).unlink(missing_ok=True)
        views = self.settings.views
        self.store.encode(
            rows,
            views,
            lambda: self.encoder.model,
            batch=self.settings.batch,
            progress=progress,
        )
        tiles = self.folder.tiles.iloc[rows]
        write_features(
            self._find_file(part),
            _Mean(self.store.read(views), rows),  # type: ignore[arg-type]
            tiles[["x_px0", "y_px0"]].to_numpy(np.int64),
            self._describe_slide(part, int(tiles["size_px0"].iloc[0])),
            tile_ids=tiles["tile_id"].tolist(),
        )

    def _find_key(self, part: Part) -> str:
        """Hash all that a slide's features depend on."""
        return hash_object([self.encoder.sha256, part.key, self.settings.views])

    def _find_file(self, part: Part) -> Path:
        return self.out / (to_file_name(part.slide_id or _PATCHES) + ".h5")

    def _describe(self, parts: Any, n_damaged: int) -> dict[str, Any]:
        folder, encoder = self.folder, self.encoder
        slides: list[str] = []
        if not folder.has_patches:
            slides = folder.slides["slide_id"].astype(str).tolist()
        with_tiles = {part.slide_id for part in parts}
        calls: dict[str, Any] = {}
        if isinstance(encoder.model, Session):
            settings, px = self.settings, encoder.model.tile_px
            calls = note_calls(px, device=settings.device, batch=settings.batch)
        return {
            "tiles": str(folder.path.resolve()),
            "encoder": encoder.name,
            "encoder_sha256": encoder.sha256,
            "encoder_licence": encoder.licence,
            "dimension": encoder.dimension,
            "n_damaged_tiles": n_damaged,
            "slides_without_tiles": [s for s in slides if s not in with_tiles],
            **note_learnt(encoder.learnt_from),
            **calls,
        }

    def _describe_slide(self, part: Part, size_px0: int) -> FeatureInfo:
        sees, slides = see_tiles(self.folder), self.folder.slides
        own = slides[slides["slide_id"].astype(str) == part.slide_id]
        numbers = own.select_dtypes("number").iloc[:1].dropna(axis=1)
        row = numbers.to_dict("records")[0] if len(numbers) else {}
        slide = {str(name): float(value) for name, value in row.items()}
        width, height = slide.get("width_px0"), slide.get("height_px0")
        return FeatureInfo(
            slide_id=part.slide_id or _PATCHES,
            encoder=self.encoder.name,
            encoder_sha256=self.encoder.graph,
            tile_px=self.folder.info.tile_px,
            # With context, more is shown on as many pixels.
            mpp=None if sees.mpp is None else sees.mpp * sees.context,
            size_px0=size_px0,
            overlap_px=sees.overlap_px,
            context=sees.context,
            tissue=sees.tissue,
            min_tissue=sees.min_tissue,
            views=self.settings.views,
            slide_size_px0=(int(width), int(height)) if width and height else None,
            slide_mpp=slide.get("mpp_used"),
            licence=self.encoder.licence,
            key=self._find_key(part),
            slide_fingerprint="".join(own[FINGERPRINT].iloc[:1]),
        )
