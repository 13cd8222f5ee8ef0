"""What an interpretation found, as a page: its numbers and words."""

import shlex
from collections.abc import Mapping

import numpy as np
import pandas as pd

from eosin.core import Progress
from eosin.evaluation import MapMethod
from eosin.reports import FeatureSpaceData, InterpretationData
from eosin.workflows.interpretation import FeatureSpace, Interpretation
from eosin.workflows.interpretation_galleries import (
    InterpretationGalleries,
    format_percent,
)

_METHODS = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++"}
_MAP_METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
_GROUP_NAMES = {"class": "classes", "slide": "slides"}
# Clusters of fewer scored tiles have an error rate by chance.
_FEW = 20
# A map of fewer places a side says little of where.
_COARSE = 5
_SUSPECTS = "label_errors.csv"


def build_page(
    found: Interpretation,
    *,
    map_method: MapMethod,
    versions: Mapping[str, str],
    out: str,
    progress: Progress,
) -> InterpretationData:
    """Gather what the page shows; the tiles of clusters are read once more.

    Args:
        found: What was found.
        map_method: How the map of the feature space was made.
        versions: Version by package.
        out: The folder that is written to, for the commands to go on with.
        progress: Told how far it is.
    """
    held_out = found.held_out
    with (
        held_out.folder.open_reader(held_out.tiles) as reader,
        progress.task("Reading galleries", None),
    ):
        galleries = InterpretationGalleries(found, reader)
        maps = list(galleries.make_maps())
        space = _describe_space(found, galleries, map_method)
        suspect_gallery = galleries.make_suspects()
    return InterpretationData(
        title=f"Interpretation of {held_out.run.resolve().name}",
        facts=_say_facts(found),
        headline=_say_headline(found),
        key_numbers=_find_key_numbers(found),
        cautions=found.cautions,
        map_text=_say_maps(found),
        maps=maps,
        space=space,
        suspect_text=_say_suspects(found),
        suspect_counts=_count_suspects(found),
        suspects=found.list_suspects(),
        suspect_gallery=suspect_gallery,
        next_steps=_find_next_steps(found, out),
        method=_describe_method(found, map_method),
        versions=versions,
    )


def list_space_tiles(found: Interpretation, space: FeatureSpace) -> pd.DataFrame:
    """List the tiles of the feature space with their cluster and place on the map.

    Returns:
        `tile_id, slide_id, patient_id, class_name, called, confidence, cluster,
        distance, map_x, map_y`.
    """
    held_out = found.held_out
    columns = ["tile_id", "slide_id", "patient_id"]
    table = pd.concat([held_out.tiles[columns], held_out.names], axis=1)
    table = table.iloc[space.rows].reset_index(drop=True)
    return table.assign(
        confidence=held_out.confidence[space.rows].round(6),
        cluster=space.clustering.numbers + 1,
        distance=space.clustering.distances.round(6),
        map_x=space.places[:, 0].round(4),
        map_y=space.places[:, 1].round(4),
    )


def _describe_space(
    found: Interpretation, galleries: InterpretationGalleries, method: MapMethod
) -> FeatureSpaceData | None:
    space, held_out = found.space, found.held_out
    if space is None:
        return None
    tiles = list_space_tiles(found, space)
    names = list(held_out.class_names)
    factors = {"label": pd.Categorical(tiles["class_name"], names)}
    if held_out.probabilities is not None:
        factors["prediction"] = pd.Categorical(tiles["called"], names)
        is_known = tiles["class_name"].notna()
        is_right = tiles["class_name"] == tiles["called"]
        verdicts = np.where(is_right, "right", "wrong").astype(object)
        verdicts[~is_known] = None
        factors["verdict"] = pd.Categorical(verdicts, ["right", "wrong"])
    table = pd.DataFrame(factors)
    # Groups of look-alikes are too many and too small to be seen.
    if held_out.folder.info.grouping != "estimated":
        table["slide"] = tiles["slide_id"]
    return FeatureSpaceData(
        source=(
            f"{len(tiles):,} held-out {_plural(found)}, {space.dimension:,} features "
            f"each ({space.source}), laid out by {_MAP_METHODS[method]} and grouped "
            "by k-means."
        ),
        places=space.places,
        tiles=tiles,
        factors=table,
        numbers=space.clustering.numbers + 1,
        silhouettes=space.clustering.silhouettes,
        clusters=space.clusters,
        agreement=[
            (_GROUP_NAMES.get(name, f"{name}s").capitalize(), value)
            for name, value in space.agreement.items()
            if value is not None
        ],
        montages=list(galleries.make_montages(space)),
    )


def _plural(found: Interpretation) -> str:
    return "patches" if found.noun == "patch" else "tiles"


def _say_facts(found: Interpretation) -> str:
    card = found.held_out.card
    parts = [
        card.encoder,
        " / ".join(card.class_names),
        f"{card.tile_px} px",
        "mpp unknown" if card.mpp is None else f"{card.mpp:.4g} mpp",
    ]
    return " \N{MIDDLE DOT} ".join(parts)


def _say_headline(found: Interpretation) -> list[str]:
    held_out = found.held_out
    kind = "of another cohort" if held_out.is_external else "that training held out"
    where = f"{len(held_out.rows):,} {_plural(found)} {kind}"
    if held_out.probabilities is None or not len(found.labelled):
        said = [f"{where.capitalize()}, without predictions and labels to compare."]
    else:
        labels = held_out.labels[found.labelled]
        is_wrong = held_out.called[found.labelled] != labels
        parts = [
            f"{int(is_wrong[labels == label].sum()):,} of "
            f"{int((labels == label).sum()):,} {name}"
            for label, name in enumerate(held_out.class_names)
        ]
        said = [
            f"Of {where}, the model called {format_percent(float(is_wrong.mean()))} "
            f"wrong: {', '.join(parts)}."
        ]
    return [*said, *_say_clusters(found), *_say_errors(found)]


def _say_clusters(found: Interpretation) -> list[str]:
    if found.space is None:
        return []
    table = found.space.clusters
    enough = table[table["called"] >= _FEW]
    said = []
    if len(enough) > 1:
        worst = enough.iloc[int(enough["error_rate"].argmax())]
        if worst["error_rate"] > 0:
            said.append(
                f"It errs most in cluster {worst['cluster']} "
                f"({format_percent(worst['error_rate'])} of {worst['called']:,}, "
                f"mostly {worst['main_class']}), least where it errs "
                f"{format_percent(enough['error_rate'].min())} of the time."
            )
    agreement = {k: v for k, v in found.space.agreement.items() if v is not None}
    others = {k: v for k, v in agreement.items() if k != "class"}
    if others and "class" in agreement:
        name, value = max(others.items(), key=lambda item: item[1])
        relation = "more" if value > agreement["class"] else "less"
        said.append(
            f"Clusters follow {_GROUP_NAMES.get(name, f'{name}s')} {relation} than "
            f"classes ({value:.2f} against {agreement['class']:.2f})."
        )
    return said


def _say_errors(found: Interpretation) -> list[str]:
    if found.errors is None:
        return []
    n = len(found.errors.rows)
    if not n:
        return ["No label is suspected to be wrong."]
    said = "label is suspected" if n == 1 else "labels are suspected"
    return [f"{n:,} {said} to be wrong; only looking tells the model's error from it."]


def _find_key_numbers(found: Interpretation) -> list[tuple[str, str, str]]:
    held_out, numbers = found.held_out, []
    if held_out.probabilities is not None and len(found.labelled):
        is_wrong = held_out.called != held_out.labels
        n = int(is_wrong[found.labelled].sum())
        numbers.append(("Called wrong", f"{n:,}", f"of {len(found.labelled):,}"))
    if found.space is not None:
        k = found.space.clustering.n_clusters
        best = found.space.clustering.silhouettes.get(k)
        note = "" if best is None else f"silhouette {best:.2f}"
        numbers.append(("Clusters", f"{k}", note))
    if found.errors is not None:
        share = format_percent(found.errors.error_share)
        n = len(found.errors.rows)
        numbers.append(("Suspected labels", f"{n:,}", f"{share} estimated"))
    return numbers


def _say_maps(found: Interpretation) -> str:
    if not found.maps:
        return "There are no predictions, so no tile is surer than another."
    said = (
        f"{_METHODS[found.method]}: yellow speaks most for the class, by the model "
        "that did not train on the tile. A map is scaled to its own highest place, so "
        "compare places within a map, not maps; it shows where, not what, and a place "
        "that does not shine was not ignored for certain."
    )
    if coarse := sorted({m.n_cells for m in found.maps if 0 < m.n_cells < _COARSE}):
        said += (
            f" These maps have only {coarse[0]} places a side and say little of where; "
            "larger tiles have finer ones."
        )
    if found.mark_px:
        shares = {
            kind: [
                share
                for m in found.maps
                if m.kind == kind
                and (share := m.find_centre_share(found.mark_px)) is not None
            ]
            for kind in ("right", "wrong")
        }
        area = (found.mark_px / found.held_out.card.tile_px) ** 2
        parts = [
            f"{format_percent(float(np.mean(values)))} in those called {kind}"
            for kind, values in shares.items()
            if values
        ]
        said += (
            f" The label is that of the central {found.mark_px} px (framed), "
            f"{format_percent(area)} of the area; of the maps' sum it holds "
            f"{' and '.join(parts)}."
        )
    return said


def _say_suspects(found: Interpretation) -> str:
    if found.errors is None:
        return "Without held-out predictions no label can be doubted."
    n = len(found.errors.rows)
    return (
        f"{n:,} of {len(found.labelled):,} labels: the model is as sure of another "
        "class as it usually is of tiles of that class. A model that is often wrong "
        "suspects many right labels, so look at each; the estimated share counts the "
        "model's errors as the labels', so it is mostly too high."
    )


def _count_suspects(found: Interpretation) -> pd.DataFrame:
    if found.errors is None:
        return pd.DataFrame()
    names = list(found.held_out.class_names)
    return pd.DataFrame(found.errors.counts, index=names, columns=names)


def _find_next_steps(found: Interpretation, out: str) -> list[tuple[str, str]]:
    path = shlex.quote(str(found.held_out.folder.path))
    steps = []
    if found.errors is not None and len(found.errors.rows):
        steps.append(
            (
                f"eosin clean {path} -o cleaned/ --drop {shlex.quote(out)}/{_SUSPECTS}",
                "drops the tiles that the list names: first take out of it those whose "
                "label is right. Dropping what the model gets wrong, unseen, makes any "
                "model look better than it is",
            )
        )
    run = shlex.quote(str(found.held_out.run))
    if found.held_out.probabilities is None:
        steps.append((f"eosin evaluate {run}", "makes the held-out predictions"))
    if found.method == "gradcam":
        again = f"eosin interpret {run} -o {shlex.quote(out)}-2 --method gradcam++"
        steps.append((again, "shows several small findings alike"))
    return steps


def _describe_method(found: Interpretation, method: MapMethod) -> dict[str, str]:
    held_out = found.held_out
    layers = sorted({m.layer for m in found.maps if m.layer})
    model = (
        "the mean over all models, none of which saw these tiles"
        if held_out.is_external
        else "the model that held the tile out"
    )
    described = {
        "Run": str(held_out.run.resolve()),
        "Tiles": str(held_out.folder.path.resolve()),
        "Maps": f"{_METHODS[found.method]} (Selvaraju 2017, Chattopadhay 2018) of the "
        f"class's logit by {model}; layer {'; '.join(layers) or 'none'}",
        "Confidence": "the way from the threshold to the probability, as a share of "
        "the way to certainty; with more than two classes the highest probability "
        "less the second",
        "Clusters": "k-means on the first 50 principal components; their number by the "
        "highest mean silhouette where it is not given",
        "Map of the feature space": f"{_MAP_METHODS[method]} of these components",
        "Suspected label errors": "confident learning (Northcutt 2021): tiles off the "
        "diagonal of the confident joint, by probability of the other class less that "
        "of the label",
    }
    if found.space is not None and found.space.is_sample:
        described["Sample"] = (
            f"{len(found.space.rows):,} of {len(held_out.rows):,} held-out tiles are "
            "in the feature space, drawn at random"
        )
    return described
