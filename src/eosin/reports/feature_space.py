"""The section of a feature space: held-out tiles as an encoder sees them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from eosin.core import plural
from eosin.exploring.feature_space import FeatureSpace
from eosin.exploring.interpretation import Interpretation
from eosin.heatmaps import Gallery, GalleryMaker
from eosin.reports.page import (
    Bar,
    Cell,
    Figure,
    Section,
    Table,
    tabulate,
    tabulate_shares,
)
from eosin.reports.point_panels import draw_feature_map, draw_silhouettes
from eosin.reports.words import DASH, Nouns, count, format_percent

MAP_METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
_SMALL_PX = 84
_MONTAGE = 20


def show_space(found: Interpretation, galleries: GalleryMaker) -> Section:
    """Show the feature space: its map, its clusters, and what these follow."""
    title, space = "What its feature space looks like", found.space
    nouns = Nouns.of_tiles(found.held_out.folder)
    if space is None:
        words = f"There are too few held-out {plural(nouns.tile)} for clusters."
        return Section("space", title, (words,), link="Feature space")
    words = (
        f"{len(space.rows):,} held-out {plural(nouns.tile)}, {space.dimension:,} "
        f"features each ({space.source}), laid out by "
        f"{MAP_METHODS[found.settings.map]} and grouped by k-means."
    )
    agreement = tabulate_shares(
        ["Groups", "Agreement"],
        space.agreement,
        "What the clusters follow: adjusted mutual information, 0 as by chance, 1 "
        "the same grouping. Clusters that follow slides or scanners more than "
        "classes show what the encoder sees first.",
    )
    blocks = (
        words,
        _draw_map(found, space, nouns),
        *_show_montages(space, galleries, nouns),
        _list_clusters(space.clusters, nouns),
        agreement,
        _draw_choice(space),
    )
    return Section("space", title, blocks, link="Feature space")


def _draw_map(
    found: Interpretation, space: FeatureSpace, nouns: Nouns
) -> Figure | None:
    if not np.isfinite(space.places).any():
        return None
    tiles = space.list_tiles(found.held_out)
    names, labels = list(found.held_out.class_names), tiles["class_name"]
    factors = pd.DataFrame({"label": pd.Categorical(labels, names)})
    if found.held_out.probabilities is not None:
        factors["prediction"] = pd.Categorical(tiles["called"], names)
        is_right = labels == tiles["called"]
        verdicts = is_right.map({True: "right", False: "wrong"}).where(labels.notna())
        factors["verdict"] = pd.Categorical(verdicts, ["right", "wrong"])
    # Groups of look-alikes are too many and too small to be seen.
    if nouns.slide != "group":
        factors[nouns.slide] = tiles["slide_id"]
    return Figure(
        "feature-map",
        "Map of the feature space",
        f"Each dot is a {nouns.tile}; neighbours look alike to the encoder. "
        "Numbers are clusters. Distances between far groups mean nothing.",
        draw_feature_map(space.places, factors, tiles["cluster"].tolist()),
        tiles,
    )


def _show_montages(
    space: FeatureSpace, galleries: GalleryMaker, nouns: Nouns
) -> Iterator[Gallery]:
    """Show each cluster, from its middle to its edge."""
    clustering = space.clustering
    for row in space.clusters.to_dict("records"):
        number = row["cluster"]
        own = np.flatnonzero(clustering.numbers == number - 1)
        ranked = own[np.argsort(clustering.distances[own], kind="stable")]
        n = min(_MONTAGE, len(ranked))
        shown = ranked[np.unique(np.linspace(0, len(ranked) - 1, n).astype(int))]
        words = count(row["tiles"], nouns.tile)
        if not pd.isna(row["main_class"]):
            words += f", {format_percent(row['purity'])} {row['main_class']}"
        if not np.isnan(row["error_rate"]):
            words += f", {format_percent(row['error_rate'])} called wrong"
        text = f"{words}. {len(shown)} shown, from its middle to its edge."
        name, title = f"cluster-{number}", f"Cluster {number}"
        rows = [space.rows[shown]]
        yield galleries.make(name, title, text, rows, side_px=_SMALL_PX)


def _list_clusters(clusters: pd.DataFrame, nouns: Nouns) -> Table:
    heads = {
        "cluster": "Cluster",
        "main_class": "Commonest label",
        "tiles": plural(nouns.tile).capitalize(),
        "slides": plural(nouns.slide).capitalize(),
        "purity": "Purity",
        "wrong": "Called wrong",
        "error_rate": "Error rate",
        "bar": "As a bar",
        "largest_slide": f"In its largest {nouns.slide}",
    }
    wrong = zip(clusters["errors"], clusters["called"], strict=True)
    rates = clusters["error_rate"]
    shown = clusters.assign(
        cluster=clusters["cluster"].astype(str),
        purity=clusters["purity"].map(format_percent),
        wrong=[f"{n:,} of {called:,}" if called else DASH for n, called in wrong],
        error_rate=rates.map(lambda rate: Cell(format_percent(rate), "value")),
        bar=rates.fillna(0).map(lambda rate: Bar(fill=rate)),
        largest_slide=clusters["largest_slide"].map(format_percent),
    )
    caption = (
        f"Purity is the share of a cluster's labelled {plural(nouns.tile)} that bear "
        "its commonest label. The same numbers are in clusters.csv."
    )
    return tabulate(shown, heads, caption, n_words=2)


def _draw_choice(space: FeatureSpace) -> Figure | None:
    silhouettes, chosen = space.clustering.silhouettes, space.clustering.n_clusters
    if len(silhouettes) < 2:
        return None
    return Figure(
        "silhouettes",
        "How many clusters",
        "The mean silhouette: how well tiles fit their own cluster and no other; "
        f"{chosen} clusters were taken. Below about 0.25 there are no clear groups, "
        "and clusters only divide what is continuous.",
        draw_silhouettes(silhouettes, chosen),
        pd.DataFrame(silhouettes.items(), columns=["clusters", "silhouette"]),
    )
