"""What a reader must know before believing an evaluation's numbers."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from eosin.core import plural
from eosin.evaluation.metrics import METRICS
from eosin.evaluation.predictions import Unit
from eosin.evaluation.results import LevelResult

# In simulated studies of 40 tiles a patient, with patients as unlike as tiles, 95 %
# intervals held the true AUC in 54 to 84 % of studies of 4 patients, 83 to 93 % of
# 10, 88 to 95 % of 20 and 89 to 94 % of 40.
TOO_FEW_PATIENTS = 5
FEW_PATIENTS = 20
_FEW_ROWS_OF_CLASS = 5
_FEWEST_FIRST: tuple[Unit, ...] = ("slide", "bag", "patient", "tile")
_PERFECTIBLE = ("roc_auc", "sensitivity", "specificity")


def find_cautions(
    levels: Mapping[Unit, LevelResult],
    class_names: Sequence[str],
    words: Mapping[str, str],
) -> tuple[str, ...]:
    """Say in plain sentences what limits results of one unit or more.

    `words` are the study's own for its units, such as `patch` for tiles.
    """
    found = (
        _caution_patients(levels, words["patient"]),
        _caution_ungrouped(levels, words["tile"]),
        _caution_classes(levels, class_names, words),
        _caution_perfect(levels, words),
        _caution_undefined(levels, words),
    )
    return tuple(itertools.chain.from_iterable(found))


def _caution_patients(levels: Mapping[Unit, LevelResult], noun: str) -> Iterator[str]:
    n = max(result.n_patients for result in levels.values())
    nouns = plural(noun)
    if n == 0:
        # Of drawn bags, whose study says how many patients they share.
        return
    if n == 1:
        yield (
            f"All results come from a single {noun}. There is no interval, and "
            f"nothing here says how the model does on other {nouns}."
        )
    elif n < TOO_FEW_PATIENTS:
        yield (
            f"Only {n} {nouns} were scored. Do not rely on the intervals: with so few "
            f"{nouns} they are too narrow, and may miss the truth in one study of two "
            f"or three instead of one of twenty."
        )
    elif n < FEW_PATIENTS:
        yield (
            f"Only {n} {nouns} were scored. The intervals are wide and, with so few "
            f"{nouns}, still somewhat too narrow."
        )


def _caution_ungrouped(levels: Mapping[Unit, LevelResult], noun: str) -> Iterator[str]:
    tiles = levels.get("tile")
    if tiles is not None and tiles.n > 1 and tiles.n_patients == tiles.n:
        yield (
            f"Every {noun} counts as a patient of its own, so no patient is known. If "
            f"{plural(noun)} share patients, the intervals are too narrow and the "
            f"split may have shown the model tissue of the patients it is tested on."
        )


def _caution_classes(
    levels: Mapping[Unit, LevelResult],
    class_names: Sequence[str],
    words: Mapping[str, str],
) -> Iterator[str]:
    for unit in _FEWEST_FIRST:
        if unit not in levels:
            continue
        counts = zip(levels[unit].n_by_class, class_names, strict=True)
        few = [f"{n} {name}" for n, name in counts if n < _FEW_ROWS_OF_CLASS]
        if few:
            yield (
                f"There are only {' and '.join(few)} {plural(words[unit])}; one more "
                f"or less would change the numbers of the {words[unit]} level visibly."
            )
            return


def _caution_perfect(
    levels: Mapping[Unit, LevelResult], words: Mapping[str, str]
) -> Iterator[str]:
    perfect = []
    for unit, result in levels.items():
        names = [
            metric.words
            for metric in METRICS
            if metric.name in _PERFECTIBLE
            and result.metrics[metric.name].value == 1
            and result.metrics[metric.name].low == 1
        ]
        if names:
            perfect.append(f"{' and '.join(names)} of {plural(words[unit])}")
    if perfect:
        yield (
            f"Perfect in every resample: {'; '.join(perfect)}. Resampling cannot "
            f"show an error that was never met, so the interval has no width; the true "
            f"value may well be lower."
        )


def _caution_undefined(
    levels: Mapping[Unit, LevelResult], words: Mapping[str, str]
) -> Iterator[str]:
    for unit, result in levels.items():
        metric = result.metrics["roc_auc"]
        if metric.value is None:
            yield f"At {words[unit]} level there is no AUC: {metric.reason}."
