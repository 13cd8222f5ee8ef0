"""Are these slides? Opens each, reads a little everywhere, and says what is wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from eosin.annotations import read_annotations
from eosin.cohorts import list_files, read_cohort
from eosin.core import WATCHED, ConfigError, EosinError, Progress, SlideError
from eosin.slides import (
    Slide,
    find_odd_levels,
    is_plausible_mpp,
    is_remote,
    open_slide,
)
from eosin.tiles import OtsuTissue, describe_fit

_CORNER_PX = 256
_LOOK_PX = 512
# Decides only how small a speck is left out of the tissue of a slide without mpp.
_USUAL_MPP = 0.5
# A single level above this size makes every overview slow.
_LARGE_PX = 8_000
_BLANK_SHARE = 0.999
_WHOLE_NUMBERS = ("width_px0", "height_px0", "levels")


@dataclass(frozen=True)
class SlideCheck:
    """What was found of one slide.

    Attributes:
        path: The file, or its URL.
        status: `ok`, `warning`, or `error` where it cannot be used.
        problems: What is wrong, one sentence each.
        facts: `vendor`, `reader`, `width_px0`, `height_px0`, `levels`, `mpp`,
            `mpp_source` and `associated`, the names of the images beside the pyramid;
            empty where the file does not open.
    """

    path: Path | str
    status: str
    problems: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.path).name


def validate_slides(
    paths: Path | str | Sequence[Path | str],
    *,
    slide_mpp: float | None = None,
    seed: int = 0,
    progress: Progress | None = WATCHED,
) -> list[SlideCheck]:
    """Check slides: open them, read each level's corners and one random tile.

    Args:
        paths: One or more slides, folders of slides, URLs, or slide tables (CSV).
        slide_mpp: Micrometres per level-0 pixel for slides that do not say it.
        seed: Decides where the random tile lies.
        progress: Told how far it is.

    Raises:
        CohortError: A slide table is wrong.
        ConfigError: `slide_mpp` is no resolution of a scan.
    """
    if slide_mpp is not None and not is_plausible_mpp(slide_mpp):
        raise ConfigError(
            f"slide_mpp must be micrometres per pixel, such as 0.25 or 0.5, got "
            f"{slide_mpp:g}"
        )
    checks = []
    given = [paths] if isinstance(paths, str | Path) else paths
    jobs = list(_iter_jobs(given))
    with (progress or Progress()).task("Checking slides", len(jobs)) as task:
        for index, (path, mpp, annotation) in enumerate(jobs):
            rng = np.random.default_rng((seed, index))
            checks.append(_check_slide(path, mpp or slide_mpp, annotation, rng))
            task.advance(note=checks[-1].name)
    return checks


def tabulate_checks(checks: Sequence[SlideCheck]) -> pd.DataFrame:
    """Make one row per slide: file, status, problems and facts."""
    table = pd.DataFrame(
        [
            {
                "slide": check.name,
                "status": check.status,
                **check.facts,
                "problems": "; ".join(check.problems),
                "path": str(check.path),
            }
            for check in checks
        ]
    )
    for name in _WHOLE_NUMBERS:
        if name in table:
            table[name] = table[name].astype("Int64")
    return table


def _iter_jobs(
    paths: Sequence[Path | str],
) -> Iterator[tuple[Path | str, float | None, str]]:
    """Yield each slide with the mpp and the annotation that a table gives it."""
    for given in paths:
        # A path would take a URL's second slash.
        if is_remote(given):
            yield given, None, ""
        elif Path(given).suffix.lower() == ".csv":
            for row in read_cohort(Path(given)).table.to_dict("records"):
                mpp = None if pd.isna(row["mpp"]) else row["mpp"]
                yield row["path"], mpp, row["annotation"]
        else:
            for file in list_files(Path(given)):
                yield file, None, ""


def _check_slide(
    path: Path | str, mpp: float | None, annotation: str, rng: np.random.Generator
) -> SlideCheck:
    try:
        with open_slide(path, mpp=mpp) as slide:
            facts = {
                "vendor": slide.vendor,
                "reader": slide.reader,
                "width_px0": slide.dimensions[0],
                "height_px0": slide.dimensions[1],
                "levels": len(slide.levels),
                "mpp": slide.mpp,
                "mpp_source": slide.mpp_source,
                "associated": ", ".join(slide.associated_names),
            }
            errors = list(_find_damage(slide, rng))
            warnings = [] if errors else list(_find_warnings(slide, annotation))
    except EosinError as error:
        return SlideCheck(path, "error", (str(error),), {})
    status = "error" if errors else "warning" if warnings else "ok"
    return SlideCheck(path, status, (*errors, *warnings), facts)


def _find_damage(slide: Slide, rng: np.random.Generator) -> Iterator[str]:
    """Read each level's corners and a random tile of it; yield what fails."""
    for index, level in enumerate(slide.levels):
        width = min(_CORNER_PX, level.width_px)
        height = min(_CORNER_PX, level.height_px)
        right, bottom = level.width_px - width, level.height_px - height
        places = {(0, 0), (right, 0), (0, bottom), (right, bottom)}
        places.add((int(rng.integers(right + 1)), int(rng.integers(bottom + 1))))
        for x, y in sorted(places):
            try:
                slide.read(
                    round(x * level.downsample),
                    round(y * level.downsample),
                    width,
                    height,
                    level=index,
                )
            except SlideError as error:
                # OpenSlide gives a slide up after its first failure.
                yield str(error)
                return


def _find_warnings(slide: Slide, annotation: str) -> Iterator[str]:
    if slide.mpp is None:
        candidates = slide.resolution.candidates.items()
        named = ", ".join(f"{name} says {value:g}" for name, value in candidates)
        reason = f" that is plausible ({named})" if named else ""
        remedy = "give it in the slide table's column mpp or by --slide-mpp"
        yield f"no mpp{reason}; {remedy}"
    if left_out := slide.properties.get("eosin.left-out"):
        yield f"images beside the pyramid are left out: {left_out}"
    yield from slide.cautions
    yield from find_odd_levels(slide)
    for disagreement in slide.resolution.disagreements:
        yield f"the mpp is uncertain: {disagreement}"
    if len(slide.levels) == 1 and max(slide.dimensions) > _LARGE_PX:
        yield (
            "one level only, so every overview reads the whole slide; a pyramidal "
            "TIFF is faster"
        )
    picture = slide.thumbnail(_LOOK_PX)
    yield from _judge_picture(picture)
    if annotation:
        regions = read_annotations(Path(annotation), slide=slide).regions
        downsample = max(slide.dimensions) / max(picture.shape[:2])
        mpp = (slide.mpp or _USUAL_MPP) * downsample
        tissue = OtsuTissue().find(picture, mpp)
        if fit := describe_fit(regions, tissue, downsample, slide.dimensions):
            yield f"{Path(annotation).name}: {fit}"


def _judge_picture(image: npt.NDArray[np.uint8]) -> Iterator[str]:
    brightest = image.max(axis=2)
    spread = brightest.astype(np.int16) - image.min(axis=2)
    if (brightest < 60).mean() > 0.7:
        yield "mostly black, as a fluorescence scan is; bright-field H&E is needed"
    elif ((brightest > 200) & (spread < 12)).mean() > _BLANK_SHARE:
        yield "blank: nothing on it is coloured"
