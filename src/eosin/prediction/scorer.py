"""From tiles to calls and values: the models of a run, of whatever kind."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eosin.bags import Bag, BagScores, FeatureArray, JoinedFeatures
from eosin.core import SlideError, hash_object, to_file_name
from eosin.evaluation import SlideAggregation, compute_probabilities
from eosin.inference import (
    ReadTiles,
    Session,
    TileScores,
    encode_tiles,
    open_session,
    score_bag,
    score_tiles,
)
from eosin.prediction.items import Item
from eosin.prediction.maps import (
    Attention,
    Call,
    LaidLayer,
    TileValues,
    layer_attention,
    layer_classes,
)
from eosin.prediction.sources import OpenSource, Rows
from eosin.runs.card import Card
from eosin.runs.run import Run
from eosin.settings import PredictionSettings

STATE = "state"
"""Where features of slides in work lie, in the folder of the prediction."""

_NO_TISSUE = "no tissue was found on it"


class Scorer(Protocol):
    """The models of a run; safe on many threads."""

    def score(self, item: Item, sources: Sequence[OpenSource]) -> list[TileValues]:
        """Call an item; one result for each of its sources.

        Raises:
            SlideError: Not one tile can be read.
            ManifestError: Features are not finite, or a bag is too large.
            ModelError: The features are of another kind, or a model fails.
        """

    def measure(self, layers: Sequence[LaidLayer]) -> dict[str, Any]:
        """Measure what was outlined, of one layer or more, as columns of a row."""


def open_scorer(run: Run, settings: PredictionSettings, out: Path) -> Scorer:
    """Open the models of a run, for a prediction that is written to `out`."""
    if run.card.learner == "tiles":
        return TileScorer(run, settings)
    return BagScorer(run, settings, out)


class TileScorer:
    """A tile classifier, or the mean of several."""

    def __init__(self, run: Run, settings: PredictionSettings) -> None:
        self._card, self._settings = run.card, settings
        self._sessions = [
            open_session(run.path / name, device=settings.device)
            for name in run.card.models
        ]

    def score_tiles(self, read: ReadTiles, n_tiles: int) -> TileScores:
        """Score tiles by themselves; see `eosin.inference.score_tiles`."""
        return score_tiles(
            read,
            n_tiles,
            self._sessions,
            views=self._settings.views or self._card.views,
            temperature=self._card.together.temperature,
            batch=self._settings.batch,
        )

    def score(self, item: Item, sources: Sequence[OpenSource]) -> list[TileValues]:
        """Call slides by the most suspicious of their tiles."""
        del item
        return [self._score_slide(source) for source in sources]

    def _score_slide(self, source: OpenSource) -> TileValues:
        settings, target = self._settings, self._card.target
        together, n_tiles = self._card.together, len(source.tiles)
        if not n_tiles or source.read is None:
            return _find_nothing(source, tumour_mm2=0.0)
        scores = self.score_tiles(source.read, n_tiles)
        probabilities = scores.probabilities
        known = probabilities[np.isfinite(probabilities).all(axis=1)]
        slide = SlideAggregation(share=together.share or 1.0).score_slide(known)
        call = _call(self._card, slide)
        facts: dict[str, Any] = {
            "status": "done",
            "tiles": n_tiles,
            "damaged_tiles": scores.n_unreadable,
            "score": call.scores[call.positive],
            "label": call.label,
        }
        if not target.is_binary:
            facts |= dict(zip(target.columns, slide.tolist(), strict=True))
        given = settings.threshold
        layers = layer_classes(
            probabilities,
            call,
            threshold=together.tile_threshold if given is None else given,
            min_area_mm2=settings.min_area_mm2,
            has_objects=settings.tile_objects,
        )
        return TileValues(source.tiles, layers, facts=facts)

    def measure(self, layers: Sequence[LaidLayer]) -> dict[str, Any]:
        """Measure the area of all positive classes, and with several that of each."""
        facts: dict[str, Any] = {
            "tumour_mm2": round(sum(laid.area_mm2 for laid in layers), 4),
            "regions": sum(len(laid.regions) for laid in layers),
        }
        for laid in layers if len(layers) > 1 else ():
            facts[f"area_{laid.layer.class_name}_mm2"] = round(laid.area_mm2, 4)
        return facts


class TilePixels:
    """Tiles as the instances of a bag, read when they are used.

    Stands for an array of shape `(tiles, px * px * 3)`, uint8.

    Args:
        read: From rows to `(rows, px, px, 3)`.
        rows: Of the bag's tiles, in its order.
        tile_px: Side of a tile as read.
    """

    def __init__(self, read: ReadTiles, rows: Rows, tile_px: int) -> None:
        self._read, self._rows = read, rows
        self.shape: tuple[int, ...] = (len(rows), 3 * tile_px**2)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, rows: Any) -> npt.NDArray[np.uint8]:
        """Read some rows: a slice, or numbers in any order."""
        wanted = self._rows[rows]
        return self._read(wanted).reshape(len(wanted), -1)


class BagScorer:
    """Bag models, with an encoder where they take features of tiles.

    Features of a slide in work are kept in `out`.
    """

    def __init__(self, run: Run, settings: PredictionSettings, out: Path) -> None:
        self._run, self._settings, self._out = run, settings, out
        self._heads = run.open_heads(settings.device)
        n_folds = len(run.card.folds)
        self._source = "by 1 fold" if n_folds == 1 else f"mean of {n_folds} folds"
        self._encoder: Session | None = None
        if run.card.learner == "bags" and run.encoder is not None:
            self._encoder = open_session(run.encoder, device=settings.device)

    def score(self, item: Item, sources: Sequence[OpenSource]) -> list[TileValues]:
        """Call a bag of all tiles that can be read.

        Tiles go through the encoder some at a time, so that memory does not grow with
        the slide but for a short vector of each tile.
        """
        rows = [np.arange(len(source.tiles)) for source in sources]
        if not any(map(len, rows)):
            return [_find_nothing(source, note=_NO_TISSUE) for source in sources]
        try:
            return self._score(item, sources, rows)
        except SlideError:
            good = [source.find_readable() for source in sources]
            if sum(map(len, good)) in (0, sum(map(len, rows))):
                raise
        return self._score(item, sources, good)

    def measure(self, layers: Sequence[LaidLayer]) -> dict[str, Any]:
        """Measure what is attended to, and what tiles say by themselves."""
        attended, *instances = layers
        facts: dict[str, Any] = {
            "attended_mm2": round(attended.area_mm2, 4),
            "attended_regions": len(attended.regions),
        }
        if instances:
            facts["instances_mm2"] = round(sum(laid.area_mm2 for laid in instances), 4)
        return facts

    def _score(
        self, item: Item, sources: Sequence[OpenSource], rows: Sequence[Rows]
    ) -> list[TileValues]:
        """Score the bag of some rows of each source."""
        card, run, state = self._run.card, self._run, self._out / STATE
        states = [state / to_file_name(source.name) for source in sources]
        parts = [
            self._find_instances(source, good, folder, item.key)
            for source, good, folder in zip(sources, rows, states, strict=True)
            if len(good)
        ]
        features = parts[0] if len(parts) == 1 else JoinedFeatures(parts)
        bag = Bag(bag_id=item.item_id, features=features, clinical=item.clinical)
        scores = score_bag(self._heads, bag)
        for folder in states:
            shutil.rmtree(folder, ignore_errors=True)
        attention, by_fold = _average(scores), run.pool_folds(scores)
        mean = by_fold.mean(axis=0)
        call = _call(card, mean)
        shown = by_fold[:, int(card.target.find_shown(mean[None])[0])]
        facts = {
            "status": "done",
            "label": call.label,
            **dict(zip(card.target.columns, mean.tolist(), strict=True)),
            # How far the folds are apart: a call near the threshold, or by one fold.
            "lowest_fold": float(shown.min()),
            "highest_fold": float(shown.max()),
        }
        scored, start = [], 0
        for source, good in zip(sources, rows, strict=True):
            part = attention.take(slice(start, start + len(good)))
            scored.append(self._describe(source, good, facts, call, part))
            start += len(good)
        return scored

    def _find_instances(
        self, source: OpenSource, rows: Rows, state: Path, key: str
    ) -> FeatureArray:
        """Give features as they are, those of the encoder, or pixels."""
        read, sees = source.read, self._run.card.sees
        if source.features is not None:
            return source.features
        if read is None:
            raise SlideError(f"{source.name}: has neither features nor pixels")
        if self._encoder is None:
            return TilePixels(read, rows, sees.spec.tile_px)
        views = encode_tiles(
            lambda numbers: read(rows[numbers]),
            len(rows),
            self._encoder,
            state,
            key=hash_object([key, rows.tolist()]),
            views=sees.views,
            batch=self._settings.batch,
        )["features"]
        features: FeatureArray = views[0] if len(views) == 1 else views.mean(axis=0)
        return features

    def _describe(
        self,
        source: OpenSource,
        rows: Rows,
        facts: dict[str, Any],
        call: Call,
        attention: Attention,
    ) -> TileValues:
        """Say what was found on one of a bag's slides."""
        if not len(rows):
            return _find_nothing(source, note=_NO_TISSUE)
        settings, names = self._settings, self._run.card.class_names
        facts = {**facts, **attention.measure(), "tiles": len(rows)}
        if source.features is None:
            facts["damaged_tiles"] = len(source.tiles) - len(rows)
        layers = []
        if source.place is not None:
            score = f"{call.positive} {call.scores[call.positive]:.3f}"
            layer = layer_attention(
                attention,
                names,
                outline_from=settings.outline_from,
                n_objects=settings.attended_tiles,
                source=self._source,
                subtitle=f"called {call.label}; {score}",
            )
            layers.append(layer)
            if attention.instances is not None and source.place.mpp is not None:
                layers += layer_classes(
                    attention.instances,
                    call,
                    threshold=settings.instance_threshold if len(names) == 2 else None,
                    source=self._source,
                )
        tiles = source.tiles.iloc[rows]
        captions: dict[int, str] = {}
        for row in attention.list_most(settings.gallery_tiles):
            is_witness = source.is_drawn and bool(tiles["is_witness"].iloc[row])
            captions[row] = f"{attention.times[row]:.2g}" + " (witness)" * is_witness
        return TileValues(tiles, layers, captions, facts, attention)


def _call(card: Card, probabilities: npt.NDArray[np.float64]) -> Call:
    label = int(card.target.call(probabilities[None], card.together.threshold)[0])
    scores = dict(zip(card.class_names, probabilities.tolist(), strict=True))
    return Call(card.class_names[label], scores)


def _find_nothing(source: OpenSource, **facts: Any) -> TileValues:
    row = {"status": "no tissue", "tiles": 0, "damaged_tiles": 0, **facts}
    return TileValues(source.tiles, facts=row)


def _average(scores: Sequence[BagScores]) -> Attention:
    """Average the attention of all models, which then sums to 1 over the bag."""
    attention = np.array([p.attention for p in scores], np.float64).mean(axis=0)
    logits = [p.instance_logits for p in scores if p.instance_logits is not None]
    instances = None
    # Folds may have chosen different methods, of which one scores no instances.
    if len(logits) == len(scores):
        instances = np.mean([compute_probabilities(each) for each in logits], axis=0)
    return Attention.rank_tiles(attention * len(attention), instances)
