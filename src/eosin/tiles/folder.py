"""The folder that `eosin tile` wrote, as later steps read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import (
    ConfigError,
    ManifestError,
    hash_file,
    hash_object,
    read_csv,
    read_record,
)
from eosin.slides import is_at_hand, list_packed, name_packed, read_origin
from eosin.tiles.manifest import ManifestInfo, read_manifest
from eosin.tiles.reading import TileReader

# Where `tile --pack` keeps the native tiles.
PACK_NAME = "pack.arrow"
# The note of `tile`, which `clean` hands on.
CLASS_SPELLING = "class_spelling"


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

    def hash_labels(self, *more: str) -> str:
        """Hash labels, patients, splits and further columns of the slide table."""
        columns = ["slide_id", "patient_id", "label", "split", *more]
        known = self.slides.reindex(columns=columns).astype("object")
        return hash_object(known.where(known.notna(), None).to_dict("records"))

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
    def has_patches(self) -> bool:
        """Whether the tiles are patches by themselves, with no slide to be opened."""
        return "source" in self.tiles

    @property
    def studied_tiles(self) -> pd.DataFrame:
        """The tiles that models are chosen and measured on.

        All tiles of slides, since a slide's score is that of its unlabelled tiles as
        well; of patches those with a label, since the others are there to be predicted.
        """
        if not self.has_patches:
            return self.tiles
        return self.tiles[self.tiles["label"].notna()]

    @property
    def knows_patients(self) -> bool:
        """Whether a slide's patient is more than the slide's own id."""
        patients = self.slides["patient_id"].astype(str)
        return bool((patients != self.slides["slide_id"].astype(str)).any())

    @property
    def inputs(self) -> dict[str, str]:
        """Hash of its two tables, by their names."""
        slides = hash_file(self.path / "slides.csv")
        return {"tiles.parquet": self.sha256, "slides.csv": slides}

    def group_tiles(self, tiles: pd.DataFrame) -> dict[str, pd.Series]:
        """Find by what tiles may be alike: scanner, site and slide, where known."""
        slides = self.slides.drop_duplicates("slide_id").set_index("slide_id")
        groups = {
            name: tiles["slide_id"].map(slides[name]).astype(object)
            for name in ("scanner", "site")
            if name in slides
        }
        # Groups of look-alikes are too many and too small.
        if self.info.grouping != "estimated":
            groups["slide"] = tiles["slide_id"].astype(object)
        return groups

    def require_other(self, out: Path) -> None:
        """Refuse to write into the folder that is read.

        Raises:
            ConfigError: They are the same.
        """
        if out.resolve() == self.path.resolve():
            raise ConfigError(
                f"{out}: is the tile folder itself, which stays as it is; name another "
                "folder to write to"
            )

    def open_reader(self, tiles: pd.DataFrame | None = None) -> TileReader:
        """Open a reader of some of the tiles, by default of all."""
        return TileReader(
            self.tiles if tiles is None else tiles,
            self.slides,
            self.info.tile_px,
            context=self.info.context,
        )


def open_tile_folder(path: Path, *, use_pack: bool = True) -> TileFolder:
    """Read a folder of `eosin tile` or `eosin import`.

    Args:
        path: The folder.
        use_pack: Whether slides are read from the folder's pack, where it has one
            that was made for its tile table.

    Raises:
        ManifestError: The folder is not one, is unfinished, or a slide has moved.
    """
    path = Path(path)
    manifest, slides_path = path / "tiles.parquet", path / "slides.csv"
    if not manifest.exists() or not slides_path.exists():
        raise ManifestError(
            f"{path}: a folder that 'eosin tile' or 'eosin import' has finished is "
            "needed, with tiles.parquet and slides.csv in it; tile slides, or import "
            "patches, first"
        )
    tiles, info = read_manifest(manifest)
    text_columns = {"slide_id": str, "patient_id": str, "label": str}
    slides = read_csv(
        slides_path, dtype=text_columns, keep_default_na=False, na_values=[""]
    )
    sha256 = hash_file(manifest)
    if use_pack:
        slides["path"] = _find_packed(path / PACK_NAME, sha256, slides)
    paths = slides["path"].unique()
    missing = [p for p in paths if not is_at_hand(p)]
    if missing:
        raise ManifestError(
            f"{path}: {len(missing)} slide(s) are no longer where they were tiled, "
            f"such as {missing[0]}; tile again, or put them back"
        )
    return TileFolder(path, tiles, info, slides, sha256)


def _find_packed(pack: Path, sha256: str, slides: pd.DataFrame) -> pd.Series:
    """Point at the pack for each slide that is in it."""
    if not pack.exists() or read_origin(pack) != sha256:
        return slides["path"]
    packed = set(list_packed(pack))
    return pd.Series(
        [
            name_packed(pack.resolve(), slide_id) if slide_id in packed else path
            for slide_id, path in zip(slides["slide_id"], slides["path"], strict=True)
        ],
        index=slides.index,
    )


def read_class_spelling(path: Path) -> dict[str, str]:
    """Read how a folder's annotations spell its classes, where it is otherwise."""
    spelling = read_record(path).get("notes", {}).get(CLASS_SPELLING, {})
    is_sound = isinstance(spelling, dict)
    return {str(name): str(text) for name, text in spelling.items()} if is_sound else {}


def read_tile_settings(path: Path) -> Mapping[str, Any]:
    """Read the settings that a folder's tiles were cut with."""
    return dict(read_record(path).get("settings", {}))
