"""From a slide table to a tile table."""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from eosin.annotations import Annotations, ClassMap, MappedAnnotations, read_annotations
from eosin.cohorts import (
    Cohort,
    read_cohort,
    say_examples,
    say_unknown_patients,
)
from eosin.core import (
    ConfigError,
    ManifestError,
    Progress,
    RunRecord,
    SlideFailure,
    atomic_path,
    hash_file,
    hash_object,
    open_run,
    read_json,
    to_file_name,
    write_json,
)
from eosin.heatmaps import draw_overview, picture_slide, write_image
from eosin.slides import Slide, fingerprint_slide, open_slide
from eosin.tiles import (
    DAMAGED,
    ManifestInfo,
    OpticalDensityTissue,
    OtsuTissue,
    TileSpec,
    TissueMap,
    TissueMethod,
    find_tissue,
    label_tiles,
    measure_tiles,
    place_tiles,
    read_manifest,
    write_manifest,
)
from eosin.workflows.slide_listing import iter_rows
from eosin.workflows.slide_pool import map_slides

_OUTPUTS = ("parts", "overviews", "tiles.parquet", "slides.csv", "run.json")


@dataclass(frozen=True, kw_only=True)
class TileConfig:
    """How slides become tiles.

    Attributes:
        mpp: Micrometres per pixel of the tiles.
        tile_px: Side of a tile in its own pixels.
        overlap_px: Pixels that neighbouring tiles share.
        context: Side of what a model is shown for a tile over the tile's own, 1 or
            more; the tile keeps its place and its label, and is shown at `context`
            times the mpp.
        classes: One text per class, `name=File name,other file name`.
        tissue: How tissue is found; `density` is for pale slides.
        min_tissue: A tile with a smaller share of tissue is left out, 0 to 1.
        min_fraction: A tile gets the label of the class that covers at least
            this share of it, 0 to 1; with less it stays without a label.
        unannotated: What tissue outside every annotation is: the negative class,
            nothing, or decided slide by slide (`auto`: negative where the slide's
            label is, or where its annotations outline no negative class).
        measures: Whether each tile is read once for its sharpness and colour.
    """

    mpp: float = 0.5
    tile_px: int = 256
    overlap_px: int = 0
    context: float = 1.0
    classes: tuple[str, ...] = ("tumor=tumor,tumour", "normal=normal,benign")
    tissue: Literal["saturation", "density"] = "saturation"
    min_tissue: float = 0.25
    min_fraction: float = 0.5
    unannotated: Literal["auto", "negative", "ignore"] = "auto"
    measures: bool = True

    def __post_init__(self) -> None:
        for name in ("min_tissue", "min_fraction"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} must lie between 0 and 1, got {value:g}")

    @property
    def spec(self) -> TileSpec:
        """The tile's resolution, size and overlap."""
        return TileSpec(self.mpp, self.tile_px, self.overlap_px, self.context)

    @property
    def tissue_method(self) -> TissueMethod:
        """The method that finds tissue."""
        return OtsuTissue() if self.tissue == "saturation" else OpticalDensityTissue()


@dataclass(frozen=True)
class TileResult:
    """What `tile_cohort` made.

    Attributes:
        folder: Where it lies.
        slides: One row per slide that was tiled, as in `slides.csv`.
        n_tiles: Tiles in `tiles.parquet`.
        label_counts: Tiles by class name; `unlabelled` for those without.
        unknown_classes: Annotation class names that no `--classes` entry takes,
            with the number of regions.
        remarks: What may be wrong with the classes, and which slides gave no tile or
            no label, as sentences.
        failures: Slides that were given up on.
    """

    folder: Path
    slides: pd.DataFrame
    n_tiles: int
    label_counts: Mapping[str, int]
    unknown_classes: Mapping[str, int]
    remarks: tuple[str, ...]
    failures: tuple[SlideFailure, ...]


def tile_cohort(
    cohort: Path,
    config: TileConfig,
    out: Path,
    *,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TileResult:
    """Find tissue, place the grid and label every tile of a cohort.

    Writes `tiles.parquet`, `slides.csv`, `overviews/<slide_id>.jpg` and
    `run.json` to `out`. Each slide's part is kept, so a second call works only
    on slides that are new, were changed, or failed.

    Args:
        cohort: The slide table, a CSV.
        config: How slides become tiles.
        out: The folder to write to.
        workers: Slides worked on at once.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        CohortError: The slide table is wrong; every problem is named.
        RunError: `out` holds other work or cannot be written.
        ManifestError: Not one slide gave a tile.
    """
    progress = progress or Progress()
    class_map = ClassMap.parse(list(config.classes))
    table = read_cohort(
        cohort, class_names=class_map.class_names, class_option="--classes"
    )
    with open_run(
        out, "tile", settings=asdict(config), overwrite=overwrite, outputs=_OUTPUTS
    ) as record:
        record.notes["cohort"] = str(Path(cohort).resolve())
        jobs = _find_jobs(table, config, out)
        slide_ids = [str(name) for name in table.table["slide_id"]]
        # A slide that was taken out of the table must go from the tiles as well.
        is_other = record.notes.get("slides") != slide_ids
        if jobs or is_other or not (out / "tiles.parquet").exists():
            record.reopen()
        record.notes["slides"] = slide_ids
        with progress.task("Tiling slides", len(jobs)) as task:
            work = functools.partial(_tile_slide, config=config, class_map=class_map)
            for _ in map_slides(work, jobs, record=record, task=task, workers=workers):
                pass
        return _merge_parts(table, config, class_map, record)


@dataclass(frozen=True)
class _Job:
    """One slide to be tiled."""

    row: Mapping[str, Any]
    out: Path
    key: str


def _find_jobs(cohort: Cohort, config: TileConfig, out: Path) -> list[tuple[str, _Job]]:
    """List the slides whose part is missing or was made from something else."""
    jobs = []
    for row in iter_rows(cohort.table):
        key = _find_key(row, config)
        part = _part_path(out, row["slide_id"], ".json")
        if not part.exists() or read_json(part).get("key") != key:
            jobs.append((str(row["slide_id"]), _Job(row, out, key)))
    return jobs


def _find_key(row: Mapping[str, Any], config: TileConfig) -> str:
    """Hash everything that a slide's part depends on."""
    annotation = row["annotation"]
    return hash_object(
        {
            "config": asdict(config),
            "slide": fingerprint_slide(row["path"]),
            "annotation": hash_file(Path(annotation)) if annotation else None,
            "row": {name: row[name] for name in sorted(row)},
        }
    )


def _tile_slide(job: _Job, *, config: TileConfig, class_map: ClassMap) -> None:
    """Tile one slide and write its part and its overview."""
    row = job.row
    slide_id = str(row["slide_id"])
    given_mpp = None if pd.isna(row["mpp"]) else float(row["mpp"])
    with open_slide(row["path"], mpp=given_mpp) as slide:
        annotations = None
        if row["annotation"]:
            annotations = read_annotations(Path(row["annotation"]), slide=slide)
        mapped = class_map.apply(annotations) if annotations else None
        tissue = find_tissue(slide, config.tissue_method)
        tiles = place_tiles(slide, config.spec, tissue, min_tissue=config.min_tissue)
        tiles = label_tiles(
            tiles,
            mapped,
            class_map.class_names,
            slide_label=row["label"] or None,
            unannotated=config.unannotated,
            min_fraction=config.min_fraction,
        )
        tiles = measure_tiles(slide, tiles, config.spec, skip=not config.measures)
        tiles.insert(0, "tile_id", _name_tiles(slide_id, tiles))
        tiles.insert(1, "slide_id", slide_id)
        tiles.insert(2, "patient_id", str(row["patient_id"]))
        tiles.insert(3, "split", row["split"] or None)
        summary = _summarise(slide, tissue, tiles, annotations, mapped, config)
        overview = draw_overview(
            picture_slide(slide, title=slide_id),
            tissue=tissue,
            tiles=tiles,
            class_names=class_map.class_names,
            areas=mapped.areas if mapped else {},
        )
    write_image(_overview_path(job.out, slide_id), overview)
    with atomic_path(_part_path(job.out, slide_id, ".parquet")) as temporary:
        tiles.to_parquet(temporary, index=False)
    write_json(
        _part_path(job.out, slide_id, ".json"), {"key": job.key, "slide": summary}
    )


def _name_tiles(slide_id: str, tiles: pd.DataFrame) -> pd.Series:
    return (
        slide_id + "_" + tiles["x_px0"].astype(str) + "_" + tiles["y_px0"].astype(str)
    )


def _summarise(
    slide: Slide,
    tissue: TissueMap,
    tiles: pd.DataFrame,
    annotations: Annotations | None,
    mapped: MappedAnnotations | None,
    config: TileConfig,
) -> dict[str, Any]:
    """Collect what is worth knowing of one slide."""
    mpp = slide.require_mpp()
    pixels = tissue.mask.sum() * tissue.downsample**2
    return {
        "width_px0": slide.dimensions[0],
        "height_px0": slide.dimensions[1],
        "mpp_used": mpp,
        "mpp_source": slide.mpp_source,
        "mpp_warning": "; ".join(slide.resolution.disagreements),
        "vendor": slide.vendor,
        "reader": slide.reader,
        "resampling": slide.find_resampling(
            slide.downsample_at(config.mpp) * config.context
        ),
        "n_damaged": int(tiles["flags"].str.contains(DAMAGED).sum()),
        "tissue_mm2": float(pixels * (mpp / 1000) ** 2),
        "n_tiles": len(tiles),
        "n_regions": len(annotations.regions) if annotations else 0,
        "n_repaired": annotations.n_repaired if annotations else 0,
        "annotation_classes": _count_names(annotations),
        "unknown_classes": dict(mapped.unknown) if mapped else {},
    }


def _count_names(annotations: Annotations | None) -> dict[str, int]:
    """Count a slide's regions by their name in the annotations."""
    regions = annotations.regions if annotations else ()
    return dict(Counter(region.class_name for region in regions))


def _merge_parts(
    cohort: Cohort, config: TileConfig, class_map: ClassMap, record: RunRecord
) -> TileResult:
    """Join the slides' parts, in the cohort's order, into the tables."""
    failed = {failure.slide_id for failure in record.failures}
    frames, rows = [], []
    for row in iter_rows(cohort.table):
        slide_id = str(row["slide_id"])
        if slide_id in failed:
            continue
        summary = read_json(_part_path(record.folder, slide_id, ".json"))["slide"]
        # Parts of earlier versions do not name all classes.
        rows.append({**row, "annotation_classes": {}, **summary})
        frames.append(pd.read_parquet(_part_path(record.folder, slide_id, ".parquet")))
    if not any(len(frame) for frame in frames):
        reasons = "; ".join(f"{f.slide_id}: {f.message}" for f in record.failures[:3])
        raise ManifestError(
            f"{cohort.path}: not one of {len(cohort.table)} slides gave a tile"
            + (f" ({reasons})" if reasons else "; is there tissue on them?")
        )
    tiles = pd.concat([f for f in frames if len(f)], ignore_index=True)
    info = ManifestInfo(
        mpp=config.mpp,
        tile_px=config.tile_px,
        overlap_px=config.overlap_px,
        context=config.context,
        class_names=class_map.class_names,
        resampling="; ".join(sorted({str(row["resampling"]) for row in rows})),
    )
    slides = pd.DataFrame(rows)
    unknown, found = (
        sum(map(Counter, slides.pop(name)), Counter[str]())
        for name in ("unknown_classes", "annotation_classes")
    )
    if not record.is_done:
        write_manifest(record.folder / "tiles.parquet", tiles, info)
        with atomic_path(record.folder / "slides.csv") as temporary:
            slides.to_csv(temporary, index=False)
        tiles, _ = read_manifest(record.folder / "tiles.parquet")
    counts = tiles["label"].map(dict(enumerate(info.class_names))).fillna("unlabelled")
    label_counts = {str(k): int(v) for k, v in counts.value_counts().items()}
    record.notes |= {"label_counts": label_counts, "unknown_classes": dict(unknown)}
    remarks = [
        say_unknown_patients(cohort),
        *class_map.describe_names(found),
        *_say_bare_slides(slides, tiles, info),
    ]
    return TileResult(
        record.folder,
        slides,
        len(tiles),
        label_counts,
        unknown,
        tuple(filter(None, remarks)),
        tuple(record.failures),
    )


def _say_bare_slides(
    slides: pd.DataFrame, tiles: pd.DataFrame, info: ManifestInfo
) -> Iterator[str]:
    """Say which slides give nothing to later steps while others do."""
    negative = info.class_names[0]
    names = slides["slide_id"].astype(str)
    bare = names[~names.isin(set(tiles["slide_id"]))]
    if len(bare):
        yield (
            f"{len(bare)} of {len(slides)} slides gave no tile ({say_examples(bare)}): "
            "no tissue was found on them, see overviews; pale tissue needs "
            "--set tissue=density"
        )
    labelled = set(tiles.loc[tiles["label"].notna(), "slide_id"])
    unlabelled = names[names.isin(set(tiles["slide_id"])) & ~names.isin(labelled)]
    if labelled and len(unlabelled):
        yield (
            f"No tile of {len(unlabelled)} of {len(slides)} slides has a label "
            f"({say_examples(unlabelled)}), so that a tile classifier learns nothing "
            "from them: outline their classes. Only a slide that is wholly "
            f"'{negative}' may have that label instead; labels of slides alone are "
            "learnt from by 'eosin embed' and 'eosin mil train'"
        )


def _part_path(out: Path, slide_id: str, suffix: str) -> Path:
    return out / "parts" / (to_file_name(slide_id) + suffix)


def _overview_path(out: Path, slide_id: str) -> Path:
    return out / "overviews" / (to_file_name(slide_id) + ".jpg")
