"""Maps of what a trained model looks at, on the tiles that say most about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Wish:
    """A tile that is to be shown, and the class that its map is to be of."""

    kind: ExampleKind
    row: int
    label: int
    asked: int


def map_classes(
    held_out: HeldOutTiles,
    settings: InterpretSettings,
    failures: list[SlideFailure],
    progress: Progress,
) -> tuple[ClassMap, ...]:
    """Map the surest right, the surest wrong and the least sure tiles of each class.

    Each tile is mapped for its call, a wrong one for its label as well, by the models
    that did not train on it.

    Args:
        held_out: The tiles; without predictions there is no map.
        settings: How maps are made, and how many tiles are shown.
        failures: Tiles and models that had to be given up on are added to it.
        progress: Told of every model.

    Raises:
        ModelError: A model has no such layer.
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
    wishes = []
    for (label, kind), own in chosen.items():
        for row in (row for row in own.tolist() if row in pixels):
            called = int(held_out.called[row])
            asked = (called, label) if kind == "wrong" else (called,)
            wishes += [_Wish(kind, row, label, one) for one in asked]
    sums: dict[int, list[npt.NDArray[np.float32]]] = {}
    seen: dict[int, tuple[str, int]] = {}
    jobs = list(_iter_jobs(held_out, wishes))
    with progress.task("Asking models", len(jobs)) as task:
        for path, numbers in jobs:
            tiles = np.stack([pixels[wishes[i].row] for i in numbers])
            asked_classes = np.array([wishes[i].asked for i in numbers])
            try:
                model = load_classifier(path)
            except ModelError as error:
                name = str(path.relative_to(held_out.run))
                failures.append(SlideFailure(name, "interpret", str(error)))
            else:
                maps = grad_cam(
                    model,
                    tiles.astype(np.float32),
                    asked_classes,
                    VARIANTS[settings.method],
                    layer=settings.layer,
                    batch=8,
                )
                layer = find_map(model, settings.layer)
                for i, values in zip(numbers, maps, strict=True):
                    sums.setdefault(i, []).append(values)
                    seen[i] = layer.name, layer.n_cells
            task.advance()
    return tuple(
        ClassMap(
            wish.kind,
            wish.row,
            wish.label,
            wish.asked,
            pixels[wish.row],
            np.mean(sums[i], axis=0, dtype=np.float32) if i in sums else None,
            *seen.get(i, ("", 0)),
        )
        for i, wish in enumerate(wishes)
    )


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
    held_out: HeldOutTiles, wishes: Sequence[_Wish]
) -> Iterator[tuple[Path, list[int]]]:
    """Yield each model with the numbers of the tiles that it may be asked about."""
    for fold, name in enumerate(held_out.card.models):
        numbers = [
            i
            for i, wish in enumerate(wishes)
            if held_out.folds[wish.row] in (fold, EVERY_FOLD)
        ]
        if numbers:
            yield (held_out.run / name).with_suffix(".keras"), numbers


def write_class_maps(
    maps: Sequence[ClassMap], held_out: HeldOutTiles, out: Path, *, mark_px: int = 0
) -> None:
    """Write `maps.csv`, `maps.npy` and each map over its tile as PNG.

    A row of `maps.csv` stands for a map: the tile, its slide and place, its label and
    call, the class asked for, where on the slide the map is highest, and the file. The
    rows of `maps.npy` (`(maps, height, width)`, float16, 0 to 1) are in that order;
    those without a map are NaN.

    Args:
        maps: What to write.
        held_out: The tiles.
        out: The folder to write to.
        mark_px: Side of the central square whose share is told; 0 for none.

    Raises:
        RunError: A file cannot be written.
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
    probabilities = held_out.probabilities
    described = {name: tile[name] for name in _TILE_COLUMNS}
    described |= {
        "kind": found.kind,
        "class_name": names[found.label],
        "called": names[held_out.called[found.row]],
        "confidence": round(float(held_out.confidence[found.row]), 6),
        "model": int(held_out.folds[found.row]),
        "map_of": names[found.asked],
        "layer": found.layer,
        "places_a_side": found.n_cells,
    }
    if probabilities is not None:
        described |= {
            f"probability_{name}": round(float(value), 6)
            for name, value in zip(names, probabilities[found.row], strict=True)
        }
    described["peak_x_px0"], described["peak_y_px0"] = _find_peak(found, held_out)
    if mark_px:
        described["centre_share"] = found.find_centre_share(mark_px)
    if held_out.folder.has_patches:
        described |= {k: tile[k] for k in ("source", "source_index")}
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
