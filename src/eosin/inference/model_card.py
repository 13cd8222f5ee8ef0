"""`card.json`: what must be known of a model to use it rightly."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eosin.core import ModelError, hash_file, hash_object, read_json, write_json

CARD_FORMAT = 1
CARD_FILE = "card.json"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A trained classifier's description.

    Attributes:
        class_names: Class of each label; label 0 is the negative class.
        encoder: The encoder's name in the registry.
        weights: Where its weights came from: `imagenet`, `none` or a file's name.
        encoder_licence: The licence of those weights, as far as known.
        mpp: Micrometres per pixel of the tiles it was trained on; None where these
            were patches of which nobody said it.
        tile_px: Side of those tiles in pixels.
        overlap_px: Pixels that neighbouring tiles shared.
        context: Side of what was shown for a tile over the tile's own.
        tissue: Name of the method that found tissue.
        min_tissue: Share of tissue that a tile needed, 0 to 1.
        models: ONNX files relative to the card; more than one is an ensemble
            whose probabilities are averaged.
        views: Dihedral views averaged for each tile: 1, 2, 4 or 8.
        temperature: Logits are divided by it before they become probabilities.
        tile_threshold: Probability of class 1 from which a tile counts as positive;
            None with more than two classes.
        slide_threshold: The same for a slide's and a patient's score.
        aggregation_share: Share of a slide's highest tile probabilities whose mean
            is the slide's score.
        threshold_rule: How both thresholds were chosen, on validation patients.
        fold_choices: Of a cross-validation, what each fold chose on its own
            validation patients: `temperature`, `tile_threshold`, `slide_threshold` and
            `aggregation_share`. The fold's held-out patients are scored by these, since
            they validate in other folds. Empty without folds.
        cautions: Why a choice made on validation deserves doubt.
        training_data: Hashes and counts of what it was trained on.
        is_made_data: Whether that data were made slides.
        recipe: The recipe that the training followed, and in which settings it did
            not; None for no recipe.
    """

    class_names: tuple[str, ...]
    encoder: str
    weights: str
    encoder_licence: str
    mpp: float | None
    tile_px: int
    overlap_px: int
    context: float
    tissue: str
    min_tissue: float
    models: tuple[str, ...]
    views: int
    temperature: float
    tile_threshold: float | None
    slide_threshold: float | None
    aggregation_share: float
    threshold_rule: str
    fold_choices: tuple[Mapping[str, Any], ...] = ()
    cautions: tuple[str, ...] = ()
    training_data: Mapping[str, Any] = field(default_factory=dict)
    is_made_data: bool = False
    recipe: str | None = None

    def require_mpp(self) -> float:
        """Return the mpp.

        Raises:
            ModelError: Nobody stated it.
        """
        if self.mpp is None:
            raise ModelError(
                "reading slides needs the model's resolution, and nobody stated that "
                "of the patches it was trained on; import them with --mpp and train "
                "again"
            )
        return self.mpp

    def write(self, folder: Path) -> None:
        """Write `card.json` to a run folder."""
        content = {"format": CARD_FORMAT, **dataclasses.asdict(self)}
        write_json(folder / CARD_FILE, content)


def read_card(folder: Path) -> ModelCard:
    """Read a run folder's card.

    Raises:
        ModelError: There is no card, it is of another version of eosin, or a
            model file that it names is missing.
    """
    path = Path(folder) / CARD_FILE
    if not path.exists():
        raise ModelError(
            f"{folder}: a folder that 'eosin train' has finished is needed, and it "
            f"has no {CARD_FILE}; run 'eosin train' again to finish it"
        )
    content = read_json(path)
    found = content.pop("format", None) if isinstance(content, dict) else None
    known = {f.name for f in dataclasses.fields(ModelCard)}
    # Cards from before there were recipes name none.
    if found != CARD_FORMAT or {"recipe", *content} != known:
        raise ModelError(
            f"{path}: was written by another version of eosin (card format {found}, "
            f"this version reads {CARD_FORMAT}); train again with this version"
        )
    for name in ("class_names", "models", "cautions", "fold_choices"):
        content[name] = tuple(content[name])
    card = ModelCard(**content)
    missing = [name for name in card.models if not (Path(folder) / name).exists()]
    if missing:
        raise ModelError(f"{folder}: the model file {', '.join(missing)} is missing")
    return card


def hash_models(run: Path, card: ModelCard) -> str:
    """Hash a run's models with its card, which holds thresholds, temperature and views.

    Raises:
        OSError: One of the files cannot be read.
    """
    files = (CARD_FILE, *card.models)
    return hash_object([hash_file(Path(run) / name) for name in files])
