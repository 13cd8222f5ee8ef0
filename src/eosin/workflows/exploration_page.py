"""What an exploration found, as a page: its numbers and words."""

import shlex
from collections.abc import Mapping

import pandas as pd

from eosin.cohorts import SPLITS
from eosin.core import Progress
from eosin.evaluation import (
    DENSITY_COLUMNS,
    OUTLIERS,
    SHOWN_MEASURES,
    ColourMap,
    correlate_measures,
    describe_by_class,
    explain_colour,
    map_colours,
)
from eosin.reports import ExplorationData
from eosin.workflows.exploration import Exploration, count_classes
from eosin.workflows.exploration_galleries import GalleryMaker, format_percent

# An area under the curve of fewer tiles of a class is too much by chance.
_FEW = 20
_MEASURE_NAMES = {
    "intensity": "Mean intensity",
    "saturation": "Mean saturation",
    "haematoxylin": "Mean haematoxylin density",
    "eosin": "Mean eosin density",
    "sharpness": "Sharpness",
    "white_share": "The share of white",
}
_FACTOR_COLUMNS = ("scanner", "site")


def build_page(
    explored: Exploration, *, versions: Mapping[str, str], progress: Progress
) -> ExplorationData:
    """Gather what the page shows; the tiles of the galleries are read once more.

    Args:
        explored: What was found.
        versions: Version by package.
        progress: Told how far it is.
    """
    folder, rows = explored.folder, explored.measured
    names = folder.info.class_names
    measures = explored.measures.iloc[rows]
    labels = explored.labels[rows]
    colours = map_colours(measures[list(DENSITY_COLUMNS)].to_numpy())
    factors = _find_factors(explored)
    density = measures[list(DENSITY_COLUMNS)].to_numpy()
    explained = {
        str(name): explain_colour(density, factors[name].astype(object).tolist())
        for name in factors
    }
    by_class = describe_by_class(measures, labels, names)
    with folder.open_reader() as reader:
        galleries = GalleryMaker(explored, reader)
        with progress.task("Reading galleries", None):
            samples = list(galleries.make_samples())
            outliers = list(galleries.make_outliers())
            copies = list(galleries.make_copies())
    return ExplorationData(
        title=f"Exploration of {folder.path.resolve().name}",
        facts=_say_facts(explored),
        headline=_say_headline(explored, by_class, explained),
        key_numbers=_find_key_numbers(explored),
        cautions=_find_cautions(explored),
        counts=_count_by_split(explored),
        splits=_describe_splits(explored),
        slides=explored.slides,
        slides_are_groups=folder.info.grouping == "estimated",
        class_names=names,
        labels=labels,
        measures=measures[list(SHOWN_MEASURES)],
        by_class=by_class,
        correlations=correlate_measures(measures, labels, names),
        colour_map=colours,
        factors=factors,
        explained=explained,
        samples=samples,
        outliers=outliers,
        copies=explored.copy_counts,
        copy_galleries=copies,
        next_steps=_find_next_steps(explored),
        method=_describe_method(explored, colours),
        versions=versions,
    )


def _count_by_split(explored: Exploration) -> pd.DataFrame:
    splits = explored.folder.tiles["split"]
    if splits.isna().all():
        return count_classes(explored, splits.fillna("all"))
    counts = count_classes(explored, splits.fillna("no split"))
    order = [name for name in (*SPLITS, "no split") if name in counts.index]
    return counts.loc[order]


def _describe_splits(explored: Exploration) -> pd.DataFrame:
    counts = _count_by_split(explored)
    tiles = explored.folder.tiles
    keys = tiles["split"].fillna("all" if "all" in counts.index else "no split")
    grouped = tiles.groupby(keys)
    table = pd.DataFrame(
        {
            "split": counts.index,
            "patients": grouped["patient_id"]
            .nunique()
            .reindex(counts.index)
            .to_numpy(),
            "slides": grouped["slide_id"].nunique().reindex(counts.index).to_numpy(),
            "tiles": counts.sum(axis=1).to_numpy(),
        }
    )
    table = pd.concat([table, counts.reset_index(drop=True)], axis=1)
    if explored.folder.info.grouping == "estimated":
        table = table.drop(columns="patients").rename(columns={"slides": "groups"})
    return table


def _find_factors(explored: Exploration) -> pd.DataFrame:
    """Find by what the tiles may differ in colour: class, scanner, site, split, slide.

    The index are the tiles' ids.
    """
    folder, rows = explored.folder, explored.measured
    tiles = folder.tiles.iloc[rows]
    slides = folder.slides.drop_duplicates("slide_id").set_index("slide_id")
    found: dict[str, object] = {"class": explored.classes.iloc[rows].to_numpy()}
    for name in _FACTOR_COLUMNS:
        if name in slides:
            values = tiles["slide_id"].map(slides[name])
            if values.nunique() >= 2:
                found[name] = values.astype("object").to_numpy()
    if tiles["split"].nunique() >= 2:
        found["split"] = pd.Categorical(tiles["split"], list(SPLITS))
    if folder.info.grouping != "estimated" and tiles["slide_id"].nunique() >= 2:
        found["slide"] = tiles["slide_id"].to_numpy()
    return pd.DataFrame(found, index=tiles["tile_id"].to_numpy())


def _say_facts(explored: Exploration) -> str:
    info = explored.folder.info
    mpp = "mpp unknown" if info.mpp is None else f"{info.mpp:.4g} mpp"
    return " \N{MIDDLE DOT} ".join(
        [" / ".join(info.class_names), f"{info.tile_px} px", mpp]
    )


def _say_headline(
    explored: Exploration,
    by_class: pd.DataFrame,
    explained: Mapping[str, float | None],
) -> list[str]:
    """Say what matters most, the size first."""
    tiles, info = explored.folder.tiles, explored.folder.info
    n_slides = tiles["slide_id"].nunique()
    counts = count_classes(explored, tiles["slide_id"]).sum()
    parts = ", ".join(f"{n:,} {name}" for name, n in counts.items())
    plural = "patches" if explored.noun == "patch" else "tiles"
    place = f"of {n_slides:,} slides and {tiles['patient_id'].nunique():,} patients"
    if info.grouping == "estimated":
        place = f"in {n_slides:,} groups of look-alikes"
        if n_slides == len(tiles):
            place = "of which no two look alike"
    said = [f"{len(tiles):,} {plural} {place}: {parts}."]
    aucs = by_class.dropna(subset="roc_auc")
    enough = len(aucs) and aucs["n"].min() >= _FEW
    if len(info.class_names) == 2 and enough:
        one = aucs.assign(power=aucs["roc_auc"].clip(lower=1 - aucs["roc_auc"]))
        best = one.sort_values("power").iloc[-1]
        said.append(
            f"{_MEASURE_NAMES[best['measure']]} alone tells the classes apart with an "
            f"AUC of {best['power']:.2f}; what a model adds to that is its merit."
        )
    batches = {k: v for k, v in explained.items() if v is not None and k != "class"}
    if batches:
        name, share = max(batches.items(), key=lambda item: item[1])
        own = explained.get("class")
        than = "" if own is None else f", between classes {format_percent(own)}"
        said.append(
            f"{format_percent(share)} of the differences in colour lie between "
            f"{name}s{than}."
        )
    exact = explored.copy_counts[0]
    if exact.n_tiles:
        said.append(
            f"{exact.n_surplus:,} {plural} are identical copies of others, and "
            f"{exact.n_conflicting:,} have a copy with another label."
        )
    return said


def _find_key_numbers(explored: Exploration) -> list[tuple[str, str, str]]:
    exact = explored.copy_counts[0]
    n_odd = int(explored.outliers.any(axis=1).sum())
    n = len(explored.measured)
    return [
        ("Outliers", f"{n_odd:,}", f"of {n:,} looked at"),
        ("Identical copies", f"{exact.n_surplus:,}", f"in {exact.n_groups:,} groups"),
        ("Conflicting labels", f"{exact.n_conflicting:,}", "identical pixels"),
    ]


def _find_cautions(explored: Exploration) -> list[str]:
    cautions = list(explored.folder.info.cautions)
    n, total = len(explored.measured), len(explored.folder.tiles)
    if explored.n_unreadable:
        cautions.append(
            f"{explored.n_unreadable:,} tiles cannot be read, see run.json; 'eosin "
            "clean' drops them."
        )
    if explored.is_sample:
        cautions.append(
            f"Measures, colours, outliers and samples are of {n:,} tiles, drawn at "
            f"random from {total:,} (seed {explored.seed}). Counts and duplicates are "
            "of all."
        )
    across = explored.copy_counts[-1].n_across_splits
    if across:
        cautions.append(
            f"{across:,} tiles have a copy in another split: a model would be tested "
            "on what it has seen."
        )
    return cautions


def _find_next_steps(explored: Exploration) -> list[tuple[str, str]]:
    path = shlex.quote(str(explored.folder.path))
    exact, sums = explored.copy_counts[0], explored.outliers.sum()
    others = ", ".join(f"{int(sums[name]):,} {name}" for name in OUTLIERS[1:])
    sample = " of those looked at" if explored.is_sample else ""
    return [
        (
            f"eosin clean {path} -o cleaned/",
            f"drops blank ({int(sums['blank']):,}{sample}), unreadable "
            f"({explored.n_unreadable:,}) and conflicting ({exact.n_conflicting:,}) "
            "tiles; this folder stays as it is",
        ),
        (
            f"eosin clean {path} -o cleaned/ --rules "
            "blank,unreadable,conflicting,duplicates,black,saturated,blurred",
            f"drops {exact.n_surplus:,} surplus copies as well, and {others}{sample}; "
            "look at the galleries first",
        ),
        (f"eosin train {path} -o run/", "trains on the tiles as they are"),
    ]


def _describe_method(explored: Exploration, colours: ColourMap) -> dict[str, str]:
    n, total = len(explored.measured), len(explored.folder.tiles)
    sample = (
        f"{n:,} of {total:,}, drawn at random with seed {explored.seed}"
        if explored.is_sample
        else f"all {n:,} that can be read"
    )
    axes = "; ".join(
        ", ".join(
            f"{part:+.2f} {name}"
            for part, name in zip(row, ("red", "green", "blue"), strict=True)
        )
        for row in colours.directions
    )
    return {
        "Tiles": str(explored.folder.path.resolve()),
        "Measured tiles": sample,
        "Intensity, saturation": "means over the tile's pixels, of grey and of HSV's S",
        "Haematoxylin, eosin": "mean optical density (natural logarithm, white is 255) "
        "of what is not white, split by the stain colours of Ruifrok and Johnston "
        "(2001); below 0 where a colour lies outside what the two can mix",
        "Sharpness": "variance of the Laplacian of grey; compare tiles of one mpp only",
        "Colour map": "principal components of the mean optical density of red, green "
        f"and blue where tiles are not white: {axes}",
        "Explained colour": "epsilon squared over the three densities",
        "Near-duplicates": "low frequencies of the cosine transform in eight views, "
        "correlation 0.95 or more; chains of look-alikes are one group. Tiles with "
        "much background can look alike by its outline alone",
    }
