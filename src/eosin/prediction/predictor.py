"""Working on one slide, or on a patient's: scored, and its files written."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from eosin.prediction.items import Item
from eosin.prediction.maps import INSTANCES
from eosin.prediction.outputs import remove_outputs, write_outputs
from eosin.prediction.scorer import Scored, Scorer
from eosin.prediction.sources import OpenSource, Source
from eosin.runs.card import Card


class Predictor:
    """Scores items and writes the files of their slides; safe on many threads.

    Args:
        card: Of the models.
        scorer: The models.
        out: The folder to write to.
    """

    task = "Scoring slides"

    def __init__(self, card: Card, scorer: Scorer, out: Path) -> None:
        self._scorer, self._out = scorer, out
        positive = card.class_names[1:]
        own = (INSTANCES, *(f"{INSTANCES}.{name}" for name in positive))
        self._layers = (*positive, *own)

    def predict(self, item: Item) -> dict[str, Any]:
        """Score an item, and write the maps of its slides.

        Returns:
            `rows`, one for each slide.

        Raises:
            SlideError: A slide cannot be read, has no mpp, or is too coarse.
            ManifestError: A feature file is damaged, or its tiles' size not known.
            ModelError: The features are not those that the models take.
            RunError: A file cannot be written.
        """
        started = time.monotonic()
        # What was found before a slide changed must not stay beside a failure.
        for source in item.sources:
            remove_outputs(self._out, source.name, self._layers)
        with ExitStack() as stack:
            opened = [stack.enter_context(source.open()) for source in item.sources]
            scored = self._scorer.score(item, opened)
            parts = zip(item.sources, opened, scored, strict=True)
            rows = [self._write(*part) for part in parts]
        rows[0]["seconds"] = round(time.monotonic() - started, 2)
        return {"rows": rows}

    def _write(
        self, source: Source, opened: OpenSource, scored: Scored
    ) -> dict[str, Any]:
        """Write the files of a slide; say what is missing and why."""
        row = {**source.facts, **opened.facts, **scored.facts}
        place, slide, mapped = opened.place, opened.slide, scored.mapped
        if place is None:
            return row
        layers, damage = write_outputs(self._out, source.name, slide, place, mapped)
        if not layers:
            return row
        row |= self._scorer.measure(layers)
        notes = []
        if damage:
            notes.append(f"no pictures: the slide cannot be read ({damage})")
        elif opened.problem:
            notes.append(f"no pictures: {opened.problem}")
        elif slide is not None:
            row["gallery"] = list(mapped.captions.values())
        if place.mpp is None:
            row["attended_mm2"] = None
            notes.append("no TIFF and no areas: the resolution is not known")
        return row | ({"note": "; ".join(notes)} if notes else {})
