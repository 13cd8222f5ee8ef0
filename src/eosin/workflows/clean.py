"""From a tile folder to one without the tiles that rules name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.core import (
    WATCHED,
    ConfigError,
    ManifestError,
    Progress,
    Showable,
    SlideFailure,
    hash_files,
    open_run,
    raising,
    read_csv,
    write_csv,
)
from eosin.exploring.copies import (
    caution_identical,
    describe_identical,
    find_copies,
    read_contents,
    read_near_groups,
)
from eosin.exploring.rules import apply_rules, plan_rules
from eosin.exploring.scan import scan_tiles
from eosin.settings import CleanSettings, require_settings
from eosin.tiles import (
    CLASS_SPELLING,
    TileFolder,
    open_tile_folder,
    read_class_spelling,
    read_tile_settings,
    write_manifest,
)

_OUTPUTS = ("tiles.parquet", "slides.csv", "dropped.csv", "cache", "run.json")


@dataclass(frozen=True)
class CleanResult(Showable):
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
    failures: tuple[SlideFailure, ...] = ()


def clean_tiles(
    tiles: Path,
    out: Path,
    settings: CleanSettings | None = None,
    *,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> CleanResult:
    """Write a tile folder without the tiles that rules name.

    Writes `tiles.parquet`, `slides.csv`, `dropped.csv` (every dropped tile with its
    rules and reasons) and `run.json`. No pixel is copied, and `tiles` stays as it is.
    Slides that lose all their tiles are left out.

    Args:
        tiles: A folder of `eosin tile`, `eosin import` or `eosin clean`.
        out: The folder to write to.
        settings: Which tiles are dropped.
        workers: Threads that read tiles.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        ConfigError: `out` is `tiles`, or a list of tiles to keep or drop is not one.
        ManifestError: `tiles` is no such folder, or no tile would be left.
        RunError: `out` holds other work or cannot be written.
    """
    settings = require_settings(settings, CleanSettings)
    folder = open_tile_folder(tiles)
    out = Path(out)
    folder.require_other(out)
    lists = {"keep": settings.keep, "drop": settings.drop}
    named = {verb: _read_named(path, folder, verb) for verb, path in lists.items()}
    with open_run(
        out,
        "clean",
        # Those of the tiles first, for whoever asks how they were cut.
        settings={
            **read_tile_settings(folder.path),
            "tiles": str(folder.path.resolve()),
            **asdict(settings),
        },
        inputs=folder.inputs | hash_files(**lists),
        overwrite=overwrite,
        outputs=_OUTPUTS,
    ) as record:

        def work() -> CleanResult:
            plan = plan_rules(folder, settings)
            with folder.open_reader() as reader:
                scan = scan_tiles(
                    reader.read_each, plan, workers=workers, progress=progress
                )
            reasons = apply_rules(folder, settings, scan, progress or Progress())
            if settings.drop is not None:
                reason = f"listed in {Path(settings.drop).name}"
                reasons["listed"] = [reason if own else None for own in named["drop"]]
            is_dropped = reasons.notna().any(axis=1).to_numpy() & ~named["keep"]
            record.failures += scan.list_failures(
                folder.tiles, "clean", among=~is_dropped
            )
            record.notes["n_kept_by_hand"] = int(named["keep"].sum())
            if spelling := read_class_spelling(folder.path):
                record.notes[CLASS_SPELLING] = spelling
            return _write(folder, settings, reasons[is_dropped], record.folder)

        return record.once(CleanResult, work)


def _write(
    folder: TileFolder, settings: CleanSettings, dropped: pd.DataFrame, out: Path
) -> CleanResult:
    """Write the tables without the tiles that are dropped, and those with reasons."""
    table = folder.tiles
    left = table.drop(index=dropped.index).reset_index(drop=True)
    if left.empty:
        raise ManifestError(
            f"{folder.path}: the rules {', '.join(settings.rules)} drop all of "
            f"{len(table):,} tiles; name fewer, or change their limits"
        )
    n_by_rule = {str(rule): int(n) for rule, n in dropped.notna().sum().items()}
    info = replace(folder.info, cautions=_renew_cautions(folder, left, n_by_rule))
    # As it was written: with the slides' own paths, not those into a pack.
    slides = read_csv(folder.path / "slides.csv", dtype=str, keep_default_na=False)
    n_left = slides["slide_id"].map(left["slide_id"].value_counts())
    slides["n_tiles"] = n_left.fillna(0).astype(int)
    is_lost = n_left.isna() & slides["slide_id"].isin(table["slide_id"])
    write_manifest(out / "tiles.parquet", left, info)
    write_csv(out / "slides.csv", slides[~is_lost])
    write_csv(out / "dropped.csv", _list_dropped(folder, dropped))
    label_counts = info.count_labels(left)
    warnings = [
        f"no tile of class {name} is left"
        for name in info.class_names
        if not label_counts.get(name)
    ]
    if n_lost := int(is_lost.sum()):
        warnings.append(f"{n_lost:,} slides or groups have no tile left")
    return CleanResult(
        folder=out,
        n_before=len(table),
        n_after=len(left),
        n_by_rule=n_by_rule,
        label_counts=label_counts,
        warnings=(*warnings, *_warn_of_near_conflicts(left, settings)),
    )


def _read_named(
    path: str | None, folder: TileFolder, verb: str
) -> npt.NDArray[np.bool_]:
    """Tell which tiles a list names; none without a list."""
    names = folder.tiles["tile_id"].astype(str)
    if path is None:
        return np.zeros(len(names), bool)
    with raising(ConfigError, f"{path}: must be a CSV with a column tile_id"):
        wanted = read_csv(Path(path), kind=ConfigError, dtype=str)["tile_id"]
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
    cautions = [text for text in folder.info.cautions if text not in old] + new
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
    return caution_identical(describe_identical(tiles, content))


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


def _warn_of_near_conflicts(left: pd.DataFrame, settings: CleanSettings) -> list[str]:
    """Say which tiles that are left look like one with another label.

    They are not dropped unasked: neighbours may look alike and be rightly of two
    classes. Known without reading where an import has looked for them.
    """
    content, near = read_contents(left), read_near_groups(left)
    if "conflicting" not in settings.rules or content is None or near is None:
        return []
    copies = find_copies(left, content, near)
    found = copies[(copies["kind"] == "near") & copies["is_conflicting"]]
    if found.empty:
        return []
    first = ", ".join(found.loc[found["group"] == found["group"].min(), "tile_id"][:3])
    return [
        f"{len(found):,} tiles that are left look like one of another label, such as "
        f"{first}; conflicting drops identical ones alone, with --near these "
        "as well: look at them with 'eosin explore' first"
    ]
