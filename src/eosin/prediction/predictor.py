"""Working on one item: scored, and the files of its slides or its bag written."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from eosin.prediction.drawn import find_witness_auc, tabulate_drawn
from eosin.prediction.items import Item
from eosin.prediction.maps import INSTANCES
from eosin.prediction.outputs import remove_outputs, write_outputs
from eosin.prediction.scorer import Scored, Scorer
from eosin.prediction.sources import OpenSource
from eosin.runs.card import Card


def predict_item(card: Card, scorer: Scorer, out: Path, item: Item) -> dict[str, Any]:
    """Score an item, and write its files to `out`; safe on many threads.

    Returns:
        `rows`, one for each slide or of the drawn bag, and of a bag `tiles`, the
        attention of each, by column.

    Raises:
        SlideError: A slide cannot be read, has no mpp, or is too coarse; or not one
            tile can be read.
        ManifestError: A feature file is damaged, or its tiles' size not known.
        ModelError: The features are not those that the models take.
        RunError: A file cannot be written.
    """
    started = time.monotonic()
    positive = card.class_names[1:]
    layers = (*positive, INSTANCES, *(f"{INSTANCES}.{name}" for name in positive))
    # What was found before a slide changed must not stay beside a failure.
    for source in item.sources:
        remove_outputs(out, source.name, layers)
    part: dict[str, Any] = {"rows": []}
    with ExitStack() as stack:
        opened = [stack.enter_context(source.open()) for source in item.sources]
        scored = scorer.score(item, opened)
        for source, tiles, said in zip(item.sources, opened, scored, strict=True):
            facts = _write(scorer, out, tiles, said)
            if tiles.is_drawn:
                drawn = tabulate_drawn(
                    source.name, said.mapped.tiles, said.attention, card.target.columns
                )
                facts["witness_auc"] = find_witness_auc(drawn)
                part["tiles"] = drawn.to_dict("list")
            part["rows"].append({**source.facts, **facts})
    part["rows"][0]["seconds"] = round(time.monotonic() - started, 2)
    return part


def _write(
    scorer: Scorer, out: Path, opened: OpenSource, scored: Scored
) -> dict[str, Any]:
    """Write the files of a slide or a bag; say what is missing and why."""
    row = {**opened.facts, **scored.facts}
    layers, damage = write_outputs(out, opened, scored.mapped)
    notes = []
    if damage:
        notes.append(f"no pictures: the slide cannot be read ({damage})")
    elif opened.problem and layers:
        notes.append(f"no pictures: {opened.problem}")
    elif opened.is_drawn or (opened.slide is not None and layers):
        row["gallery"] = list(scored.mapped.captions.values())
    if layers:
        row |= scorer.measure(layers)
        if opened.place is not None and opened.place.mpp is None:
            row["attended_mm2"] = None
            notes.append("no TIFF and no areas: the resolution is not known")
    return row | ({"note": "; ".join(notes)} if notes else {})
