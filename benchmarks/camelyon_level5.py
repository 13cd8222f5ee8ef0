"""Tissue, annotation scaling and overlay alignment on a CAMELYON16 slide.

    python benchmarks/camelyon_level5.py DATA -o out/

DATA holds `wsi/camelyon16_tumor_001_level5.tif` (level 5 of tumor_001, as one level)
and `wsi/Tumor_001.json`, whose outlines are in pixels of the original level 0, 32 times
finer. CAMELYON16 is CC0.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import shapely

from eosin.annotations import Feature, read_annotations, write_geojson
from eosin.heatmaps import (
    draw_overlay,
    find_regions,
    picture_slide,
    rasterise_tiles,
    write_image,
)
from eosin.settings import TilingSettings
from eosin.slides import open_slide
from eosin.tiles import read_manifest
from eosin.workflows.tile import tile_cohort

DOWNSAMPLE = 32
MPP = 0.243 * DOWNSAMPLE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    out, source = options.out, options.data.resolve() / "wsi"
    slide_path = source / "camelyon16_tumor_001_level5.tif"
    lesions = shapely.union_all(
        [
            shapely.transform(region.geometry, lambda points: points / DOWNSAMPLE)
            for region in read_annotations(source / "Tumor_001.json").regions
        ]
    )
    parts = [g for g in shapely.get_parts(lesions) if g.geom_type == "Polygon"]
    write_geojson(
        out / "lesions.geojson", [Feature(part, class_name="tumor") for part in parts]
    )
    (out / "slides.csv").write_text(
        "slide_id,path,annotation,label,mpp\n"
        f"tumor_001,{slide_path},lesions.geojson,tumor,{MPP}\n"
    )
    config = TilingSettings(mpp=MPP, tile_px=16, min_tissue=0.05)
    tile_cohort(out / "slides.csv", out / "tiles", config, overwrite=True)
    tiles, _ = read_manifest(out / "tiles" / "tiles.parquet")
    boxes = shapely.box(
        tiles["x_px0"],
        tiles["y_px0"],
        tiles["x_px0"] + tiles["size_px0"],
        tiles["y_px0"] + tiles["size_px0"],
    )
    truth = np.array([box.intersection(lesions).area / box.area for box in boxes])
    # A perfect model's heatmap must land on the lesions.
    heatmap = rasterise_tiles(
        tiles["x_px0"].to_numpy(), tiles["y_px0"].to_numpy(), 16, truth
    )
    with open_slide(slide_path, mpp=MPP) as slide:
        regions = find_regions(heatmap, 0.5, mpp=MPP, slide_size=slide.dimensions)
        picture = picture_slide(slide, title="tumor_001, perfect model")
    found = shapely.union_all([region.geometry for region in regions])
    write_image(
        out / "overlay.png",
        draw_overlay(
            picture, heatmap, threshold=0.5, regions=regions, annotation=lesions
        ),
    )
    dice = 2 * found.intersection(lesions).area / (found.area + lesions.area)
    print(
        json.dumps(
            {
                "lesions": len(parts),
                "lesion_mm2": lesions.area * (MPP / 1000) ** 2,
                "tiles": len(tiles),
                "lesion_covered_by_tissue_tiles": shapely.union_all(boxes)
                .intersection(lesions)
                .area
                / lesions.area,
                "largest_error_of_a_tiles_fraction": float(
                    np.abs(truth - tiles["tumor_fraction"]).max()
                ),
                "dice_of_a_perfect_model": dice,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
