"""Maps of what a trained model looks at, on the tiles that say most about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from eosin.core import ModelError, Progress, SlideError, SlideFailure, atomic_path
from eosin.exploring.examples import ExampleKind, choose_examples
from eosin.exploring.held_out_tiles import EVERY_FOLD, HeldOutTiles
from eosin.exploring.interpretation import ClassMap, draw_class_map
from eosin.models import Variant, find_map, grad_cam, load_classifier
from eosin.settings import CamMethod, InterpretSettings
from eosin.tiles import find_boxes

_TILE_COLUMNS = ("tile_id", "slide_id", "patient_id", "x_px0", "y_px0", "size_px0")
VARIANTS: Mapping[CamMethod, Variant] = {
    "gradcam": "grad_cam",
    "gradcam++": "grad_cam_plus_plus",
}


def map_classes(
    held_out: HeldOutTiles,
    settings: InterpretSettings,
    failures: list[SlideFailure],
    progress: Progress,
) -> tuple[ClassMap, ...]:
    """Map the surest right, the surest wrong and the least sure tiles of each class.

    Each tile is mapped for its call, a wrong one for its label as well, by the models
    that did not train on it; without predictions there is no map. Tiles and models that
    had to be given up on are added to `failures`.
    """
    if held_out.probabilities is None:
        return ()
    chosen = choose_examples(
        held_out.labels,
        held_out.called,
        held_out.confidence,
        held_out.tiles["slide_id"].astype(str).to_numpy(object),
        n=settings.shown,
        per_group=settings.per_slide,
    )
    rows = np.unique(np.concatenate([np.arange(0), *chosen.values()]))
    pixels = _read(held_out, rows, failures)
    maps = [
        ClassMap(kind, row, label, asked, pixels[row], None, "", 0)
        for (label, kind), own in chosen.items()
        for row in own.tolist()
        if row in pixels
        for asked in _list_asked(kind, label, int(held_out.called[row]))
    ]
    jobs = list(_iter_jobs(held_out, maps))
    found: dict[int, list[npt.NDArray[np.float32]]] = {}
    with progress.task("Asking models", len(jobs)) as task:
        for path, numbers in jobs:
            try:
                model = load_classifier(path)
            except ModelError as error:
                name = str(path.relative_to(held_out.run))
                failures.append(SlideFailure(name, "interpret", str(error)))
            else:
                strengths = grad_cam(
                    model,
                    np.stack([maps[i].pixels for i in numbers]).astype(np.float32),
                    np.array([maps[i].asked for i in numbers]),
                    VARIANTS[settings.method],
                    layer=settings.layer,
                    batch=8,
                )
                layer = find_map(model, settings.layer)
                for i, strength in zip(numbers, strengths, strict=True):
                    found.setdefault(i, []).append(strength)
                    mean = np.mean(found[i], axis=0, dtype=np.float32)
                    maps[i] = replace(
                        maps[i], strength=mean, layer=layer.name, n_cells=layer.n_cells
                    )
            task.advance()
    return tuple(maps)


def _list_asked(kind: ExampleKind, label: int, called: int) -> tuple[int, ...]:
    """List the classes that a tile is mapped for: its call, and a wrong one's label."""
    return (called, label) if kind == "wrong" else (called,)


def _read(
    held_out: HeldOutTiles, rows: npt.NDArray[np.int64], failures: list[SlideFailure]
) -> dict[int, npt.NDArray[np.uint8]]:
    """Read the tiles that can be read, by their row."""
    found = {}
    with held_out.folder.open_reader(held_out.tiles) as reader:
        for row, tile in zip(rows.tolist(), reader.read_each(rows), strict=True):
            if isinstance(tile, SlideError):
                name = str(held_out.tiles["tile_id"].iloc[row])
                failures.append(SlideFailure(name, "interpret", str(tile)))
            else:
                found[row] = tile.pixels
    return found


def _iter_jobs(
    held_out: HeldOutTiles, maps: Sequence[ClassMap]
) -> Iterator[tuple[Path, list[int]]]:
    """Yield each model with the numbers of the tiles that it may be asked about."""
    for fold, name in enumerate(held_out.card.models):
        folds = [held_out.folds[one.row] for one in maps]
        numbers = [i for i, own in enumerate(folds) if own in (fold, EVERY_FOLD)]
        if numbers:
            yield (held_out.run / name).with_suffix(".keras"), numbers


def write_class_maps(
    maps: Sequence[ClassMap], held_out: HeldOutTiles, out: Path, *, mark_px: int = 0
) -> None:
    """Write `maps.csv`, `maps.npy` and each map over its tile as PNG.

    A row of `maps.csv` stands for a map: the tile, its slide and place, its label and
    call, the class asked for, where on the slide the map is highest, and the file; the
    share of the central square of `mark_px` pixels, if any. The rows of `maps.npy`
    (`(maps, height, width)`, float16, 0 to 1) are in that order; those without a map
    are NaN.
    """
    with atomic_path(out) as temporary:
        temporary.mkdir()
        rows = []
        side = held_out.folder.info.tile_px
        values = np.full((len(maps), side, side), np.nan, np.float16)
        for i, found in enumerate(maps):
            name = f"{i:03d}-{found.kind}.png"
            both = np.concatenate([found.pixels, draw_class_map(found)], axis=1)
            Image.fromarray(both).save(temporary / name)
            if found.strength is not None:
                values[i] = found.strength
            rows.append(_describe(found, held_out, mark_px) | {"file": name})
        pd.DataFrame(rows).to_csv(temporary / "maps.csv", index=False)
        np.save(temporary / "maps.npy", values)


def _describe(found: ClassMap, held_out: HeldOutTiles, mark_px: int) -> dict[str, Any]:
    names, tile = held_out.class_names, held_out.tiles.iloc[found.row]
    peak_x, peak_y = _find_peak(found, held_out)
    described = {
        **dict(tile[list(_TILE_COLUMNS)]),
        "kind": found.kind,
        "class_name": names[found.label],
        "called": names[held_out.called[found.row]],
        "confidence": round(float(held_out.confidence[found.row]), 6),
        "model": int(held_out.folds[found.row]),
        "map_of": names[found.asked],
        "layer": found.layer,
        "places_a_side": found.n_cells,
    }
    if held_out.probabilities is not None:
        columns, own = held_out.card.target.columns, held_out.probabilities[found.row]
        described |= {
            name: round(float(value), 6)
            for name, value in zip(columns, own, strict=True)
        }
    described |= {"peak_x_px0": peak_x, "peak_y_px0": peak_y}
    if mark_px:
        described["centre_share"] = found.find_centre_share(mark_px)
    if held_out.folder.has_patches:
        described |= dict(tile[["source", "source_index"]])
    return described


def _find_peak(
    found: ClassMap, held_out: HeldOutTiles
) -> tuple[int | None, int | None]:
    """Find where on the slide a map is highest, in level-0 pixels."""
    if found.strength is None or found.strength.max() <= 0:
        return None, None
    tile = held_out.tiles.iloc[[found.row]]
    left, top, size = find_boxes(tile, held_out.folder.info.context)[0][:3]
    height, width = found.strength.shape
    y, x = np.unravel_index(int(found.strength.argmax()), found.strength.shape)
    return int(left + (x + 0.5) * size / width), int(top + (y + 0.5) * size / height)
