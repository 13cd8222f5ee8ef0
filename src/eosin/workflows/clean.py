"""From a tile folder to one without the tiles that rules name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import (
    ConfigError,
    ManifestError,
    Progress,
    RunRecord,
    SlideFailure,
    atomic_path,
    hash_file,
    open_run,
)
from eosin.evaluation import find_copies
from eosin.tiles import ManifestInfo, write_manifest
from eosin.workflows.cleaning_rules import CleanConfig, apply_rules, scan_for_rules
from eosin.workflows.patch_cautions import find_patch_cautions
from eosin.workflows.patch_groups import Grouping, count_copies
from eosin.workflows.tile_folder import (
    TileFolder,
    open_tile_folder,
    read_tile_settings,
)
from eosin.workflows.tile_scan import (
    TileScan,
    read_contents,
    read_near_groups,
    require_other_folder,
)

_OUTPUTS = ("tiles.parquet", "slides.csv", "dropped.csv", "cache", "run.json")
_RECORDED_FAILURES = 100


@dataclass(frozen=True)
class CleanResult:
    """What `clean_tiles` made.

    Attributes:
        folder: Where the cleaned table lies.
        n_before: Tiles before.
        n_after: Tiles left.
        n_by_rule: Tiles that each rule names; one tile may be under several.
        label_counts: Tiles left by class name; `unlabelled` for those without.
        warnings: What else the user should know, as sentences.
        failures: Tiles that cannot be read and were to stay, 100 at most.
    """

    folder: Path
    n_before: int
    n_after: int
    n_by_rule: Mapping[str, int]
    label_counts: Mapping[str, int]
    warnings: tuple[str, ...]
    failures: tuple[SlideFailure, ...]


def clean_tiles(
    tiles: Path,
    config: CleanConfig,
    out: Path,
    *,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> CleanResult:
    """Write a tile folder without the tiles that rules name.

    Writes `tiles.parquet`, `slides.csv`, `dropped.csv` (every dropped tile with its
    rules and reasons) and `run.json`. No pixel is copied, and `tiles` stays as it is.
    Slides that lose all their tiles are left out.

    Args:
        tiles: A folder of `eosin tile`, `eosin import` or `eosin clean`.
        config: Which tiles are dropped.
        out: The folder to write to.
        workers: Threads that read tiles.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ConfigError: `out` is `tiles`, or a list of tiles to keep or drop is not one.
        ManifestError: `tiles` is no such folder, or no tile would be left.
        RunError: `out` holds other work or cannot be written.
    """
    folder = open_tile_folder(tiles)
    out = Path(out)
    require_other_folder(folder, out)
    inputs = {
        "tiles.parquet": folder.sha256,
        "slides.csv": hash_file(folder.path / "slides.csv"),
    }
    kept = _read_named(config.keep, folder, "keep")
    listed = _read_named(config.drop, folder, "drop")
    for name, path in (("keep", config.keep), ("drop", config.drop)):
        if path is not None:
            inputs[name] = hash_file(Path(path))
    with open_run(
        out,
        "clean",
        # Those of the tiles first, for whoever asks how they were cut.
        settings={
            **read_tile_settings(folder.path),
            "tiles": str(folder.path.resolve()),
            **asdict(config),
        },
        inputs=inputs,
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:
        if not record.is_done:
            record.failures.clear()
            how = (workers, progress or Progress())
            _clean(folder, config, (kept, listed), record, how)
        notes = record.notes
        return CleanResult(
            out,
            notes["n_before"],
            notes["n_after"],
            notes["n_by_rule"],
            notes["label_counts"],
            tuple(notes["warnings"]),
            tuple(record.failures),
        )


def _clean(
    folder: TileFolder,
    config: CleanConfig,
    by_hand: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    record: RunRecord,
    how: tuple[int, Progress],
) -> None:
    table, (kept, listed) = folder.tiles, by_hand
    scan = scan_for_rules(folder, config, how)
    named = apply_rules(folder, config, scan, how[1])
    if config.drop is not None:
        reason = f"listed in {Path(config.drop).name}"
        named["listed"] = [reason if is_listed else None for is_listed in listed]
    is_dropped = named.notna().any(axis=1).to_numpy() & ~kept
    if is_dropped.all():
        raise ManifestError(
            f"{folder.path}: the rules {', '.join(config.rules)} drop all of "
            f"{len(table):,} tiles; name fewer, or change their limits"
        )
    named = named[is_dropped]
    counts = {str(rule): int(n) for rule, n in named.notna().sum().items()}
    left = table[~is_dropped].reset_index(drop=True)
    info = replace(folder.info, cautions=_renew_cautions(folder, left, counts))
    slides = folder.slides.copy()
    n_left = left["slide_id"].astype(str).value_counts()
    slides["n_tiles"] = slides["slide_id"].map(n_left).fillna(0).astype(int)
    lost = (slides["n_tiles"] == 0) & slides["slide_id"].isin(table["slide_id"])
    write_manifest(record.folder / "tiles.parquet", left, info)
    _write_slides(folder, slides[~lost], record.folder)
    with atomic_path(record.folder / "dropped.csv") as temporary:
        _list_dropped(folder, named).to_csv(temporary, index=False)
    names = left["label"].map(dict(enumerate(info.class_names))).fillna("unlabelled")
    label_counts = {str(k): int(n) for k, n in names.value_counts().items()}
    _record_failures(table, scan, ~is_dropped, record)
    record.notes |= {
        "n_before": len(table),
        "n_after": len(left),
        "n_by_rule": counts,
        "n_kept_by_hand": int(kept.sum()),
        "label_counts": label_counts,
        "warnings": [
            *_find_warnings(info, label_counts, int(lost.sum())),
            *_warn_of_near_conflicts(left, config),
        ],
    }


def _read_named(
    path: str | None, folder: TileFolder, verb: str
) -> npt.NDArray[np.bool_]:
    """Tell which tiles a list names; none without a list."""
    names = folder.tiles["tile_id"].astype(str)
    if path is None:
        return np.zeros(len(names), bool)
    try:
        wanted = pd.read_csv(path, dtype=str)["tile_id"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"{path}: must be a CSV with a column tile_id ({error})"
        ) from error
    unknown = wanted[~wanted.isin(names)]
    if len(unknown):
        raise ConfigError(
            f"{path}: {len(unknown):,} tiles to {verb} are not in {folder.path}, such "
            f"as {unknown.iloc[0]}"
        )
    return names.isin(wanted).to_numpy()


def _renew_cautions(
    folder: TileFolder, left: pd.DataFrame, counts: Mapping[str, int]
) -> tuple[str, ...]:
    """Say of copies what is still true, and that tiles were dropped."""
    n_before = len(folder.tiles)
    old, new = (_caution_copies(table) for table in (folder.tiles, left))
    cautions = [said for said in folder.info.cautions if said not in old] + new
    if len(left) < n_before:
        parts = ", ".join(f"{n:,} {rule}" for rule, n in counts.items() if n)
        cautions.append(
            f"{n_before - len(left):,} of {n_before:,} tiles were dropped by rules "
            f"({parts}) in all splits alike; results are for what is left."
        )
    return tuple(dict.fromkeys(cautions))


def _caution_copies(tiles: pd.DataFrame) -> list[str]:
    """Return what an import says of identical patches, and nothing else."""
    content = read_contents(tiles)
    if content is None:
        return []
    nobody = Grouping(tiles, 0, 0, 0, 0)
    copies = count_copies(tiles, content)
    return list(find_patch_cautions(tiles, nobody, copies, {1: len(tiles)}, 1.0))


def _write_slides(folder: TileFolder, slides: pd.DataFrame, out: Path) -> None:
    """Write the slide table with the slides' own paths, not those into a pack."""
    own = pd.read_csv(folder.path / "slides.csv", dtype=str, keep_default_na=False)
    own = own.iloc[slides.index].assign(n_tiles=slides["n_tiles"].to_numpy())
    with atomic_path(out / "slides.csv") as temporary:
        own.to_csv(temporary, index=False)


def _list_dropped(folder: TileFolder, named: pd.DataFrame) -> pd.DataFrame:
    """List dropped tiles with their rules and reasons, as separate words."""
    columns = ["tile_id", "slide_id", "patient_id", "split", "label"]
    if "source" in folder.tiles:
        columns += ["source", "source_index"]
    table = folder.tiles.loc[named.index, columns]
    classes = dict(enumerate(folder.info.class_names))
    table.insert(5, "class_name", table["label"].map(classes))
    reasons = [row.dropna() for _, row in named.iterrows()]
    return table.assign(
        rules=[";".join(row.index) for row in reasons],
        reason=["; ".join(row) for row in reasons],
    )


def _record_failures(
    table: pd.DataFrame,
    scan: TileScan,
    stays: npt.NDArray[np.bool_],
    record: RunRecord,
) -> None:
    """Record tiles that stay and cannot be read."""
    rows = [row for row in sorted(scan.errors) if stays[row]]
    record.failures += [
        SlideFailure(str(table["tile_id"].iloc[row]), "clean", scan.errors[row])
        for row in rows[:_RECORDED_FAILURES]
    ]


def _warn_of_near_conflicts(left: pd.DataFrame, config: CleanConfig) -> list[str]:
    """Say which tiles that are left look like one with another label.

    They are not dropped unasked: neighbours may look alike and be rightly of two
    classes. Known without reading where an import has looked for them.
    """
    content, near = read_contents(left), read_near_groups(left)
    if "conflicting" not in config.rules or content is None or near is None:
        return []
    copies = find_copies(left, content, near)
    found = copies[(copies["kind"] == "near") & copies["is_conflicting"]]
    if found.empty:
        return []
    first = ", ".join(found.loc[found["group"] == found["group"].min(), "tile_id"][:3])
    return [
        f"{len(found):,} tiles that are left look like one of another label, such as "
        f"{first}; conflicting drops identical ones alone, with --set near=true these "
        "as well: look at them with 'eosin explore' first"
    ]


def _find_warnings(
    info: ManifestInfo, label_counts: Mapping[str, int], n_lost: int
) -> list[str]:
    warnings = [
        f"no tile of class {name} is left"
        for name in info.class_names
        if not label_counts.get(name)
    ]
    if n_lost:
        warnings.append(f"{n_lost:,} slides or groups have no tile left")
    return warnings
