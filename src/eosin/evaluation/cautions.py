"""What a reader must know before believing an evaluation's numbers."""

from collections.abc import Iterator, Mapping, Sequence

from eosin.evaluation.metrics import METRICS
from eosin.evaluation.predictions import Unit
from eosin.evaluation.results import LevelResult

# In simulated studies of 40 tiles a patient, with patients as unlike as tiles, 95 %
# intervals held the true AUC in 54 to 84 % of studies of 4 patients, 83 to 93 % of
# 10, 88 to 95 % of 20 and 89 to 94 % of 40.
TOO_FEW_PATIENTS = 5
FEW_PATIENTS = 20
_FEW_ROWS_OF_CLASS = 5
_PERFECTIBLE = ("roc_auc", "sensitivity", "specificity")


def find_cautions(
    levels: Mapping[Unit, LevelResult], class_names: Sequence[str]
) -> tuple[str, ...]:
    """Say in plain sentences what limits these results.

    Args:
        levels: Results by unit, at least one.
        class_names: In the order of the labels.
    """
    return (
        *_caution_patients(levels),
        *_caution_ungrouped(levels),
        *_caution_classes(levels, class_names),
        *_caution_perfect(levels),
        *_caution_undefined(levels),
    )


def _caution_patients(levels: Mapping[Unit, LevelResult]) -> Iterator[str]:
    n = max(result.n_patients for result in levels.values())
    if n == 0:
        # Of drawn bags, whose study says how many patients they share.
        return
    if n == 1:
        yield (
            "All results come from a single patient. There is no interval, and "
            "nothing here says how the model does on other patients."
        )
    elif n < TOO_FEW_PATIENTS:
        yield (
            f"Only {n} patients were scored. Do not rely on the intervals: with so few "
            f"patients they are too narrow, and may miss the truth in one study of two "
            f"or three instead of one of twenty."
        )
    elif n < FEW_PATIENTS:
        yield (
            f"Only {n} patients were scored. The intervals are wide and, with so few "
            f"patients, still somewhat too narrow."
        )


def _caution_ungrouped(levels: Mapping[Unit, LevelResult]) -> Iterator[str]:
    tiles = levels.get("tile")
    if tiles is not None and tiles.n > 1 and tiles.n_patients == tiles.n:
        yield (
            "Every tile counts as a patient of its own, so no patient is known. If "
            "tiles share patients, the intervals are too narrow and the split may have "
            "shown the model tissue of the patients it is tested on."
        )


def _caution_classes(
    levels: Mapping[Unit, LevelResult], class_names: Sequence[str]
) -> Iterator[str]:
    for level in ("slide", "bag", "patient", "tile"):
        result = levels.get(level)
        if result is None:
            continue
        few = [
            f"{n} {name}"
            for name, n in zip(class_names, result.n_by_class, strict=True)
            if n < _FEW_ROWS_OF_CLASS
        ]
        if few:
            yield (
                f"There are only {' and '.join(few)} {result.level}s; one more or less "
                f"would change the numbers of the {result.level} level visibly."
            )
            return


def _caution_perfect(levels: Mapping[Unit, LevelResult]) -> Iterator[str]:
    perfect = []
    for result in levels.values():
        names = [
            metric.words
            for metric in METRICS
            if metric.name in _PERFECTIBLE
            and result.metrics[metric.name].value == 1
            and result.metrics[metric.name].low == 1
        ]
        if names:
            perfect.append(f"{' and '.join(names)} of {result.level}s")
    if perfect:
        yield (
            f"Perfect in every resample: {'; '.join(perfect)}. Resampling cannot "
            f"show an error that was never met, so the interval has no width; the true "
            f"value may well be lower."
        )


def _caution_undefined(levels: Mapping[Unit, LevelResult]) -> Iterator[str]:
    for result in levels.values():
        reason = result.metrics["roc_auc"].reason
        if result.metrics["roc_auc"].value is None:
            yield f"At {result.level} level there is no AUC: {reason}."
