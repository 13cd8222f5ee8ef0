"""The folder that `eosin tile` wrote, as later steps read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import ManifestError, hash_file, read_json
from eosin.tiles import ManifestInfo, TileReader, read_manifest


@dataclass(frozen=True)
class TileFolder:
    """A tile table with the slides that its tiles lie on.

    Attributes:
        path: The folder.
        tiles: The manifest, one row per tile.
        info: Its resolution, tile size and classes.
        slides: One row per slide, as in `slides.csv`.
        sha256: Hash of the manifest.
    """

    path: Path
    tiles: pd.DataFrame
    info: ManifestInfo
    slides: pd.DataFrame
    sha256: str

    @property
    def slide_labels(self) -> Mapping[str, int | None] | None:
        """Label of each slide; None where no slide was given any."""
        number = {name: i for i, name in enumerate(self.info.class_names)}
        labels = {
            str(slide_id): number.get(str(label))
            for slide_id, label in zip(
                self.slides["slide_id"], self.slides["label"], strict=True
            )
        }
        return None if all(label is None for label in labels.values()) else labels

    @property
    def is_made(self) -> bool:
        """Whether the slides were drawn by `slides.phantom`."""
        return "made" in self.slides and bool(self.slides["made"].notna().any())

    @property
    def licence(self) -> str | None:
        """What the slide table's columns `licence` and `source` say, if anything."""
        found: list[str] = []
        for column in ("licence", "license", "source"):
            if column in self.slides:
                found += sorted(set(self.slides[column].dropna().astype(str)))
        return "; ".join(found) or None

    @property
    def knows_patients(self) -> bool:
        """Whether a slide's patient is more than the slide's own id."""
        patients = self.slides["patient_id"].astype(str)
        return bool((patients != self.slides["slide_id"].astype(str)).any())

    def open_reader(self, tiles: pd.DataFrame | None = None) -> TileReader:
        """Open a reader of some of the tiles, by default of all."""
        return TileReader(
            self.tiles if tiles is None else tiles, self.slides, self.info.tile_px
        )


def open_tile_folder(path: Path) -> TileFolder:
    """Read a folder of `eosin tile`.

    Raises:
        ManifestError: The folder is not one, is unfinished, or a slide has moved.
    """
    path = Path(path)
    manifest, slides_path = path / "tiles.parquet", path / "slides.csv"
    if not manifest.exists() or not slides_path.exists():
        raise ManifestError(
            f"{path}: a folder that 'eosin tile' has finished is needed, with "
            "tiles.parquet and slides.csv in it"
        )
    tiles, info = read_manifest(manifest)
    text_columns = {"slide_id": str, "patient_id": str, "label": str}
    slides = pd.read_csv(slides_path, dtype=text_columns)
    missing = [p for p in slides["path"] if not Path(p).exists()]
    if missing:
        raise ManifestError(
            f"{path}: {len(missing)} slide(s) are no longer where they were tiled, "
            f"such as {missing[0]}; tile again, or put them back"
        )
    return TileFolder(path, tiles, info, slides, hash_file(manifest))


def read_tile_settings(path: Path) -> Mapping[str, Any]:
    """Read the settings that a folder's tiles were cut with."""
    record = Path(path) / "run.json"
    return dict(read_json(record)["settings"]) if record.exists() else {}
