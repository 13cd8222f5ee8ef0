"""How a model and its calls came about, as rows of names and texts."""

from collections.abc import Mapping
from typing import Any

from eosin.core import plural
from eosin.evaluation import ThresholdChoice, ValidationChoices
from eosin.reports.facts import EvaluationFacts
from eosin.reports.words import Nouns, count, format_number
from eosin.runs.card import Card
from eosin.runs.origin import find_depth
from eosin.settings import say_order

_TRAINED = {
    "none": "head only",
    "last": "head and last block",
    "all": "all layers",
    "progressive": "head, then block by block",
}


def describe_model(facts: EvaluationFacts) -> dict[str, str]:
    """Say how a model came about."""
    card, settings = facts.run.card, facts.run.record["settings"]
    sees = card.sees
    names = (sees.encoder or "not stated by the features", sees.weights)
    tiles = ""
    if sees.tile_px:
        mpp = sees.mpp and f"{sees.mpp:g} micrometres per pixel"
        tiles = f"{sees.tile_px:g} px at {mpp or 'a resolution that nobody stated'}"
    rows = {} if card.unit == "tile" else _describe_bags(card, settings)
    rows |= {
        "Encoder": ", weights ".join(filter(None, names)),
        "Trained": _TRAINED[find_depth(settings)] if card.learner == "tiles" else "",
        plural(facts.nouns.tile).capitalize(): tiles,
        "Split": _describe_split(card, facts.nouns, is_external=facts.is_external),
        "Weights' licence": sees.licence,
    }
    return {name: text for name, text in rows.items() if text}


def _describe_bags(card: Card, settings: Mapping[str, Any]) -> dict[str, str]:
    witnesses = ", ".join(map(str, card.witnesses)) or "unknown numbers of"
    bag = {
        "slide": "a slide",
        "patient": "a patient, all slides joined",
        "bag": f"{card.bag_size or 'some'} drawn tiles; positive ones hold {witnesses} "
        "witnesses",
    }[card.unit]
    how = "no outline was used"
    if card.unit == "bag":
        # Bags are drawn by the labels of tiles.
        how = "their features were given"
    if card.learner == "pixels":
        how = "encoder and aggregator together"
    if card.columns:
        how += f"; with the columns {', '.join(card.columns)}"
    rate = settings.get("learning_rate")
    return {
        "Aggregator": ", ".join(dict.fromkeys(str(f.aggregator) for f in card.folds)),
        "A bag is": bag,
        "Learnt from": f"labels of {card.unit}s alone; {how}",
        "Training": f"at most {settings.get('epochs')} epochs, "
        f"{f'learning rate {rate:g}, ' if rate else ''}{settings.get('batch')} bags a "
        "step; the curves are the mean over the models that were still learning",
    }


def _describe_split(card: Card, nouns: Nouns, *, is_external: bool) -> str:
    if not card.is_cross_validated:
        return f"by {nouns.patient}, one split"
    who = "the mean of all folds' probabilities"
    if not is_external:
        who = f"each {nouns.patient} is scored by the fold that never saw it"
    models = count(len(card.models), "model")
    by = "patient, before bags were drawn" if card.unit == "bag" else nouns.patient
    return f"by {by}, {len(card.folds)} folds, {models}; {who}"


def describe_choices(facts: EvaluationFacts) -> list[tuple[str, str]]:
    """Say what was chosen on validation, and for whom it holds."""
    card, validation, nouns = facts.run.card, facts.validation, facts.nouns
    chosen: dict[str, ThresholdChoice | None] = {"slide": None}
    if validation is not None:
        chosen = {"tile": validation.tile, "slide": validation.slide}
    rows = {"Classes": say_order(card.class_names)}
    rows |= _describe_scores(validation, nouns)
    folds = card.folds if card.is_cross_validated and not facts.is_external else ()
    temperature = f"{card.together.temperature:.3f}, of all folds together"
    if folds:
        temperature = _list_by_fold([fold.temperature for fold in folds], temperature)
    rows["Temperature"] = temperature
    names = {"tile": "tile_threshold", "slide": "threshold"}
    for unit, choice in chosen.items():
        threshold = getattr(card.together, names[unit])
        if threshold is None:
            continue
        how = _describe_threshold(choice, card.threshold_rule, nouns.of(unit))
        text = f"probability {threshold:.3f}, {how}"
        if folds:
            own = [getattr(fold, names[unit]) for fold in folds]
            text = _list_by_fold(own, f"{text}, which figures show")
        rows[f"A {nouns.of(unit)} is called {card.class_names[1]} from"] = text
    if len(card.class_names) > 2:
        rows["Call"] = "the class with the highest probability"
    return list(rows.items())


def _describe_scores(
    validation: ValidationChoices | None, nouns: Nouns
) -> dict[str, str]:
    how = "the model's own probability; nothing is averaged"
    if validation is not None:
        chosen = validation.aggregation
        why = "set, because validation could not choose"
        if chosen.auc_by_share:
            best = chosen.auc_by_share[chosen.aggregation.share]
            n_slides = count(chosen.n_slides, f"validation {nouns.slide}")
            why = f"chosen among {len(chosen.auc_by_share)} shares on {n_slides} "
            why += f"(AUC {best:.2f})"
        how = chosen.aggregation.describe(tile=nouns.tile, slide=nouns.slide)
        how = f"{how}; {why}"
    of_patient = f"that of the {nouns.slide} in which most was found"
    own = {f"Score of a {nouns.slide}": how}
    return {**own, f"Score of a {nouns.patient}": of_patient, **own}


def _describe_threshold(choice: ThresholdChoice | None, rule: str, noun: str) -> str:
    if choice is None:
        return f"chosen by the rule {rule} on validation of all folds"
    if choice.rule == "fixed":
        return "set because validation holds one class only"
    words = f"by the rule {choice.rule}"
    if choice.rule == "youden":
        words = "where sensitivity + specificity is highest (Youden)"
    return (
        f"chosen on {count(choice.n, f'validation {noun}')} {words}: there "
        f"sensitivity {format_number(choice.sensitivity)}, specificity "
        f"{format_number(choice.specificity)}"
    )


def _list_by_fold(values: list[float], together: str) -> str:
    """Say what folds chose for those that they held out, and all of them for others."""
    own = ", ".join(f"{value:.3f}" for value in values)
    return (
        f"by fold {own}, each chosen on the fold's own validation and applied to what "
        f"it held out; for new slides {together}"
    )
