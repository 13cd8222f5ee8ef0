"""From a patch data set to a tile table; the pixels stay where they are."""

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.cohorts import (
    DEFAULT_SIMILARITY,
    PCAM_MD5,
    FolderRules,
    PatchSet,
    PcamFiles,
    find_pcam_files,
    read_class_folders,
    read_kaggle,
    read_pcam,
)
from eosin.core import (
    ConfigError,
    ManifestError,
    Progress,
    RunRecord,
    SlideFailure,
    atomic_path,
    fingerprint_file,
    hash_file,
    hash_object,
    open_run,
)
from eosin.tiles import ManifestInfo, PatchReader
from eosin.workflows.patch_cautions import find_patch_cautions, say_changes
from eosin.workflows.patch_groups import (
    complete_splits,
    count_copies,
    group_patches,
)
from eosin.workflows.patch_scan import PatchScan, choose_tile_px, scan_patches
from eosin.workflows.patch_table import name_resampling, write_patch_table
from eosin.workflows.unpacking import unpack_once

Layout = Literal["kaggle", "pcam", "folder"]

# `unpacked` stays: it depends on nothing but the packed file, which it is held against.
_OUTPUTS = ("cache", "run.json", "slides.csv", "tiles.parquet", "unreadable.csv")
_RECORDED_FAILURES = 100
# Settings that say something for one layout only.
_OWN_SETTINGS: Mapping[str, Layout] = {
    "slide_map": "kaggle",
    "group_regex": "folder",
    "class_regex": "folder",
    "negative": "folder",
}


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """How patches become tiles.

    Attributes:
        layout: `kaggle` (files and a CSV of labels), `pcam` (HDF5 files) or `folder`
            (folders called like classes).
        mpp: Micrometres per pixel of the patches as they are stored. None takes what
            the layout's publication says (Kaggle and PCam: 0.97); for folders it is
            then unknown.
        tile_px: Side of the tiles as read; None is the commonest side. Patches of
            another size are resampled whenever they are read.
        slide_map: CSV with each patch's slide, `id,wsi` (Kaggle only).
        group_regex: Finds patient or slide in a file's path: groups `patient` and
            `slide`, or the first group (folders only).
        class_regex: Finds the class in a file's name, instead of in its folder's
            (folders only).
        negative: The class of label 0 (folders only).
        given_splits: Whether splits that the data set comes with are kept.
        missing_split: Share of the training groups that a split gets which is missing
            beside others, above 0 and below 0.5.
        similarity: How alike two patches of unknown origin must be to be held for
            near-duplicates, above 0 and up to 1.
        features: NumPy file of an encoder's features, one row for each row of
            `tiles.parquet`; patches with alike features are held for near-duplicates
            as well.
        measures: Whether each patch's sharpness and colour are measured.
        allow_missing: Go on without labels' missing files, files' missing labels,
            empty classes and patches that cannot be read.
        seed: Decides who is in a split that was missing.
    """

    layout: Layout
    mpp: float | None = None
    tile_px: int | None = None
    slide_map: str | None = None
    group_regex: str | None = None
    class_regex: str | None = None
    negative: str | None = None
    given_splits: Literal["keep", "ignore"] = "keep"
    missing_split: float = 0.2
    similarity: float = DEFAULT_SIMILARITY
    features: str | None = None
    measures: bool = True
    allow_missing: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, layout in _OWN_SETTINGS.items():
            if getattr(self, name) is not None and self.layout != layout:
                raise ConfigError(
                    f"{name} is for 'import {layout}', not for 'import {self.layout}'"
                )
        if self.mpp is not None and not self.mpp > 0:
            raise ConfigError(f"mpp must be above 0, got {self.mpp:g}")
        if self.tile_px is not None and self.tile_px < 1:
            raise ConfigError(f"tile_px must be 1 or more, got {self.tile_px}")
        if not 0 < self.missing_split < 0.5:
            raise ConfigError(
                f"missing_split must lie between 0 and 0.5, got {self.missing_split:g}"
            )


@dataclass(frozen=True)
class ImportResult:
    """What `import_patches` made.

    Attributes:
        folder: Where the table lies.
        n_tiles: Patches in it.
        label_counts: Patches by class name; `unlabelled` for those without.
        n_groups: Slides, or groups that stand for them.
        tile_px: Side of the tiles as read.
        mpp: Micrometres per pixel as read; None where nobody says it.
        cautions: What must be known before believing results, as sentences.
        warnings: What was left out, mended or chosen, as sentences.
        failures: Patches that could not be read, 100 at most.
    """

    folder: Path
    n_tiles: int
    label_counts: Mapping[str, int]
    n_groups: int
    tile_px: int
    mpp: float | None
    cautions: tuple[str, ...]
    warnings: tuple[str, ...]
    failures: tuple[SlideFailure, ...]


def import_patches(
    source: Path,
    config: ImportConfig,
    out: Path,
    *,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImportResult:
    """Put a patch data set behind the tile table that every later step reads.

    Writes `tiles.parquet`, `slides.csv`, `run.json` and, where patches cannot be read,
    `unreadable.csv` to `out`. Each patch is read once. No pixel is copied, but `.h5.gz`
    files are unpacked to `out/unpacked`.

    Args:
        source: The data set's folder.
        config: How patches become tiles.
        out: The folder to write to.
        workers: Threads that read.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        CohortError: Files, labels or groups contradict each other; every problem is
            named.
        ConfigError: The features are not of these patches.
        RunError: `out` holds other work or cannot be written.
        ManifestError: Not one patch can be read.
    """
    progress = progress or Progress()
    inputs, read_set = _survey(Path(source), config)
    with open_run(
        out,
        "import",
        settings=asdict(config) | {"source": str(Path(source).resolve())},
        inputs=inputs,
        seed=config.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            patches = read_set(record, progress)
            _import(patches, config, record, workers, progress)
        notes = record.notes
        return ImportResult(
            out,
            notes["n_tiles"],
            notes["label_counts"],
            notes["n_groups"],
            notes["tile_px"],
            notes["mpp"],
            tuple(notes["cautions"]),
            tuple(notes["warnings"]),
            tuple(record.failures),
        )


ReadSet = Callable[[RunRecord, Progress], PatchSet]


def _survey(source: Path, config: ImportConfig) -> tuple[dict[str, str], ReadSet]:
    """Find what the import depends on, and how its patches are listed."""
    inputs: dict[str, str] = {}
    for name in ("features", "slide_map"):
        path = getattr(config, name)
        if path is not None and Path(path).is_file():
            inputs[name] = hash_file(Path(path))
    if config.layout == "pcam":
        files = find_pcam_files(source)
        paths = [path for f in files for path in (f.images, f.labels, f.meta) if path]
        inputs |= {path.name: fingerprint_file(path) for path in paths}
        return inputs, functools.partial(_read_pcam, source, files, config)
    if config.layout == "kaggle":
        patches = read_kaggle(
            source,
            slide_map=Path(config.slide_map) if config.slide_map else None,
            allow_missing=config.allow_missing,
        )
    else:
        rules = FolderRules(
            group_regex=config.group_regex,
            class_regex=config.class_regex,
            negative=config.negative,
            allow_missing=config.allow_missing,
        )
        patches = read_class_folders(source, rules)
    table = patches.table
    columns = ["source", "label", "split", "slide_id", "patient_id"]
    listed = pd.util.hash_pandas_object(table[columns], index=False).to_numpy()
    inputs["patches"] = hash_object([len(table), listed.tobytes().hex()])
    return inputs, lambda _record, _progress: patches


def _read_pcam(
    source: Path,
    files: tuple[PcamFiles, ...],
    config: ImportConfig,
    record: RunRecord,
    progress: Progress,
) -> PatchSet:
    """List PCam's patches, after unpacking what is packed."""
    unpacked = []
    for own in files:
        images = own.images
        if own.is_packed:
            folder = record.folder / "unpacked"
            images, md5 = unpack_once(own.images, folder, progress=progress)
            known = PCAM_MD5.get(own.images.name)
            record.notes.setdefault("unpacked", {})[own.images.name] = {
                "md5": md5,
                "is_official": md5 == known,
            }
        unpacked.append(PcamFiles(own.split, images, own.labels, own.meta))
    return read_pcam(source, tuple(unpacked), allow_missing=config.allow_missing)


def _import(
    patches: PatchSet,
    config: ImportConfig,
    record: RunRecord,
    workers: int,
    progress: Progress,
) -> None:
    """Read every patch, group them, and write the tables."""
    table = patches.table
    if config.given_splits == "ignore":
        table = table.assign(split=pd.Series(None, table.index, dtype="object"))
    reader = PatchReader(
        np.full(len(table), str(patches.root), object),
        table["source"].to_numpy(object),
        table["source_index"].to_numpy(np.int64),
        config.tile_px or 1,
    )
    try:
        tile_px = config.tile_px or choose_tile_px(reader, len(table))
        scan = scan_patches(
            reader,
            len(table),
            tile_px,
            measures=config.measures,
            workers=workers,
            progress=progress,
        )
    finally:
        reader.close()
    warnings = [*patches.warnings, *_give_up(table, scan, config, record)]
    table = table[scan.is_read].reset_index(drop=True)
    scan = scan.take_readable()
    with progress.task("Finding near-duplicates", None):
        grouping = group_patches(
            table,
            scan,
            similarity=config.similarity,
            features=_read_features(config, len(table)),
        )
    table, said = complete_splits(
        grouping.table,
        patches.class_names,
        fraction=config.missing_split,
        seed=config.seed,
    )
    copies = count_copies(table, scan.content)
    sides = Counter(scan.side_px.tolist())
    mpp = config.mpp or patches.mpp
    info = ManifestInfo(
        # Of the commonest patches; the others' differs, and a caution says so.
        mpp=None if mpp is None else mpp * (sides.most_common(1)[0][0] / tile_px),
        tile_px=tile_px,
        overlap_px=0,
        class_names=patches.class_names,
        resampling=name_resampling(sides, tile_px),
        grouping=grouping.kind,
        cautions=tuple(find_patch_cautions(table, grouping, copies, sides, mpp)),
    )
    write_patch_table(patches, table, scan, info, mpp, record.folder)
    counts = table["label"].map(dict(enumerate(info.class_names))).fillna("unlabelled")
    record.notes |= {
        **patches.notes,
        **grouping.describe(),
        **copies,
        "n_tiles": len(table),
        "n_groups": int(table["slide_id"].nunique()),
        "label_counts": {str(k): int(v) for k, v in counts.value_counts().items()},
        "kinds": {kind: n for kind, n in scan.n_by_kind.items() if n},
        "sides_px": {str(side): n for side, n in sides.most_common(20)},
        "tile_px": tile_px,
        "mpp": info.mpp,
        "resampling": info.resampling,
        "cautions": list(info.cautions),
        "warnings": [*warnings, *say_changes(scan, sides, tile_px, said)],
    }


def _give_up(
    table: pd.DataFrame, scan: PatchScan, config: ImportConfig, record: RunRecord
) -> list[str]:
    """Record the patches that cannot be read; return what the user should know.

    Raises:
        ManifestError: Not one can be read.
    """
    n_bad = len(scan.errors)
    record.notes["n_unreadable"] = n_bad
    if n_bad == 0:
        return []
    rows = sorted(scan.errors)
    messages = [scan.errors[row] for row in rows]
    if n_bad == len(table):
        raise ManifestError(
            f"not one of {n_bad:,} patches can be read; the first: {messages[0]}"
        )
    bad = table.iloc[rows][["tile_id", "source", "source_index"]]
    with atomic_path(record.folder / "unreadable.csv") as temporary:
        bad.assign(message=messages).to_csv(temporary, index=False)
    if not config.allow_missing:
        shown = zip(bad["tile_id"], messages, strict=True)
        record.failures += [
            SlideFailure(tile_id, "import", message)
            for tile_id, message in itertools.islice(shown, _RECORDED_FAILURES)
        ]
    return [f"{n_bad:,} patches cannot be read and are left out, see unreadable.csv"]


def _read_features(
    config: ImportConfig, n_patches: int
) -> npt.NDArray[np.floating[Any]] | None:
    if config.features is None:
        return None
    try:
        features = np.load(config.features, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{config.features}: cannot be read as a NumPy file ({error})"
        ) from error
    if features.ndim != 2 or len(features) != n_patches:
        raise ConfigError(
            f"{config.features}: features must have one row for each of the "
            f"{n_patches:,} patches, got an array of shape {features.shape}"
        )
    own: npt.NDArray[np.floating[Any]] = features
    return own
