"""`card.json`: what must be known of trained models to use them rightly."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from eosin.core import (
    AGGREGATOR_SUFFIX,
    PROJECTION_SUFFIX,
    ModelError,
    raising,
    read_json,
    read_record,
    write_json,
)
from eosin.core.plain import from_plain, to_plain
from eosin.evaluation import Classes, Thresholds, Unit
from eosin.settings import TileSpec, TissueName
from eosin.tiles import TileFolder

CARD_FILE = "card.json"
# Fields that cards of older versions lack.
_LATER = {"class_spelling"}
# Of a run's files; those of another one would be read wrongly.
_FORMAT = 3
# Slides are rarely scanned at exactly the resolution that their makers name.
MPP_TOLERANCE = 0.1

Learner = Literal["tiles", "bags", "pixels"]


@dataclass(frozen=True, kw_only=True)
class Sees:
    """What models are shown: tiles of some kind, or an encoder's features of them.

    Attributes:
        encoder: The encoder's name; None for features that do not say it.
        weights: Where its weights came from: `imagenet`, `none`, or a file's name.
        licence: Of those weights, as far as known.
        encoder_sha256: Hash of what the encoder computes; None where it is not known.
        dimension: Features of a tile; None for models from pixels.
        mpp: Micrometres per pixel of the tiles; None where nobody stated it.
        tile_px: Side of the tiles in pixels; None where nobody stated it.
        overlap_px: Pixels that neighbours share.
        context: Side of what is shown for a tile over the tile's own.
        tissue: The method that finds tissue.
        min_tissue: Share of tissue that a tile needs.
        views: Turns and flips of each tile whose features are averaged.
        patch_level: Level of the slide that tiles were read from, where files say that
            instead of an mpp, as CLAM's do.
    """

    encoder: str | None = None
    weights: str = ""
    licence: str = ""
    encoder_sha256: str | None = None
    dimension: int | None = None
    mpp: float | None = None
    tile_px: int | None = None
    overlap_px: int = 0
    context: float = 1.0
    tissue: TissueName = "saturation"
    min_tissue: float = 0.25
    views: int = 1
    patch_level: int | None = None

    @property
    def spec(self) -> TileSpec:
        """How a slide is cut into such tiles; a ModelError where nobody stated it."""
        if self.mpp is None or self.tile_px is None:
            missing = "resolution" if self.mpp is None else "side"
            raise ModelError(
                f"reading slides needs the {missing} of the tiles that the model was "
                "trained on, and nobody stated it; import patches with --mpp, or tile "
                "slides, and train again"
            )
        return TileSpec(self.mpp, self.tile_px, self.overlap_px, self.context)

    def find_differences(self, other: "Sees") -> list[str]:
        """Say what is otherwise with others, as far as both say it, a text each."""
        problems = []
        if self.tile_px and other.tile_px and self.tile_px != other.tile_px:
            problems.append(f"tile_px {self.tile_px}, these have {other.tile_px}")
        if self.context != other.context:
            problems.append(f"context {self.context:g}, these have {other.context:g}")
        if self.mpp and other.mpp and abs(other.mpp / self.mpp - 1) > MPP_TOLERANCE:
            problems.append(f"mpp {self.mpp:g}, these have {other.mpp:g}")
        hashes = self.encoder_sha256, other.encoder_sha256
        if all(hashes):
            is_other = hashes[0] != hashes[1]
        else:
            names = _find_plain(self.encoder), _find_plain(other.encoder)
            is_other = all(names) and names[0] != names[1]
        if is_other and self.encoder != other.encoder:
            problems.append(f"features of {self.encoder}, these are of {other.encoder}")
        elif is_other:
            problems.append(f"features of {self.encoder} with other weights")
        return problems

    def describe(self) -> str:
        """Say in a few words what is shown to the encoder, and which it is."""
        known = {
            "encoder": self.encoder or "",
            "weights": (self.encoder_sha256 or "")[:8],
            "mpp": f"{self.mpp:g}" if self.mpp else "",
            "tile_px": self.tile_px or "",
            "context": f"{self.context:g}" if self.context != 1 else "",
        }
        said = [f"{name} {value}" for name, value in known.items() if value]
        return ", ".join(said) or "nothing said of them"


def _find_plain(encoder: str | None) -> str:
    """Write an encoder's name as no tool writes it: uni_v1 and UNI are one."""
    return re.sub(r"[^a-z0-9]|v1$", "", (encoder or "").lower())


@dataclass(frozen=True, kw_only=True)
class FoldCard:
    """The models of one fold, and what was chosen on its validation patients.

    Attributes:
        models: Files of tile classifiers (`model.onnx`), stems of bag models
            (`fold_0/model_0`, for `.projection.onnx` and `.aggregator.onnx`), relative
            to the card; several are averaged.
        temperature: Logits are divided by it before they become probabilities.
        threshold: Probability of class 1 from which a slide, a patient or a bag is
            called so; None with more than two classes.
        tile_threshold: The same of tiles, for tile classifiers.
        share: Share of a slide's highest tile probabilities whose mean is its score,
            for tile classifiers.
        aggregator: The method of a bag model.
        settings: Settings that the fold chose by itself.
        clinical: How each column of the slide table becomes numbers, as
            `ClinicalEncoding.to_config` gives it; None without columns.
        cautions: Why a choice deserves doubt, as sentences.
    """

    models: tuple[str, ...] = ()
    temperature: float = 1.0
    threshold: float | None = None
    tile_threshold: float | None = None
    share: float | None = None
    aggregator: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    clinical: tuple[Mapping[str, Any], ...] | None = None
    cautions: tuple[str, ...] = ()

    @property
    def thresholds(self) -> Thresholds:
        """Of tiles, and of slides, patients or bags."""
        return Thresholds(self.tile_threshold, self.threshold)


@dataclass(frozen=True, kw_only=True)
class Card:
    """A trained model of any kind.

    Attributes:
        learner: What was trained: a classifier of tiles, a model of bags of features,
            or one of bags of pixels.
        unit: What a label belonged to.
        class_names: Class of each label; label 0 is the negative class.
        sees: What the models are shown.
        folds: Each fold's models and choices; its held-out patients are scored by
            these, since they validate in other folds.
        together: What all folds choose together, for new slides. Its `models` are
            empty: they are those of all folds.
        threshold_rule: How thresholds were chosen, on validation patients.
        views: Turns and flips over which a tile classifier averages.
        columns: Columns of the slide table that bag models take beside the features.
        bag_size: Tiles of each drawn bag; None where bags were not drawn.
        witnesses: Witnesses of positive drawn bags.
        training_data: Hashes and counts of what was trained on.
        cautions: What must be known before believing a number, as sentences.
        is_made_data: Whether the slides were made.
        recipe: The recipe that the training followed, and in which settings it did
            not; None for no recipe.
        class_spelling: Of classes that the training's annotations spell otherwise, how
            they do most often.
    """

    learner: Learner
    unit: Unit
    class_names: tuple[str, ...]
    sees: Sees
    folds: tuple[FoldCard, ...]
    together: FoldCard
    threshold_rule: str
    views: int = 1
    columns: tuple[str, ...] = ()
    bag_size: int | None = None
    witnesses: tuple[int, ...] = ()
    training_data: Mapping[str, Any] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()
    is_made_data: bool = False
    recipe: str | None = None
    class_spelling: Mapping[str, str] = field(default_factory=dict)

    @property
    def target(self) -> Classes:
        """What the models predict."""
        return Classes(self.class_names)

    @property
    def models(self) -> tuple[str, ...]:
        """The models of all folds."""
        return tuple(name for fold in self.folds for name in fold.models)

    @property
    def takes_pixels(self) -> bool:
        """Whether models take tiles, and not features."""
        return self.learner != "bags"

    @property
    def bag_unit(self) -> Literal["slide", "patient"]:
        """What is a bag of whole slides; models of drawn bags take those too."""
        return "patient" if self.unit == "patient" else "slide"

    def find_scored_unit(self, *, is_external: bool) -> Unit:
        """Find what is scored: of another cohort whole slides, whatever was drawn."""
        return self.bag_unit if is_external and self.unit == "bag" else self.unit

    @property
    def is_cross_validated(self) -> bool:
        """Whether each patient is held out by one of several folds."""
        return len(self.folds) > 1

    def caution_made(self, scored: TileFolder | None = None) -> tuple[str, ...]:
        """Say that the training's slides were made, or those that are scored, if so."""
        if not (self.is_made_data or (scored is not None and scored.is_made)):
            return ()
        told = (
            "The models learnt from slides that"
            if self.is_made_data
            else "These slides"
        )
        return (
            f"{told} were made by a computer. The numbers show that the software "
            "works; they say nothing about its accuracy on real tissue.",
        )

    def list_model_files(self) -> tuple[str, ...]:
        """List the files that predictions need, relative to the card."""
        if self.learner == "tiles":
            return self.models
        suffixes = (PROJECTION_SUFFIX, AGGREGATOR_SUFFIX)
        return tuple(f"{stem}{end}" for stem in self.models for end in suffixes)

    def write(self, folder: Path) -> None:
        """Write `card.json` to a run folder."""
        content = {"format": _FORMAT, **to_plain(self)}
        # As before there were such, where there are none.
        later = {name for name in _LATER if not content[name]}
        content = {k: value for k, value in content.items() if k not in later}
        write_json(folder / CARD_FILE, content)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a run folder's card; a ModelError where it has none of this version."""
        path = Path(folder) / CARD_FILE
        if not path.exists():
            raise ModelError(_say_what_lacks(Path(folder)))
        content = read_json(path)
        found = content.pop("format", None)
        known = {f.name for f in dataclasses.fields(cls)}
        if found != _FORMAT or not known - _LATER <= set(content) <= known:
            raise ModelError(
                f"{path}: was written by another version of eosin (card format "
                f"{found}, this version reads {_FORMAT}); train again with this version"
            )
        with raising(ModelError, f"{path}: is damaged", remedy="train again"):
            card: Self = from_plain(content, cls)
            for name in card.list_model_files():
                if Path(name).is_absolute() or ".." in Path(name).parts:
                    raise ModelError(
                        f"{path}: names a model outside of its folder, {name}; models "
                        "are read from the run alone"
                    )
            card._check(path)
            return card

    def _check(self, path: Path) -> None:
        """Stop where a number would turn or spoil every call."""
        sees, choices = self.sees, (*self.folds, self.together)
        above_0: dict[str, Sequence[float | None]] = {
            "temperature": [own.temperature for own in choices],
            "share": [own.share for own in choices],
            "mpp": [sees.mpp],
            "context": [sees.context],
            "tile_px": [sees.tile_px],
            "dimension": [sees.dimension],
            "views": [sees.views, self.views],
        }
        for name, values in above_0.items():
            for value in values:
                if value is not None and value <= 0:
                    raise ModelError(
                        f"{path}: {name} must be above 0, got {value:g}; it was "
                        "changed or is damaged: train again"
                    )
        if len(set(self.class_names)) != len(self.class_names):
            raise ModelError(
                f"{path}: each class needs a name of its own, got "
                f"{', '.join(self.class_names)}; train again"
            )


def _say_what_lacks(folder: Path) -> str:
    """Say why a folder has no card: its training goes on, or it is none."""
    command = read_record(folder).get("command")
    if command == "train":
        return (
            f"{folder}: its training is unfinished, as it has no {CARD_FILE}; run the "
            "same 'eosin train' again to finish it"
        )
    what = "is a file" if folder.is_file() else "does not exist"
    if folder.is_dir():
        what = f"was written by 'eosin {command}'" if command else f"has no {CARD_FILE}"
    return (
        f"{folder}: a run folder is needed, as 'eosin train' writes it, and this "
        f"{what}; name the run folder first, what is scored behind it"
    )
