"""From a patch data set to a tile table; the pixels stay where they are."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eosin.bags import read_tile_features
from eosin.cohorts import (
    PatchSet,
    find_pcam_files,
    read_class_folders,
    read_kaggle,
    read_pcam,
)
from eosin.core import (
    WATCHED,
    Progress,
    RunRecord,
    Showable,
    SlideFailure,
    fingerprint_file,
    hash_files,
    open_run,
    write_csv,
)
from eosin.exploring.copies import caution_identical, describe_identical
from eosin.exploring.patch_groups import (
    caution_sizes,
    complete_splits,
    group_patches,
    say_changes,
)
from eosin.exploring.scan import Scan, ScanPlan, choose_tile_px, scan_tiles
from eosin.settings import (
    ImportSettings,
    is_order_told,
    require_settings,
    say_order,
)
from eosin.tiles import (
    MEASURES,
    ManifestInfo,
    PatchReader,
    measure_plainly,
    write_manifest,
)

# `unpacked` stays: it depends on nothing but the packed file, which it is held against.
_OUTPUTS = ("cache", "run.json", "slides.csv", "tiles.parquet", "unreadable.csv")


@dataclass(frozen=True)
class ImportResult(Showable):
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
    failures: tuple[SlideFailure, ...] = ()


def import_patches(
    source: Path,
    out: Path,
    settings: ImportSettings,
    *,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> ImportResult:
    """Put a patch data set behind the tile table that every later step reads.

    Writes `tiles.parquet`, `slides.csv`, `run.json` and, where patches cannot be read,
    `unreadable.csv` to `out`. Each patch is read once. No pixel is copied, but `.h5.gz`
    files are unpacked to `out/unpacked`.

    Args:
        source: The data set's folder.
        out: The folder to write to.
        settings: How patches become tiles.
        workers: Threads that read.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        CohortError: Files, labels or groups contradict each other; every problem is
            named.
        RunError: `out` holds other work or cannot be written.
        ManifestError: Not one patch can be read, or the features are not of them.
    """
    settings = require_settings(settings, ImportSettings)
    progress = progress or Progress()
    inputs, read_set = _survey(Path(source), settings)
    with open_run(
        out,
        "import",
        settings=asdict(settings) | {"source": str(Path(source).resolve())},
        inputs=inputs,
        seed=settings.seed,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        return record.once(
            ImportResult,
            lambda: _import(
                read_set(record.folder / "unpacked", progress),
                settings,
                record,
                workers,
                progress,
            ),
        )


ReadSet = Callable[[Path, Progress], PatchSet]


def _survey(source: Path, settings: ImportSettings) -> tuple[dict[str, str], ReadSet]:
    """Find what the import depends on, and how its patches are listed."""
    inputs = hash_files(features=settings.features, slide_map=settings.slide_map)
    if settings.layout != "pcam":
        read = read_kaggle if settings.layout == "kaggle" else read_class_folders
        patches = read(source, settings)
        return inputs | {"patches": patches.fingerprint}, lambda *_: patches
    files = find_pcam_files(source)
    inputs |= {
        p.name: fingerprint_file(p) for own in files.values() for p in own.values()
    }
    return inputs, lambda folder, progress: read_pcam(
        source,
        files,
        unpack_to=folder,
        allow_missing=settings.allow_missing,
        progress=progress,
    )


def _import(
    patches: PatchSet,
    settings: ImportSettings,
    record: RunRecord,
    workers: int,
    progress: Progress,
) -> ImportResult:
    """Read every patch, group them, and write the tables."""
    tile_px, scan = _read(patches, settings, workers, progress)
    unread = _give_up(patches.table, scan, settings, record)
    table = patches.table[scan.is_read].reset_index(drop=True)
    if settings.given_splits == "ignore":
        table = table.assign(split=pd.Series(None, table.index, dtype="object"))
    scan = scan.take_readable()
    features = None
    if (place := settings.features) is not None:
        features = read_tile_features(Path(place), table, np.arange(len(table)))
    with progress.task("Finding near-duplicates", None):
        grouping = group_patches(
            table, scan, similarity=settings.similarity, features=features
        )
    table, split_remark = complete_splits(
        grouping.table,
        patches.class_names,
        fraction=settings.missing_split,
        seed=settings.seed,
    )
    tiles = _make_tiles(table, scan, patches.class_names)
    identical = describe_identical(tiles, scan.content)
    sides = Counter(scan.side_px.tolist())
    mpp = settings.mpp or patches.mpp
    info = ManifestInfo(
        # Of the commonest patches; the others' differs, and a caution says so.
        mpp=None if mpp is None else mpp * (sides.most_common(1)[0][0] / tile_px),
        tile_px=tile_px,
        overlap_px=0,
        class_names=patches.class_names,
        resampling=_name_resampling(sides, tile_px),
        grouping=grouping.kind,
        cautions=(
            *_caution_order(patches.class_names, settings),
            *grouping.list_cautions(),
            *caution_identical(identical),
            *caution_sizes(sides, mpp),
        ),
    )
    write_manifest(record.folder / "tiles.parquet", tiles, info)
    write_csv(record.folder / "slides.csv", _make_slides(table, patches.root, mpp))
    record.notes |= {
        **patches.notes,
        **grouping.describe(),
        **identical,
        "kinds": {kind: n for kind, n in scan.n_by_kind.items() if n},
        "sides_px": {str(side): n for side, n in sides.most_common(20)},
        "resampling": info.resampling,
    }
    return ImportResult(
        folder=record.folder,
        n_tiles=len(table),
        label_counts=info.count_labels(tiles),
        n_groups=int(table["slide_id"].nunique()),
        tile_px=tile_px,
        mpp=info.mpp,
        cautions=info.cautions,
        warnings=(
            *patches.warnings,
            *unread,
            *([split_remark] if split_remark else []),
            *say_changes(scan.n_by_kind, sides, tile_px),
            say_order(patches.class_names),
        ),
    )


def _caution_order(class_names: Sequence[str], settings: ImportSettings) -> list[str]:
    """Say that nothing told which class is the negative one, where that is so."""
    if settings.negative is not None or is_order_told(class_names):
        return []
    return [
        f"The names {', '.join(class_names)} do not say which class is the finding, so "
        f"'{class_names[0]}', the first by the alphabet, counts as the negative one; "
        "where another is, import again with --set negative=NAME."
    ]


def _read(
    patches: PatchSet, settings: ImportSettings, workers: int, progress: Progress
) -> tuple[int, Scan]:
    """Choose the tiles' side, and read every patch once."""
    table = patches.table
    reader = PatchReader(
        np.full(len(table), str(patches.root), object),
        table["source"].to_numpy(object),
        table["source_index"].to_numpy(np.int64),
        settings.tile_px or 1,
    )
    with closing(reader):
        tile_px = settings.tile_px or choose_tile_px(reader, len(table))
        plan = ScanPlan(
            rows=np.arange(len(table)),
            tile_px=tile_px,
            is_measured=np.full(len(table), settings.measures),
            measure=measure_plainly,
            units="patches",
        )
        scan = scan_tiles(reader.read_each, plan, workers=workers, progress=progress)
    scan.require_one(f"not one of {len(table):,} patches")
    return tile_px, scan


def _give_up(
    table: pd.DataFrame, scan: Scan, settings: ImportSettings, record: RunRecord
) -> list[str]:
    """Record the patches that cannot be read; return what the user should know."""
    n_bad = record.notes["n_unreadable"] = len(scan.errors)
    if n_bad == 0:
        return []
    rows = sorted(scan.errors)
    bad = table.iloc[rows][["tile_id", "source", "source_index"]]
    bad = bad.assign(message=[scan.errors[row] for row in rows])
    write_csv(record.folder / "unreadable.csv", bad)
    if not settings.allow_missing:
        record.failures += scan.list_failures(table, "import")
    return [f"{n_bad:,} patches cannot be read and are left out, see unreadable.csv"]


def _name_resampling(sides: Mapping[int, int], tile_px: int) -> str:
    """Name the filters by which patches of these sides are brought to a tile's."""
    filters = {"area": max(sides) > tile_px, "linear": min(sides) < tile_px}
    return " and ".join(name for name, is_used in filters.items() if is_used) or "none"


def _make_tiles(
    table: pd.DataFrame, scan: Scan, class_names: Sequence[str]
) -> pd.DataFrame:
    """Make the tile table.

    Patches count as tissue, all of each is of its class, and its place on its slide is
    0 because nobody knows it.
    """
    labels = table["label"].where(table["label"] >= 0)
    looks = [] if scan.looks is None else scan.looks.hashes[:, 0].tolist()
    tiles = table.assign(
        label=labels.astype("Int8"),
        x_px0=0,
        y_px0=0,
        size_px0=scan.side_px,
        tissue_fraction=np.float32(1),
        flags="",
        content_hash=[f"{value:016x}" for value in scan.content.tolist()],
        look_hash=[f"{value:016x}" for value in looks],
    )
    for number, name in enumerate(class_names):
        share = (labels == number).where(labels.notna())
        tiles[f"{name}_fraction"] = share.astype(np.float32)
    tiles[list(MEASURES)] = scan.measures
    return tiles


def _make_slides(table: pd.DataFrame, root: Path, mpp: float | None) -> pd.DataFrame:
    """Make the slide table; `root` is where all patches lie."""
    # A labelled patch says the split; those without a label have none.
    firsts = table.sort_values("label", ascending=False, kind="stable")
    firsts = firsts.drop_duplicates("slide_id").sort_index()
    return pd.DataFrame(
        {
            "slide_id": firsts["slide_id"],
            "patient_id": firsts["patient_id"],
            "path": str(root),
            "label": None,
            "mpp_used": mpp,
            "split": firsts["split"],
            "n_tiles": firsts["slide_id"].map(table["slide_id"].value_counts()),
        }
    )
