"""How tiles and models are looked into, and how data sets come in."""

from dataclasses import dataclass
from typing import Literal, get_args

from eosin.core import ConfigError
from eosin.settings.setting import Settings, iter_misplaced, setting

CamMethod = Literal["gradcam", "gradcam++"]
Layout = Literal["kaggle", "pcam", "folder"]
MapMethod = Literal["tsne", "umap"]
CleaningRule = Literal[
    "blank", "unreadable", "conflicting", "duplicates", "black", "saturated", "blurred"
]
COPY_RULES = frozenset({"conflicting", "duplicates"})
"""Rules that need copies to be looked for."""

PCAM_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class OutlierLimits(Settings):
    """From where a tile is an outlier.

    Attributes:
        blank_share: Share of white pixels from which a tile is blank; one of a single
            colour is blank as well.
        black_share: Share of black pixels from which a tile is black.
        saturated_share: Share of pixels that are coloured and at the end of the scale
            in a channel, from which a tile is saturated.
        blur_ratio: A tile is blurred where its sharpness, and its sharpness for its
            contrast, are both below this share of the median of all tiles.
    """

    blank_share: float = setting(0.99, above=0, most=1)
    black_share: float = setting(0.95, above=0, most=1)
    saturated_share: float = setting(0.25, above=0, most=1)
    blur_ratio: float = setting(0.2, above=0, most=1)


@dataclass(frozen=True, kw_only=True)
class ExploreSettings(OutlierLimits):
    """What is looked at in tiles.

    Attributes:
        features: A folder of `eosin embed`, or a NumPy file of one row for each row of
            `tiles.parquet`, in which isolated tiles are looked for; `none` looks for
            none.
        sample: Tiles that are measured at most, drawn at random; 0 measures all. Copies
            are looked for among all tiles.
        shown: Tiles in a gallery at most.
        near_duplicates: Whether tiles that look alike are looked for, beside identical
            ones.
        mark_px: Side of the central square that is marked in galleries, in a tile's own
            pixels; 0 marks nothing, `none` marks 32 in PatchCamelyon's patches, whose
            label is that of their centre.
        seed: Decides who is in the sample and in the galleries.
    """

    features: str | None = None
    sample: int = setting(20_000, least=0)
    shown: int = setting(24, least=1)
    near_duplicates: bool = True
    mark_px: int | None = setting(None, least=0)
    seed: int = setting(0, least=0)


@dataclass(frozen=True, kw_only=True)
class CleanSettings(OutlierLimits):
    """Which tiles are dropped.

    Attributes:
        rules: `blank`, `black`, `saturated`, `blurred`; `unreadable`; `conflicting`:
            all tiles that have an identical copy with another label; `duplicates`: all
            copies of one label but the first, those of test before those of val and
            train.
        near: Whether tiles that look alike count as copies, beside identical ones.
        keep: CSV with a column `tile_id`, such as a part of an earlier `dropped.csv`:
            these tiles stay whatever the rules say.
        drop: CSV with a column `tile_id`, such as `label_errors.csv` of `eosin
            interpret`, looked through: these tiles are dropped beside what the rules
            name.
    """

    rules: tuple[str, ...] = setting(
        ("blank", "unreadable", "conflicting"),
        names=get_args(CleaningRule),
        is_set=True,
    )
    near: bool = False
    keep: str | None = None
    drop: str | None = None

    def check(self) -> None:
        """Stop where copies are widened that nothing looks for."""
        if self.near and not COPY_RULES & set(self.rules):
            raise ConfigError(
                "near is for the rules conflicting and duplicates, and neither is "
                f"named; got {', '.join(self.rules)}"
            )


@dataclass(frozen=True, kw_only=True)
class InterpretSettings(Settings):
    """How a model is looked into.

    Attributes:
        evaluation: A folder of `eosin evaluate`; `none` takes `evaluation` in the run
            folder.
        method: How maps are made.
        layer: Name of the layer that is mapped; `none` takes the last one that is fine
            enough to say where.
        shown: Tiles of a kind and class in a gallery at most.
        per_slide: Tiles of one slide in a gallery at most; 0 for any number.
        features: A folder of `eosin embed`, or a NumPy file of one row for each row of
            `tiles.parquet`; `none` takes the run's own encoder.
        clusters: Clusters of the feature space; `none` chooses by the silhouette.
        most_clusters: The largest number of clusters that is tried.
        map: How the feature space is laid out; `umap` needs the extra `umap`.
        sample: Held-out tiles in the feature space at most, drawn at random; 0 for all.
        mark_px: Side of the central square that is marked in galleries, in a tile's own
            pixels; 0 marks nothing, `none` marks 32 in PatchCamelyon's patches, whose
            label is that of their centre.
        seed: Seed of everything random.
    """

    evaluation: str | None = None
    method: CamMethod = "gradcam"
    layer: str | None = None
    shown: int = setting(12, least=1)
    per_slide: int = setting(3, least=0)
    features: str | None = None
    clusters: int | None = setting(None, least=1)
    most_clusters: int = setting(10, least=2)
    map: MapMethod = "tsne"
    sample: int = setting(5000, least=0)
    mark_px: int | None = setting(None, least=0)
    seed: int = setting(0, least=0)


@dataclass(frozen=True, kw_only=True)
class ImportSettings(Settings):
    """How patches become tiles.

    Attributes:
        layout: `kaggle` (files and a CSV of labels), `pcam` (HDF5 files) or `folder`
            (folders called like classes).
        mpp: Micrometres per pixel of the patches as they are stored; `none` takes what
            the layout's publication says (Kaggle and PCam: 0.97); for folders it is
            then unknown.
        tile_px: Side of the tiles as read; `none` is the commonest side. Patches of
            another size are resampled whenever they are read.
        slide_map: CSV with each patch's slide, `id,wsi` (Kaggle only).
        group_regex: Finds patient or slide in a file's path: groups `patient` and
            `slide`, or the first group (folders only).
        class_regex: Finds the class in a file's name, instead of in its folder's
            (folders only).
        class_depth: Which folder above an image, counted from below the root or the
            splits' folders, is its class: 1 is the first; `none` finds it (folders
            only).
        negative: The class of label 0 (folders only).
        given_splits: Whether splits that the data set comes with are kept.
        missing_split: Share of the training groups that goes to a split which the data
            set lacks while it has others.
        similarity: How alike two patches of unknown origin must be to be held for
            near-duplicates.
        features: NumPy file of an encoder's features, one row for each row of
            `tiles.parquet`; patches with alike features are held for near-duplicates as
            well.
        measures: Whether each patch's sharpness and colour are measured.
        allow_missing: Go on without labels' missing files, files' missing labels, empty
            classes and patches that cannot be read.
        seed: Decides who is in a split that was missing.
    """

    layout: Layout
    mpp: float | None = setting(None, above=0)
    tile_px: int | None = setting(None, least=1)
    slide_map: str | None = setting(None, only=("kaggle",))
    group_regex: str | None = setting(None, only=("folder",))
    class_regex: str | None = setting(None, only=("folder",))
    class_depth: int | None = setting(None, least=1, only=("folder",))
    negative: str | None = setting(None, only=("folder",))
    given_splits: Literal["keep", "ignore"] = "keep"
    missing_split: float = setting(0.2, above=0, below=0.5)
    similarity: float = setting(0.95, above=0, most=1)
    features: str | None = None
    measures: bool = True
    allow_missing: bool = False
    seed: int = setting(0, least=0)

    def check(self) -> None:
        """Stop where a setting is for another layout."""
        for name, rule in iter_misplaced(self, self.layout):
            raise ConfigError(
                f"{name} is for 'import {rule.only[0]}', not for 'import {self.layout}'"
            )


@dataclass(frozen=True, kw_only=True)
class FetchSettings(Settings):
    """What is downloaded.

    Attributes:
        data: The data set: `pcam` (PatchCamelyon, 7.5 GiB).
        splits: Its splits; all, where none is named.
        address: Where the files are, `{name}` for a file's name; `none` is the authors'
            own place.
    """

    data: Literal["pcam"] = "pcam"
    splits: tuple[str, ...] = setting(PCAM_SPLITS, names=PCAM_SPLITS)
    address: str | None = None

    def check(self) -> None:
        """Stop where an address does not say where the file's name goes."""
        if self.address is not None and "{name}" not in self.address:
            raise ConfigError(
                f"an address must hold {{name}} for the file's name, got {self.address}"
            )
