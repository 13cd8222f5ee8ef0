"""What a reader must know before believing an evaluation's numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from eosin.evaluation.predictions import Level
from eosin.evaluation.results import EvaluationResult, LevelResult

# In simulated studies of 40 tiles a patient, with patients as unlike as tiles, 95 %
# intervals held the true AUC in 54 to 84 % of studies of 4 patients, 83 to 93 % of
# 10, 88 to 95 % of 20 and 89 to 94 % of 40.
TOO_FEW_PATIENTS = 5
FEW_PATIENTS = 20
_FEW_ROWS_OF_CLASS = 5
_PERFECTIBLE = {
    "roc_auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


def find_cautions(
    levels: Mapping[Level, LevelResult], class_names: Sequence[str]
) -> tuple[str, ...]:
    """Say in plain sentences what limits the results of these levels.

    Args:
        levels: Results by level, at least one.
        class_names: In the order of the labels.
    """
    return (
        *_caution_patients(levels),
        *_caution_ungrouped(levels),
        *_caution_classes(levels, class_names),
        *_caution_perfect(levels),
        *_caution_undefined(levels),
    )


def caution_bags(result: EvaluationResult) -> EvaluationResult:
    """Give an evaluation of drawn bags its own cautions.

    Such bags stand as slides, and each as a patient of its own, of which it is none:
    they are called bags, and no patients are counted.

    Args:
        result: The evaluation, with the level `slide`.
    """
    bags = replace(result.levels["slide"], level=cast("Level", "bag"))
    levels: dict[Level, LevelResult] = {"slide": bags}
    said = (
        *_caution_classes(levels, result.class_names),
        *_caution_perfect(levels),
        *_caution_undefined(levels),
    )
    return replace(result, cautions=said)


def _caution_patients(levels: Mapping[Level, LevelResult]) -> Iterator[str]:
    n = max(result.n_patients for result in levels.values())
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


def _caution_ungrouped(levels: Mapping[Level, LevelResult]) -> Iterator[str]:
    tiles = levels.get("tile")
    if tiles is not None and tiles.n > 1 and tiles.n_patients == tiles.n:
        yield (
            "Every tile counts as a patient of its own, so no patient is known. If "
            "tiles share patients, the intervals are too narrow and the split may have "
            "shown the model tissue of the patients it is tested on."
        )


def _caution_classes(
    levels: Mapping[Level, LevelResult], class_names: Sequence[str]
) -> Iterator[str]:
    for level in ("slide", "patient", "tile"):
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


def _caution_perfect(levels: Mapping[Level, LevelResult]) -> Iterator[str]:
    perfect = []
    for result in levels.values():
        names = [
            word
            for name, word in _PERFECTIBLE.items()
            if result.metrics[name].value == result.metrics[name].low == 1
        ]
        if names:
            perfect.append(f"{' and '.join(names)} of {result.level}s")
    if perfect:
        yield (
            f"Perfect in every resample: {'; '.join(perfect)}. Resampling cannot "
            f"show an error that was never met, so the interval has no width; the true "
            f"value may well be lower."
        )


def _caution_undefined(levels: Mapping[Level, LevelResult]) -> Iterator[str]:
    for result in levels.values():
        reason = result.metrics["roc_auc"].reason
        if result.metrics["roc_auc"].value is None:
            yield f"At {result.level} level there is no AUC: {reason}."
