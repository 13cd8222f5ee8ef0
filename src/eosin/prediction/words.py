"""What a prediction says in words: how things are called, what attention means."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from eosin.runs.card import Card
from eosin.settings import PredictionSettings


def describe_calls(
    card: Card, settings: PredictionSettings, noun: str, called: pd.Series
) -> tuple[str, ...]:
    """Say when a `slide`, `bag` or `patch` is called what; how many of the latter are.

    `called` are their classes.
    """
    target, together = card.target, card.together
    threshold = together.tile_threshold if noun == "patch" else together.threshold
    if noun == "patch" and called.isna().all():
        return ("No patch was scored.",)
    if noun != "slide":
        counts = called.dropna().value_counts(sort=False)
        words = ", ".join(f"{n:,} {name}" for name, n in counts.items()) or "none"
        things = "Patches" if noun == "patch" else "Bags"
        rule = target.describe_call(threshold, noun=noun)
        return f"{things} called: {words}", rule
    if card.learner != "tiles":
        owner = "patient" if card.unit == "patient" else noun
        return (target.describe_call(threshold, noun=owner),)
    rule = target.describe_call(threshold, quantity="score")
    given, chosen = settings.threshold, together.tile_threshold
    outlined = chosen if given is None else given
    if outlined is None:
        return (rule,)
    return (f"{rule} Areas are outlined from a tile's probability of {outlined:.3f}.",)


def list_shown(card: Card, noun: str) -> tuple[str, ...]:
    """List the columns of a table that are worth showing; of bags none."""
    if noun == "bag":
        return ()
    if card.learner == "tiles":
        return ("slide_id", "score", "label", "tumour_mm2", "tiles", "seconds")
    return ("slide_id", "status", "label", *card.target.columns)


def describe_models(card: Card) -> tuple[str, str]:
    """Say which models a run of bags has: their methods, and how many there are."""
    counts = [(len(card.folds), "fold"), (len(card.models), "model")]
    words = ", ".join(f"{n} {word}{'s' * (n > 1)}" for n, word in counts)
    methods = dict.fromkeys(str(fold.aggregator) for fold in card.folds)
    return ", ".join(methods), words


def describe_scale(
    card: Card, noun: str, outline_from: float, cautions: Sequence[str]
) -> list[str]:
    """Say what numbers and colours of a page of attention mean, behind the cautions.

    The page is of a `slide` or of a `bag`; areas are outlined from `outline_from`, an
    attention over 1/n.
    """
    owner = "patient" if card.unit == "patient" else noun
    mean = " It is the mean over all models of all folds." if card.folds[1:] else ""
    scale = [
        *cautions,
        f"Attention sums to 1 over the tiles of a {owner}, so it is told as times 1/n: "
        f"with 1 a tile counts as much as if all n tiles were attended alike.{mean}",
    ]
    if noun == "bag":
        return [
            *scale,
            "Labels and witnesses are those of the bag table; what is found rests on "
            "neither.",
            "The maps beside this file show, slide by slide, the mean attention over "
            "the bags that hold a tile. Attention is weighed against the other tiles "
            "of a bag, so that tiles of different bags compare roughly.",
        ]
    teacher = "No outline by hand was ever seen."
    if card.bag_size is not None:
        teacher = (
            "It was told labels of bags alone; the bags were drawn by labels of tiles, "
            "as outlines give them."
        )
    return [
        *scale,
        "Colours show the rank among the tiles, 0 to 1: something is always the "
        "brightest, on a slide with nothing to be found too. Orange outlines hold "
        f"attention of {outline_from:g} times 1/n or more.",
        "Attention says which tiles the model weighed, not that they are "
        f"{card.class_names[1]}. {teacher}",
    ]


def describe_row(card: Card, row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what was found of one slide or bag, name and text."""
    facts = [("Called", str(row["label"]))]
    for positive in card.class_names[1:]:
        value = row[f"probability_{positive}"]
        facts.append((f"Probability of {positive}", f"{value:.3f}"))
    if "true_label" in row:
        drawn_as = f"{row['true_label']}, {row['witnesses']} witnesses"
        facts += [("Drawn as", drawn_as), ("Side", str(row["split"]))]
    if row.get("witness_auc") is not None:
        facts.append(("Attention tells witnesses, AUC", f"{row['witness_auc']:.2f}"))
    if row["seen_in_training"]:
        facts.append(("Seen in training", "yes; for held-out results see the report"))
    if len(card.folds) > 1:
        ends = f"{row['lowest_fold']:.3f} to {row['highest_fold']:.3f}"
        facts.append(("Between folds", ends))
    half = f"{row['tiles_with_half']:,} tiles"
    facts += [("Tiles", f"{row['tiles']:,}"), ("Half of the attention on", half)]
    return facts
