"""The folder that `eosin tile` wrote, as later steps read it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from eosin.core import (
    ConfigError,
    ManifestError,
    SlideError,
    hash_file,
    hash_object,
    raising,
    read_record,
)
from eosin.slides import (
    is_at_hand,
    name_packed,
    read_descriptions,
    read_origin,
    require_unchanged,
)
from eosin.tiles.manifest import ManifestInfo, read_manifest
from eosin.tiles.reading import TileReader

# Where `tile --pack` keeps the native tiles.
PACK_NAME = "pack.arrow"
# Of the slide table: what the slide was when it was tiled.
FINGERPRINT = "slide_fingerprint"
_TEXT = dict.fromkeys(("slide_id", "patient_id", "label", "path", FINGERPRINT), str)
_NEEDED = ("slide_id", "patient_id", "label", "path", "mpp_used")
_SHOWN = 3


@dataclass(frozen=True)
class TileFolder:
    """A tile table with the slides that its tiles lie on.

    Attributes:
        path: The folder.
        tiles: The manifest, one row per tile.
        info: Its resolution, tile size and classes.
        slides: One row per slide, as in `slides.csv`.
        sha256: Hash of the manifest.

    Before pixels are read, a slide is held against what it was when it was tiled.
    """

    path: Path
    tiles: pd.DataFrame
    info: ManifestInfo
    slides: pd.DataFrame
    sha256: str
    _replaced: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

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

    def find_replaced(self, slide_ids: Iterable[object]) -> dict[str, str]:
        """Say which slides are no longer those that were tiled, and why.

        Each slide is looked at once.
        """
        wanted = dict.fromkeys(map(str, slide_ids))
        if FINGERPRINT in self.slides and not wanted.keys() <= self._replaced.keys():
            columns = self.slides[["slide_id", "path", FINGERPRINT]]
            for slide_id, path, fingerprint in columns.itertuples(index=False):
                if slide_id in wanted and slide_id not in self._replaced:
                    self._replaced[slide_id] = ""
                    try:
                        require_unchanged(path, fingerprint)
                    except SlideError as error:
                        self._replaced[slide_id] = str(error)
        found = {name: self._replaced.get(name, "") for name in wanted}
        return {name: reason for name, reason in found.items() if reason}

    def require_unchanged(self, slide_ids: Iterable[object]) -> None:
        """Stop by a `SlideError` where one of these slides is not what was tiled."""
        if replaced := self.find_replaced(slide_ids):
            shown = [f"slide {name}: {why}" for name, why in replaced.items()]
            more = len(shown) - _SHOWN
            rest = [f"and {more} more"] if more > 0 else []
            raise SlideError("\n".join([*shown[:_SHOWN], *rest]))

    def open_reader(self, tiles: pd.DataFrame | None = None) -> TileReader:
        """Open a reader of some of the tiles, by default of all.

        Raises:
            SlideError: One of their slides is not what it was when it was tiled.
        """
        tiles = self.tiles if tiles is None else tiles
        self.require_unchanged(tiles["slide_id"].unique())
        return TileReader(
            tiles,
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
    slides = read_slides(path)
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


def read_slides(folder: Path) -> pd.DataFrame:
    """Read the slide table of a tile folder; a ManifestError where it is damaged."""
    path = Path(folder) / "slides.csv"
    remedy = "tile the slides again, or import the patches"
    with raising(ManifestError, f"{path}: cannot be read as a table", remedy=remedy):
        slides = pd.read_csv(path, dtype=_TEXT, keep_default_na=False, na_values=[""])
        missing = [name for name in _NEEDED if name not in slides]
        if missing or slides["path"].isna().any():
            raise ManifestError(
                f"{path}: must have {', '.join(missing) or 'a path for each slide'}; "
                f"it has the columns {', '.join(map(str, slides))}; {remedy}"
            )
        known = slides.get(FINGERPRINT, pd.Series("", slides.index)).fillna("")
        return slides.astype({"mpp_used": float}).assign(**{FINGERPRINT: known})


def _find_packed(pack: Path, sha256: str, slides: pd.DataFrame) -> pd.Series:
    """Point at the pack for each slide that is in it."""
    if not pack.exists() or read_origin(pack) != sha256:
        return slides["path"]
    # Slides that were tiled again since then are read from their own files.
    packed = {
        slide_id: said.get(FINGERPRINT)
        for slide_id, said in read_descriptions(pack).items()
    }
    columns = slides[["slide_id", "path", FINGERPRINT]]
    return pd.Series(
        [
            name_packed(pack.resolve(), slide_id)
            if slide_id in packed and packed[slide_id] in (None, fingerprint)
            else path
            for slide_id, path, fingerprint in columns.itertuples(index=False)
        ],
        index=slides.index,
    )


def read_tile_settings(path: Path) -> Mapping[str, Any]:
    """Read the settings that a folder's tiles were cut with."""
    return dict(read_record(Path(path))["settings"])
