"""The section of a feature space: held-out tiles as an encoder sees them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from eosin.exploring.feature_space import FeatureSpace
from eosin.exploring.interpretation import Interpretation
from eosin.heatmaps import Gallery, GalleryMaker
from eosin.reports.page import Bar, Cell, Figure, Section, Table, tabulate_shares
from eosin.reports.point_panels import draw_feature_map, draw_silhouettes
from eosin.reports.words import DASH, Nouns, count, format_percent, plural

MAP_METHODS = {"tsne": "t-SNE", "umap": "UMAP"}
_SMALL_PX = 84
_MONTAGE = 20


def show_space(found: Interpretation, galleries: GalleryMaker) -> Section:
    """Show the feature space: its map, its clusters, and what these follow.

    Args:
        found: What was found.
        galleries: Of the held-out tiles.
    """
    title, space = "What its feature space looks like", found.space
    nouns = Nouns.of_tiles(found.held_out.folder)
    if space is None:
        words = f"There are too few held-out {plural(nouns.tile)} for clusters."
        return Section("space", title, (words,), link="Feature space")
    method = MAP_METHODS[found.settings.map]
    words = (
        f"{len(space.rows):,} held-out {plural(nouns.tile)}, {space.dimension:,} "
        f"features each ({space.source}), laid out by {method} and grouped by k-means."
    )
    blocks = (
        words,
        _draw_map(found, space, nouns),
        *_show_montages(space, galleries, nouns),
        _list_clusters(space, nouns),
        _list_agreement(space),
        _draw_choice(space),
    )
    return Section("space", title, blocks, link="Feature space")


def _draw_map(
    found: Interpretation, space: FeatureSpace, nouns: Nouns
) -> Figure | None:
    if not np.isfinite(space.places).any():
        return None
    tiles = space.list_tiles(found.held_out)
    names = list(found.held_out.class_names)
    factors = {"label": pd.Categorical(tiles["class_name"], names)}
    if found.held_out.probabilities is not None:
        factors["prediction"] = pd.Categorical(tiles["called"], names)
        is_right = tiles["class_name"] == tiles["called"]
        verdicts = is_right.map({True: "right", False: "wrong"})
        verdicts = verdicts.where(tiles["class_name"].notna(), None)
        factors["verdict"] = pd.Categorical(verdicts, ["right", "wrong"])
    table = pd.DataFrame(factors)
    # Groups of look-alikes are too many and too small to be seen.
    if nouns.slide != "group":
        table[nouns.slide] = tiles["slide_id"]
    numbers = (space.clustering.numbers + 1).tolist()
    return Figure(
        "feature-map",
        "Map of the feature space",
        f"Each dot is a {nouns.tile}; neighbours look alike to the encoder. "
        "Numbers are clusters. Distances between far groups mean nothing.",
        draw_feature_map(space.places, table, numbers),
        tiles,
    )


def _show_montages(
    space: FeatureSpace, galleries: GalleryMaker, nouns: Nouns
) -> Iterator[Gallery]:
    """Show each cluster, from its middle to its edge."""
    clustering = space.clustering
    for row in space.clusters.to_dict("records"):
        number = int(row["cluster"])
        own = np.flatnonzero(clustering.numbers == number - 1)
        ranked = own[np.argsort(clustering.distances[own], kind="stable")]
        n = min(_MONTAGE, len(ranked))
        places = np.unique(np.linspace(0, len(ranked) - 1, n).astype(int))
        words = count(row["tiles"], nouns.tile)
        if not pd.isna(row["main_class"]):
            words += f", {format_percent(row['purity'])} {row['main_class']}"
        if not np.isnan(row["error_rate"]):
            words += f", {format_percent(row['error_rate'])} called wrong"
        yield galleries.make(
            f"cluster-{number}",
            f"Cluster {number}",
            f"{words}. {len(places)} shown, from its middle to its edge.",
            [space.rows[ranked[places]]],
            side_px=_SMALL_PX,
        )


def _list_clusters(space: FeatureSpace, nouns: Nouns) -> Table:
    rows = [
        [
            f"{row['cluster']}",
            DASH if pd.isna(row["main_class"]) else row["main_class"],
            *(int(row["tiles"]), int(row["slides"])),
            format_percent(row["purity"]),
            f"{row['errors']:,} of {row['called']:,}" if row["called"] else DASH,
            Cell(format_percent(row["error_rate"]), "value"),
            Bar(fill=float(np.nan_to_num(row["error_rate"]))),
            format_percent(row["largest_slide"]),
        ]
        for row in space.clusters.to_dict("records")
    ]
    tile, slide = nouns.tile, nouns.slide
    heads = ["Cluster", "Commonest label", plural(tile), plural(slide), "Purity"]
    heads += ["Called wrong", "Error rate", "As a bar", f"In its largest {slide}"]
    caption = (
        f"Purity is the share of a cluster's labelled {plural(nouns.tile)} that bear "
        "its commonest label. The same numbers are in clusters.csv."
    )
    return Table([h[:1].upper() + h[1:] for h in heads], rows, caption, n_words=2)


def _list_agreement(space: FeatureSpace) -> Table | None:
    caption = (
        "What the clusters follow: adjusted mutual information, 0 as by chance, 1 "
        "the same grouping. Clusters that follow slides or scanners more than "
        "classes show what the encoder sees first."
    )
    return tabulate_shares(["Groups", "Agreement"], space.agreement, caption)


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
