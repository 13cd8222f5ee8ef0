"""What is predicted: slides, feature files of slides, drawn bags."""

import functools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from eosin.bags import (
    BAG_TABLE,
    ClinicalValues,
    find_feature_files,
    read_bag_table,
    read_clinical,
)
from eosin.cohorts import (
    find_patient,
    fingerprint_readable,
    list_files,
    list_slides,
    read_cohort,
)
from eosin.core import (
    CohortError,
    ConfigError,
    ManifestError,
    ModelError,
    fingerprint_file,
    from_file_name,
    hash_file,
    hash_object,
    to_file_name,
)
from eosin.prediction.sources import (
    Source,
    open_drawn_tiles,
    open_feature_tiles,
    open_slide_tiles,
)
from eosin.runs.origin import find_tile_folder, see_features, see_tiles
from eosin.runs.run import Run
from eosin.settings import PredictionSettings
from eosin.slides import is_at_hand
from eosin.tiles import FINGERPRINT, TileFolder, open_tile_folder, read_slides


@dataclass(frozen=True, eq=False)
class Item:
    """What gets one call: a slide, a patient's slides, or a drawn bag.

    Attributes:
        item_id: Its part is named after it.
        sources: One for each slide.
        key: Hash of all that its result depends on.
        clinical: The patient's values of the columns that the models take; None where
            they take none.
    """

    item_id: str
    sources: Sequence[Source]
    key: str
    clinical: ClinicalValues | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What tables list of it where it fails."""
        return [{**source.facts, "status": "failed"} for source in self.sources]


@dataclass(frozen=True, eq=False)
class Asked:
    """All that is to be predicted.

    Attributes:
        items: One for each call.
        cautions: What must be known before believing the calls, as sentences.
        inputs: Hash of each input whose change makes other work of it, by its name.
        folder: The tiles that bags were drawn from; None for slides.
    """

    items: Sequence[Item]
    cautions: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    folder: TileFolder | None = None


def list_items(
    run: Run,
    what: Sequence[Path | str],
    settings: PredictionSettings,
    *,
    cohort: Path | None = None,
) -> Asked:
    """List the slides, or the slides of feature files, that are meant.

    Args:
        run: The models, which say what they take and whether a patient's slides are
            called together.
        what: Slide files, folders of them, slide tables, packs, addresses; a tile
            folder stands for its own slides. For models of features also one folder of
            feature files.
        settings: How to score.
        cohort: With feature files a slide table: which slides, of whom, and where their
            files are. None takes every feature file, and slides from where `eosin
            embed` says that their tiles were cut.
    """
    columns, folder = run.card.columns, _find_features(run, what)
    if folder is not None:
        table = _list_featured(folder, cohort)
    elif cohort is None:
        table = _list_slides(run, what, settings)
    else:
        raise ConfigError(
            f"{cohort}: goes with a folder of feature files; with slides, give the "
            "slide table in their place"
        )
    if not set(columns) <= set(table):
        raise ConfigError(
            f"{run.path}: its models take {', '.join(columns)} beside the tiles; give "
            "a slide table with these columns (--cohort beside features)"
        )
    clinical = read_clinical(table, columns) if columns else {}
    if folder is None:
        sources = _make_slide_sources(run, table, settings)
    else:
        sources = _make_feature_sources(run, table, folder, settings)
    owned: dict[str, list[Source]] = {}
    for source in sources:
        # A slide without features is given up by itself, not with its patient.
        is_alone = run.card.unit != "patient" or source.facts.get("features") == ""
        owner = source.name if is_alone else source.facts["patient_id"]
        owned.setdefault(owner, []).append(source)
    items = []
    for owner, own_sources in owned.items():
        values = clinical.get(own_sources[0].facts["patient_id"])
        content = [run.sha256, [source.content for source in own_sources], values]
        items.append(Item(owner, own_sources, hash_object(content), values))
    return Asked(
        items, (say_what_was_learnt(run, "slide"),) if run.card.bag_size else ()
    )


def list_bags(
    run: Run, what: Sequence[Path | str], bags: Path, stack: ExitStack
) -> Asked:
    """List the drawn bags of a bag table, or of its folder.

    Its labels and witnesses are written beside what is found, and used for nothing
    else. `what` is the tile folder that they were drawn from, whose reader `stack`
    closes.
    """
    card = run.card
    takes_tiles = card.takes_pixels or run.encoder is not None
    if card.learner == "tiles" or not takes_tiles or len(what) != 1:
        raise ModelError(
            f"{run.path}: drawn bags go with a bag model that takes tiles, and with "
            "the one tile folder that they were drawn from"
        )
    path = bags / BAG_TABLE if bags.is_dir() else bags
    table, info = read_bag_table(path)
    folder = open_tile_folder(Path(what[0]))
    if info.tiles_sha256 != folder.sha256:
        raise ManifestError(
            f"{path}: its bags were drawn from other tiles than those in "
            f"{folder.path}; draw them again, or give the folder that they were drawn "
            "from"
        )
    advice = "tile and draw bags as for the training"
    run.require_like(see_tiles(folder), where=str(folder.path), advice=advice)
    run.require_classes(info.class_names, where=str(path))
    places = pd.Series(np.arange(len(folder.tiles)), index=folder.tiles["tile_id"])
    table["place"] = places.loc[table["tile_id"]].to_numpy()
    reader = stack.enter_context(folder.open_reader())
    items = []
    for bag_id, rows in table.groupby("bag_id", sort=False):
        name, first = str(bag_id), rows.iloc[0]
        seen = {"slides": rows["slide_id"], "patients": rows["patient_id"]}
        facts = {
            "bag_id": name,
            "split": str(first["split"]),
            "seen_in_training": run.was_seen(**seen),
            "true_label": card.class_names[int(first["label"])],
            "witnesses": int(first["n_witnesses"]),
        }
        drawn, tile_ids = rows.reset_index(drop=True), rows["tile_id"].tolist()
        opened = functools.partial(open_drawn_tiles, name, drawn, reader)
        key = hash_object([run.sha256, tile_ids])
        items.append(Item(name, [Source(name, facts, tile_ids, opened)], key))
    is_same = (info.size, tuple(info.witnesses)) == (card.bag_size, card.witnesses)
    return Asked(
        items,
        () if is_same else (say_what_was_learnt(run, "bag"),),
        {"bags": hash_file(path), "tiles": folder.sha256},
        folder,
    )


def say_what_was_learnt(run: Run, noun: Literal["slide", "bag"]) -> str:
    """Say why calls of a `slide` or `bag` deserve doubt: others were learnt from."""
    size, counts = run.card.bag_size, ", ".join(map(str, run.card.witnesses))
    learnt = f"whole slides, each {run.card.bag_unit} a bag"
    if size is not None:
        learnt = f"drawn bags of {size} tiles, positive ones with {counts} witnesses"
    return (
        f"The models learnt from {learnt}. A {noun} here has another number of tiles "
        "or another share of witnesses, for which neither probability nor threshold "
        f"was fitted: let the probability rank {noun}s, and do not take it for a rate."
    )


def _find_features(run: Run, what: Sequence[Path | str]) -> Path | None:
    """Return the folder of feature files that is meant; None where slides are."""
    folder = Path(what[0])
    if len(what) != 1 or not folder.is_dir() or _is_tiled(folder):
        return None
    takes_features = run.card.learner == "bags"
    try:
        list_files(folder)
    except CohortError:
        has_slides = False
    else:
        has_slides = True
        if not takes_features or run.encoder is not None:
            return None
    try:
        find_feature_files(folder)
    except ManifestError:
        if takes_features and not has_slides and run.encoder is None:
            raise
        return None
    if not takes_features:
        raise ModelError(
            f"{run.path}: its models take tiles, not features; give it slides"
        )
    return folder


def _list_featured(folder: Path, cohort: Path | None) -> pd.DataFrame:
    """List slides with features: `slide_id`, `patient_id`, `path`, `mpp` and more."""
    if cohort is not None:
        return read_cohort(cohort, needs_files=False).table
    names = [from_file_name(name) for name in find_feature_files(folder)]
    table = pd.DataFrame({"slide_id": names})
    table["patient_id"] = [find_patient(name) for name in table["slide_id"]]
    return table.merge(_find_tiled(folder), on="slide_id", how="left")


def _make_feature_sources(
    run: Run, table: pd.DataFrame, folder: Path, settings: PredictionSettings
) -> list[Source]:
    files = find_feature_files(folder)
    _require_like_any(run, files)
    sources = []
    for row in table.to_dict("records"):
        name, path, mpp = str(row["slide_id"]), row["path"], _find_mpp(row)
        ids = {"slide_id": name, "patient_id": str(row["patient_id"])}
        if not (isinstance(path, str) and is_at_hand(path)):
            path = None
        # A name that was cut is its own id.
        file = files.get(to_file_name(name)) or files.get(name)
        content = [
            str(file),
            None if file is None else fingerprint_file(file),
            None if path is None else fingerprint_readable(path),
            mpp,
        ]
        opened = functools.partial(
            open_feature_tiles,
            name,
            file,
            path,
            mpp,
            tile_px0=settings.tile_px0,
            run=run,
        )
        facts = {**ids, "features": str(file or "")}
        sources.append(Source(name, facts, content, opened))
    return sources


def _require_like_any(run: Run, files: Mapping[str, Path]) -> None:
    """Stop once where every feature file is of others, before each slide fails."""
    advice = "embed the slides as the training's were"
    problem: ModelError | None = None
    for file in files.values():
        try:
            run.require_like(see_features(file), where=str(file), advice=advice)
        except ModelError as error:
            problem = problem or error
        except ManifestError:
            # Damage is one slide's own failure.
            continue
        else:
            return
    if problem is not None:
        raise problem


def _find_tiled(features: Path) -> pd.DataFrame:
    """List the slides that tiles were cut from, `slide_id, path, mpp`; none if gone."""
    folder, columns = find_tile_folder(features), ["slide_id", "path", "mpp_used"]
    slides = pd.DataFrame(columns=columns)
    with suppress(ManifestError):
        if folder is not None and not (tiled := open_tile_folder(folder)).has_patches:
            slides = tiled.slides
    slides = slides[columns].astype({"mpp_used": float})
    return slides.rename(columns={"mpp_used": "mpp"})


def _list_slides(
    run: Run, what: Sequence[Path | str], settings: PredictionSettings
) -> pd.DataFrame:
    """List slides: `slide_id`, `patient_id`, `path`, `mpp`, and clinical columns."""
    if run.card.learner == "bags" and run.encoder is None:
        raise ModelError(
            f"{run.path}: its models take features, and no encoder is with them; embed "
            "the slides as the training's were, and give the folder of feature files"
        )
    if settings.tile_px0 is not None:
        raise ConfigError(
            "tile_px0 is for feature files that do not say it; slides are cut as the "
            "run was trained on them"
        )
    folders = [Path(p) for p in what if _is_tiled(Path(p))]
    given = [Path(p) / "slides.csv" if Path(p) in folders else p for p in what]
    table = list_slides(given)
    tiled: dict[str, str] = {}
    for folder in folders:
        slides = read_slides(folder)
        tiled |= dict(zip(slides["path"], slides[FINGERPRINT], strict=True))
    table[FINGERPRINT] = [tiled.get(path, "") for path in table["path"]]
    if run.card.columns:
        tables = [read_cohort(Path(p)).table for p in given if str(p).endswith(".csv")]
        known = [name for name in run.card.columns if any(name in t for t in tables)]
        if known:
            columns = pd.concat(tables)[["path", *known]]
            table = table.merge(columns, on="path", how="left")
    return table


def _make_slide_sources(
    run: Run, table: pd.DataFrame, settings: PredictionSettings
) -> list[Source]:
    sees = run.card.sees
    if settings.overlap_px is not None:
        sees = replace(sees, overlap_px=settings.overlap_px)
    # Before any slide fails for it.
    _ = sees.spec
    sources = []
    for row in table.to_dict("records"):
        name, path, mpp = str(row["slide_id"]), str(row["path"]), _find_mpp(row)
        facts = {"slide_id": name, "patient_id": str(row["patient_id"]), "path": path}
        opened = functools.partial(
            open_slide_tiles,
            name,
            path,
            mpp,
            default_mpp=settings.slide_mpp,
            sees=sees,
            fingerprint=row[FINGERPRINT],
        )
        content = [name, fingerprint_readable(path), mpp]
        sources.append(Source(name, facts, content, opened))
    return sources


def _find_mpp(row: Mapping[Any, Any]) -> float | None:
    """Take the mpp that a table gives of a slide, if it gives one."""
    return float(row["mpp"]) if row["mpp"] > 0 else None


def _is_tiled(path: Path) -> bool:
    return (path / "tiles.parquet").is_file() and (path / "slides.csv").is_file()
