"""Maps of what a trained model looks at, on the tiles that say most about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from eosin.core import (
    ModelError,
    Progress,
    SlideError,
    SlideFailure,
    atomic_path,
    write_csv,
)
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
    _ask_models(maps, held_out, settings, failures, progress)
    return tuple(maps)


def _ask_models(
    maps: list[ClassMap],
    held_out: HeldOutTiles,
    settings: InterpretSettings,
    failures: list[SlideFailure],
    progress: Progress,
) -> None:
    """Give each map the mean of the models that may be asked about its tile."""
    strengths: dict[int, list[npt.NDArray[np.float32]]] = {}
    jobs = list(_iter_jobs(held_out, maps))
    with progress.task("Asking models", len(jobs)) as task:
        for path, numbers in jobs:
            try:
                model = load_classifier(path)
            except ModelError as error:
                name = str(path.relative_to(held_out.run))
                failures.append(SlideFailure(name, "interpret", str(error)))
                task.advance()
                continue
            layer = find_map(model, settings.layer)
            answers = grad_cam(
                model,
                np.stack([maps[i].pixels for i in numbers]).astype(np.float32),
                np.array([maps[i].asked for i in numbers]),
                VARIANTS[settings.method],
                layer=settings.layer,
                batch=8,
            )
            for i, answer in zip(numbers, answers, strict=True):
                strengths.setdefault(i, []).append(answer)
                mean = np.asarray(np.mean(strengths[i], axis=0, dtype=np.float32))
                maps[i] = replace(
                    maps[i], strength=mean, layer=layer.name, n_cells=layer.n_cells
                )
            task.advance()


def _list_asked(kind: ExampleKind, label: int, called: int) -> tuple[int, ...]:
    """List the classes that a tile is mapped for: its call, and a wrong one's label."""
    return (called, label) if kind == "wrong" else (called,)


def _read(
    held_out: HeldOutTiles, rows: npt.NDArray[np.int64], failures: list[SlideFailure]
) -> dict[int, npt.NDArray[np.uint8]]:
    """Read the tiles that can be read, by their row."""
    pixels = {}
    with held_out.folder.open_reader(held_out.tiles) as reader:
        for row, tile in zip(rows.tolist(), reader.read_each(rows), strict=True):
            if isinstance(tile, SlideError):
                name = str(held_out.tiles["tile_id"].iloc[row])
                failures.append(SlideFailure(name, "interpret", str(tile)))
            else:
                pixels[row] = tile.pixels
    return pixels


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
        for i, class_map in enumerate(maps):
            name = f"{i:03d}-{class_map.kind}.png"
            both = np.concatenate([class_map.pixels, draw_class_map(class_map)], axis=1)
            Image.fromarray(both).save(temporary / name)
            if class_map.strength is not None:
                values[i] = class_map.strength
            rows.append(_describe(class_map, held_out, mark_px) | {"file": name})
        write_csv(temporary / "maps.csv", pd.DataFrame(rows))
        np.save(temporary / "maps.npy", values)


def _describe(
    class_map: ClassMap, held_out: HeldOutTiles, mark_px: int
) -> dict[str, Any]:
    names, tile = held_out.class_names, held_out.tiles.iloc[class_map.row]
    peak_x, peak_y = _find_peak(class_map, held_out)
    described = {
        **dict(tile[list(_TILE_COLUMNS)]),
        "kind": class_map.kind,
        "class_name": names[class_map.label],
        "called": names[held_out.called[class_map.row]],
        "confidence": round(float(held_out.confidence[class_map.row]), 6),
        "model": int(held_out.folds[class_map.row]),
        "map_of": names[class_map.asked],
        "layer": class_map.layer,
        "places_a_side": class_map.n_cells,
    }
    if held_out.probabilities is not None:
        columns, own = (
            held_out.card.target.columns,
            held_out.probabilities[class_map.row],
        )
        described |= {
            name: round(float(value), 6)
            for name, value in zip(columns, own, strict=True)
        }
    described |= {"peak_x_px0": peak_x, "peak_y_px0": peak_y}
    if mark_px:
        described["centre_share"] = class_map.find_centre_share(mark_px)
    if held_out.folder.has_patches:
        described |= dict(tile[["source", "source_index"]])
    return described


def _find_peak(
    class_map: ClassMap, held_out: HeldOutTiles
) -> tuple[int | None, int | None]:
    """Find where on the slide a map is highest, in level-0 pixels."""
    if class_map.strength is None or class_map.strength.max() <= 0:
        return None, None
    tile = held_out.tiles.iloc[[class_map.row]]
    left, top, size = find_boxes(tile, held_out.folder.info.context)[0][:3]
    height, width = class_map.strength.shape
    y, x = np.unravel_index(int(class_map.strength.argmax()), class_map.strength.shape)
    return int(left + (x + 0.5) * size / width), int(top + (y + 0.5) * size / height)
