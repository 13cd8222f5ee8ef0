"""From a slide table to a tile table."""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.annotations import Annotations, ClassMap, MappedAnnotations, read_annotations
from eosin.cohorts import (
    Cohort,
    fingerprint_readable,
    hash_readable,
    iter_rows,
    read_cohort,
    say_examples,
)
from eosin.core import (
    WATCHED,
    Items,
    ManifestError,
    Progress,
    RunError,
    RunRecord,
    Showable,
    SlideFailure,
    atomic_path,
    caution_formulas,
    hash_object,
    open_run,
    raising,
    read_parquet,
    to_file_name,
    write_csv,
)
from eosin.heatmaps import draw_overview, picture_slide, write_image
from eosin.settings import TilingSettings, require_settings, say_order
from eosin.slides import Slide, find_odd_levels, open_slide, split_packed
from eosin.tiles import (
    CLASS_SPELLING,
    DAMAGED,
    FINGERPRINT,
    ManifestInfo,
    TissueMap,
    describe_fit,
    find_tissue,
    find_tissue_method,
    label_tiles,
    measure_tiles,
    place_tiles,
    read_manifest,
    write_manifest,
)
from eosin.tiles.packing import PackResult, pack_tiles

# A share of a slide that only a crop of tissue reaches, or glass taken for tissue.
_NEARLY_ALL = 0.95

_OUTPUTS = ("parts", "overviews", "tiles.parquet", "slides.csv", "run.json")


@dataclass(frozen=True)
class TileResult(Showable):
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
        cautions: What must be known of slides' files, and which slides' annotations
            hardly lie on their tissue, as sentences.
        pack: The slides' own tiles in one file, where that was asked for.
    """

    pictures = ("overviews/*.jpg",)

    folder: Path
    slides: pd.DataFrame
    n_tiles: int
    label_counts: Mapping[str, int]
    unknown_classes: Mapping[str, int]
    remarks: tuple[str, ...]
    failures: tuple[SlideFailure, ...]
    cautions: tuple[str, ...] = ()
    pack: PackResult | None = None


def tile_cohort(
    cohort: Path,
    out: Path,
    settings: TilingSettings | None = None,
    *,
    pack: bool = False,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = WATCHED,
) -> TileResult:
    """Find tissue, place the grid and label every tile of a cohort.

    Writes `tiles.parquet`, `slides.csv`, `overviews/<slide_id>.jpg` and
    `run.json` to `out`. Each slide's part is kept, so a second call works only
    on slides that are new, were changed, or failed.

    Args:
        cohort: The slide table, a CSV.
        out: The folder to write to.
        settings: How slides become tiles.
        pack: Whether the slides' own tiles are copied into `pack.arrow` too, for slow
            disks or for sharing.
        workers: Slides worked on at once.
        overwrite: Replace a result of other settings.
        progress: Told how far it is.

    Raises:
        CohortError: The slide table is wrong; every problem is named.
        RunError: `out` holds other work or cannot be written.
        ManifestError: Not one slide gave a tile.
    """
    settings = require_settings(settings, TilingSettings)
    out, progress = Path(out), progress or Progress()
    class_map = ClassMap.parse(list(settings.classes))
    table = read_cohort(
        cohort, class_names=class_map.class_names, class_option="--classes"
    )
    with open_run(
        out, "tile", settings=asdict(settings), overwrite=overwrite, outputs=_OUTPUTS
    ) as record:
        record.notes["cohort"] = str(Path(cohort).resolve())
        slides = [_find_slide(row, settings) for row in iter_rows(table.table)]
        items = Items(record, slides)
        slide_ids = [slide.item_id for slide in slides]
        # A slide that was taken out of the table must go from the tiles as well.
        is_other = record.notes.get("slides") != slide_ids
        if items.todo or is_other or not (out / "tiles.parquet").exists():
            record.reopen()
        record.notes["slides"] = slide_ids
        work = functools.partial(
            _tile_slide, settings=settings, class_map=class_map, items=items, out=out
        )
        items.run(work, progress, name="Tiling slides", workers=workers)
        result = _merge_parts(table, settings, class_map, record, items)
    return replace(result, pack=pack_tiles(out, progress=progress)) if pack else result


@dataclass(frozen=True)
class _Slide:
    """One slide to be tiled."""

    row: Mapping[str, Any]
    key: str
    fingerprint: str | None
    rows: Sequence[Mapping[str, Any]] = ()

    @property
    def item_id(self) -> str:
        return str(self.row["slide_id"])


def _find_slide(row: Mapping[str, Any], settings: TilingSettings) -> _Slide:
    """Hash everything that a slide's part depends on."""
    annotation, fingerprint = row["annotation"], fingerprint_readable(row["path"])
    content = {
        "settings": asdict(settings),
        "slide": fingerprint,
        "annotation": hash_readable(annotation) if annotation else None,
        "row": {name: row[name] for name in sorted(row)},
    }
    return _Slide(row, hash_object(content), fingerprint)


def _tile_slide(
    item: _Slide,
    *,
    settings: TilingSettings,
    class_map: ClassMap,
    items: Items[_Slide],
    out: Path,
) -> dict[str, Any]:
    """Tile one slide and write its tiles and its overview."""
    row, slide_id = item.row, item.item_id
    given_mpp = None if pd.isna(row["mpp"]) else float(row["mpp"])
    place = row["annotation"]
    with open_slide(row["path"], mpp=given_mpp) as slide:
        annotations = read_annotations(Path(place), slide=slide) if place else None
        mapped = class_map.apply(annotations) if annotations else None
        tissue = find_tissue(slide, find_tissue_method(settings.tissue))
        tiles = place_tiles(slide, settings, tissue, min_tissue=settings.min_tissue)
        tiles = label_tiles(
            tiles,
            mapped,
            class_map.class_names,
            slide_label=row["label"] or None,
            unannotated=settings.unannotated,
            min_fraction=settings.min_fraction,
        )
        tiles = measure_tiles(slide, tiles, settings, skip=not settings.measures)
        x, y = (tiles[name].astype(str) for name in ("x_px0", "y_px0"))
        tiles.insert(0, "tile_id", slide_id + "_" + x + "_" + y)
        tiles.insert(1, "slide_id", slide_id)
        tiles.insert(2, "patient_id", str(row["patient_id"]))
        tiles.insert(3, "split", row["split"] or None)
        summary = _summarise(slide, tissue, tiles, annotations, mapped, settings)
        if settings.overviews:
            overview = draw_overview(
                picture_slide(slide, title=slide_id, image=tissue.image),
                tissue=tissue,
                tiles=tiles,
                class_names=class_map.class_names,
                areas=mapped.areas if mapped else {},
            )
            write_image(out / f"overviews/{to_file_name(slide_id)}.jpg", overview)
    with atomic_path(items.find_part(slide_id, ".parquet")) as temporary:
        tiles.to_parquet(temporary, index=False)
    return {"slide": summary}


def _summarise(
    slide: Slide,
    tissue: TissueMap,
    tiles: pd.DataFrame,
    annotations: Annotations | None,
    mapped: MappedAnnotations | None,
    settings: TilingSettings,
) -> dict[str, Any]:
    """Collect what is worth knowing of one slide."""
    mpp, regions = slide.require_mpp(), annotations.regions if annotations else ()
    pixels = tissue.mask.sum() * tissue.downsample**2
    return {
        "width_px0": slide.dimensions[0],
        "height_px0": slide.dimensions[1],
        "mpp_used": mpp,
        "mpp_source": slide.mpp_source,
        "mpp_warning": "; ".join(slide.resolution.disagreements),
        "slide_warning": "; ".join([*slide.cautions, *find_odd_levels(slide)]),
        "vendor": slide.vendor,
        "reader": slide.reader,
        "resampling": slide.find_resampling(
            slide.downsample_at(settings.mpp) * settings.context
        ),
        "n_damaged": int(tiles["flags"].str.contains(DAMAGED).sum()),
        "tissue_mm2": float(pixels * (mpp / 1000) ** 2),
        "n_tiles": len(tiles),
        "annotation_warning": describe_fit(
            regions, tissue.mask, tissue.downsample, slide.dimensions
        ),
        "n_regions": len(regions),
        "n_repaired": annotations.n_repaired if annotations else 0,
        "annotation_classes": dict(Counter(region.class_name for region in regions)),
        "unknown_classes": dict(mapped.unknown) if mapped else {},
        "ignored_shapes": dict(annotations.ignored) if annotations else {},
    }


def _merge_parts(
    cohort: Cohort,
    settings: TilingSettings,
    class_map: ClassMap,
    record: RunRecord,
    items: Items[_Slide],
) -> TileResult:
    """Join the slides' parts, in the cohort's order, into the tables."""
    frames, rows = [], []
    for item, part in items.read():
        if "slide" in part:
            told = {**part["slide"], FINGERPRINT: item.fingerprint}
            rows.append({**item.row, **told})
            path = items.find_part(item.item_id, ".parquet")
            remedy = "delete it and the .json beside it, and tile again"
            with raising(RunError, f"{path}: is damaged", remedy=remedy):
                frames.append(read_parquet(path).to_pandas())
    if not any(len(frame) for frame in frames):
        reasons = "; ".join(f"{f.slide_id}: {f.message}" for f in record.failures[:3])
        raise ManifestError(
            f"{cohort.path}: not one of {len(cohort.table)} slides gave a tile"
            + (f" ({reasons})" if reasons else "; is there tissue on them?")
        )
    tiles = pd.concat([f for f in frames if len(f)], ignore_index=True)
    slides = pd.DataFrame(rows)
    cautions = tuple(_say_warnings(slides))
    info = ManifestInfo(
        mpp=settings.mpp,
        tile_px=settings.tile_px,
        overlap_px=settings.overlap_px,
        context=settings.context,
        class_names=class_map.class_names,
        resampling="; ".join(sorted({str(row["resampling"]) for row in rows})),
        cautions=(*cohort.cautions, *cautions),
    )
    unknown, in_files, ignored = (
        sum(map(Counter, slides.pop(name)), Counter[str]())
        for name in ("unknown_classes", "annotation_classes", "ignored_shapes")
    )
    if not record.is_done:
        write_manifest(record.folder / "tiles.parquet", tiles, info)
        write_csv(record.folder / "slides.csv", slides)
        tiles, _ = read_manifest(record.folder / "tiles.parquet")
    label_counts = info.count_labels(tiles)
    record.notes |= {"label_counts": label_counts, "unknown_classes": dict(unknown)}
    if spelling := _find_spelling(class_map, in_files):
        record.notes[CLASS_SPELLING] = spelling
    remarks = (
        *cohort.cautions,
        *class_map.describe_names(in_files),
        _say_ignored(ignored),
        *_say_bare_slides(slides, tiles, info),
        say_order(info.class_names),
        *caution_formulas(slides["slide_id"], slides["patient_id"], info.class_names),
    )
    return TileResult(
        folder=record.folder,
        slides=slides,
        n_tiles=len(tiles),
        label_counts=label_counts,
        unknown_classes=unknown,
        remarks=tuple(filter(None, remarks)),
        failures=tuple(record.failures),
        cautions=cautions,
    )


def _say_warnings(slides: pd.DataFrame) -> Iterator[str]:
    """Say what must be known of slides and annotations, once for all that it is of."""
    is_packed = slides["path"].map(split_packed).notna()
    known = slides[slides[FINGERPRINT].notna() & ~is_packed]
    for _, alike in known.groupby(FINGERPRINT, sort=False):
        if len(alike) > 1:
            yield (
                f"{say_examples(alike['slide_id'])} are one file under {len(alike)} "
                f"names, of patients {say_examples(alike['patient_id'].unique())}; "
                "keep one, or a slide may be trained and tested on"
            )
    for name in ("slide_warning", "mpp_warning"):
        for warning, alike in slides[slides[name] != ""].groupby(name, sort=False):
            yield (
                f"{len(alike)} of {len(slides)} slides "
                f"({say_examples(alike['slide_id'])}): {warning}"
            )
    named = slides[slides["annotation_warning"] != ""]
    columns = named[["slide_id", "annotation", "annotation_warning"]]
    for slide_id, annotation, warning in columns.itertuples(index=False):
        yield f"{annotation} on slide {slide_id}: {warning}"


def _find_spelling(class_map: ClassMap, found: Counter[str]) -> dict[str, str]:
    """Find the most frequent name of each class in annotations, if it is another."""
    spelling: dict[str, str] = {}
    for name, _ in found.most_common():
        class_name = class_map.find(name)
        if class_name in class_map.class_names:
            spelling.setdefault(class_name, name)
    return {name: text for name, text in spelling.items() if name != text}


def _say_ignored(ignored: Mapping[str, int]) -> str:
    """Say what annotation files hold beside areas; nothing where there is nothing."""
    shapes = ", ".join(f"{name} ({n})" for name, n in sorted(ignored.items()))
    return shapes and f"Left out of the annotations, since it is no area: {shapes}"


def _say_bare_slides(
    slides: pd.DataFrame, tiles: pd.DataFrame, info: ManifestInfo
) -> Iterator[str]:
    """Say which slides give nothing to later steps while others do."""
    negative = info.class_names[0]
    names = slides["slide_id"].astype(str)
    has_tiles = names.isin(set(tiles["slide_id"]))
    bare = names[~has_tiles]
    if len(bare):
        yield (
            f"{len(bare)} of {len(slides)} slides gave no tile ({say_examples(bare)}): "
            "no tissue was found on them; look at them, pale tissue needs "
            "--set tissue=density"
        )
    area_mm2 = (
        slides["width_px0"] * slides["height_px0"] * slides["mpp_used"] ** 2 / 1e6
    )
    if len(full := names[slides["tissue_mm2"] >= _NEARLY_ALL * area_mm2]):
        yield (
            f"Nearly all of {len(full)} of {len(slides)} slides is taken for tissue "
            f"({say_examples(full)}); is there glass on them? Look at them"
        )
    labelled = set(tiles.loc[tiles["label"].notna(), "slide_id"])
    unlabelled = names[has_tiles & ~names.isin(labelled)]
    if labelled and len(unlabelled):
        yield (
            f"No tile of {len(unlabelled)} of {len(slides)} slides has a label "
            f"({say_examples(unlabelled)}), so that a tile classifier learns nothing "
            "from them: outline their classes. Only a slide that is wholly "
            f"'{negative}' may have that label instead; labels of slides alone are "
            "learnt from by 'eosin train --unit slide'"
        )
