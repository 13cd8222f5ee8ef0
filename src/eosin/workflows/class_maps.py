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
from eosin.evaluation import ExampleKind, choose_examples
from eosin.heatmaps import colourise, find_strength
from eosin.models import FeatureMap, Variant, find_map, grad_cam, load_classifier
from eosin.tiles import find_boxes
from eosin.workflows.held_out_tiles import EVERY_FOLD, HeldOutTiles
from eosin.workflows.interpretation import CamMethod, ClassMap

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


class ClassMapper:
    """Reads the tiles that say most about a model, and maps them.

    Args:
        held_out: The tiles, with predictions.
        method: How maps are made.
        layer: Whose output is mapped; None takes the default.
        failures: Tiles and models that had to be given up on are added to it.
    """

    def __init__(
        self,
        held_out: HeldOutTiles,
        method: CamMethod,
        layer: str | None,
        failures: list[SlideFailure],
    ) -> None:
        self._held_out = held_out
        self._variant, self._layer = VARIANTS[method], layer
        self._failures = failures

    def make(
        self, *, shown: int, per_slide: int, progress: Progress
    ) -> tuple[ClassMap, ...]:
        """Map the surest right, the surest wrong and the least sure of each class.

        Args:
            shown: Tiles of a kind and class at most.
            per_slide: Of one slide among them at most; 0 for any number.
            progress: Told of every model.
        """
        held_out = self._held_out
        chosen = choose_examples(
            held_out.labels,
            held_out.called,
            held_out.confidence,
            held_out.tiles["slide_id"].astype(str).to_numpy(object),
            n=shown,
            per_group=per_slide,
        )
        wishes = [
            _Wish(kind, row, label, asked)
            for (label, kind), rows in chosen.items()
            for row in rows.tolist()
            for asked in self._find_asked(kind, row, label)
        ]
        pixels = self._read(sorted({wish.row for wish in wishes}))
        wishes = [wish for wish in wishes if wish.row in pixels]
        values = self._map(wishes, pixels, progress)
        return tuple(
            ClassMap(
                wish.kind,
                wish.row,
                wish.label,
                wish.asked,
                pixels[wish.row],
                *values.get(i, (None, "", 0)),
            )
            for i, wish in enumerate(wishes)
        )

    def _find_asked(self, kind: ExampleKind, row: int, label: int) -> tuple[int, ...]:
        """Ask of each tile for its call, of a wrong one for its label as well."""
        called = int(self._held_out.called[row])
        return (called, label) if kind == "wrong" else (called,)

    def _read(self, rows: Sequence[int]) -> dict[int, npt.NDArray[np.uint8]]:
        found = {}
        with self._held_out.folder.open_reader(self._held_out.tiles) as reader:
            for row in rows:
                try:
                    found[row] = reader.read(np.array([row]))[0]
                except SlideError as error:
                    name = str(self._held_out.tiles["tile_id"].iloc[row])
                    self._failures.append(SlideFailure(name, "interpret", str(error)))
        return found

    def _map(
        self,
        wishes: Sequence[_Wish],
        pixels: Mapping[int, npt.NDArray[np.uint8]],
        progress: Progress,
    ) -> dict[int, tuple[npt.NDArray[np.float32], str, int]]:
        """Map tiles by the models that held them out, by their number."""
        sums: dict[int, list[npt.NDArray[np.float32]]] = {}
        seen_by: dict[int, tuple[str, int]] = {}
        jobs = list(self._iter_jobs(wishes))
        with progress.task("Asking models", len(jobs)) as task:
            for path, numbers in jobs:
                maps, seen = self._map_by(path, [wishes[i] for i in numbers], pixels)
                for i, values in zip(numbers, maps, strict=False):
                    sums.setdefault(i, []).append(values)
                    seen_by[i] = (seen.name, seen.n_cells) if seen else ("", 0)
                task.advance()
        return {
            i: (np.mean(parts, axis=0, dtype=np.float32), *seen_by[i])
            for i, parts in sums.items()
        }

    def _iter_jobs(self, wishes: Sequence[_Wish]) -> Iterator[tuple[Path, list[int]]]:
        """Yield each model with the numbers of the tiles that it may be asked about."""
        held_out = self._held_out
        for fold, name in enumerate(held_out.card.models):
            numbers = [
                i
                for i, wish in enumerate(wishes)
                if held_out.folds[wish.row] in (fold, EVERY_FOLD)
            ]
            if numbers:
                yield (held_out.run / name).with_suffix(".keras"), numbers

    def _map_by(
        self,
        path: Path,
        wishes: Sequence[_Wish],
        pixels: Mapping[int, npt.NDArray[np.uint8]],
    ) -> tuple[Sequence[npt.NDArray[np.float32]], FeatureMap | None]:
        """Map tiles by one model; none where it cannot be read."""
        tiles = np.stack([pixels[wish.row] for wish in wishes]).astype(np.float32)
        asked = np.array([wish.asked for wish in wishes])
        try:
            model = load_classifier(path)
        except ModelError as error:
            name = str(path.relative_to(self._held_out.run))
            self._failures.append(SlideFailure(name, "interpret", str(error)))
            return (), None
        maps = grad_cam(model, tiles, asked, self._variant, layer=self._layer, batch=8)
        seen = find_map(model, self._layer)
        return list(maps), seen


def draw_class_map(found: ClassMap) -> npt.NDArray[np.uint8]:
    """Draw a map over its tile, `(height, width, 3)`; the tile alone without a map."""
    if found.strength is None:
        return found.pixels
    strength = find_strength(found.strength)[..., None]
    mixed = found.pixels * (1 - strength) + colourise(found.strength) * strength
    return np.asarray(np.rint(mixed), np.uint8)


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
    described = {
        "tile_id": tile["tile_id"],
        "slide_id": tile["slide_id"],
        "patient_id": tile["patient_id"],
        "x_px0": tile["x_px0"],
        "y_px0": tile["y_px0"],
        "size_px0": tile["size_px0"],
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
