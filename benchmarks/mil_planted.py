"""Algorithmic unit tests for multiple-instance methods, on bags made for them.

    python benchmarks/mil_planted.py OUT.json [--aggregators max ...] [--seeds 3]

In the manner of Raff and Holt, 2023 (Reproducibility in multiple instance learning: a
case for algorithmic unit tests): the training bags offer a rule that is right and a
short cut that is easier; the test bags keep the rule and turn the short cut round. What
comes out is the mean AUC over the seeds on bags like those of the training and on
turned ones, and a word:

passes                    0.9 or more on both
passes, not in every run  the same, but one seed or more fell below 0.9
leans on the short cut    0.9 on bags like the training's, 0.5 to 0.9 on turned ones
follows the short cut     0.9 on bags like the training's, below 0.5 on turned ones: it
                          says the opposite of the truth
cannot learn the rule     below 0.9 even on bags like the training's

standard         A bag is positive if it holds a witness. In training, negative bags
                 also hold one instance that no positive bag holds; in the test it is
                 the other way round.
false_frequency  A bag is positive if it holds instances of both of two kinds. In
                 training, negative bags hold few of one kind; in the test, many.
shifted_mean     A bag is positive if it holds a witness. In training, all instances of
                 positive bags lie a little higher, as if from another scanner; in the
                 test, a little lower.
places           A bag is positive if it holds a witness. In training, witnesses stand
                 among the first ten instances; in the test, among the last ten.

All bags hold 40 instances of 16 features. A method that looks at instances one by one
cannot say "both" (false_frequency): a limit of what it assumes, not a fault. The order
of instances tells the label in `places` only, and only a method that minds the order
can be misled there. What OUT.json holds already is not run again.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from eosin.bags import Bag
from eosin.core import write_json
from eosin.models import AGGREGATORS, build_mil_model, predict_bags
from eosin.settings import BagFit
from eosin.training import TrainingBags, train_mil

DIMENSION, SIZE = 16, 40
N_TRAIN, N_VAL, N_TEST = 400, 100, 400
PASS = 0.9
CONFIG = BagFit(
    epochs=50, batch=32, learning_rate=2e-3, monitor="val_roc_auc", patience=None
)

Draw = Callable[[np.random.Generator, int, int], np.ndarray]
"""From a generator, the label, and the label that the short cut points at."""


def draw_noise(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(SIZE, DIMENSION))


def draw_witnesses(rng: np.random.Generator, n: int) -> np.ndarray:
    """Of two concepts: far out in the first features, or in the next."""
    witnesses = rng.normal(size=(n, DIMENSION))
    for witness, concept in zip(witnesses, rng.integers(2, size=n), strict=True):
        witness[4 * concept : 4 * concept + 4] += 3
    return witnesses


def draw_standard(rng: np.random.Generator, label: int, hint: int) -> np.ndarray:
    features = draw_noise(rng)
    if label:
        n = rng.integers(1, 5)
        features[1 : 1 + n] = draw_witnesses(rng, n)
    if not hint:
        features[0] = -10 + 0.1 * rng.normal(size=DIMENSION)
    return rng.permutation(features)


def draw_false_frequency(rng: np.random.Generator, label: int, hint: int) -> np.ndarray:
    features = draw_noise(rng)
    first, second = np.zeros(DIMENSION), np.zeros(DIMENSION)
    first[:4], second[4:8] = 3, 3
    kinds = [first, second][:: 1 if rng.random() < 0.5 else -1]
    counts = rng.integers(1, 5, size=2)
    if not label:
        counts = np.array([rng.integers(25, 36) if hint else counts[0], 0])
    a, b = counts
    features[:a] += kinds[0]
    features[a : a + b] += kinds[1]
    return rng.permutation(features)


def draw_shifted_mean(rng: np.random.Generator, label: int, hint: int) -> np.ndarray:
    features = draw_noise(rng)
    if label:
        n = rng.integers(1, 5)
        features[:n] = draw_witnesses(rng, n)
        features += 0.3 if hint else -0.3
    return rng.permutation(features)


def draw_places(rng: np.random.Generator, label: int, hint: int) -> np.ndarray:
    features = draw_noise(rng)
    if label:
        n = rng.integers(1, 5)
        places = rng.choice(10, n, replace=False)
        features[places + (0 if hint else 30)] = draw_witnesses(rng, n)
    return features


TESTS: dict[str, Draw] = {
    "standard": draw_standard,
    "false_frequency": draw_false_frequency,
    "shifted_mean": draw_shifted_mean,
    "places": draw_places,
}


def make_bags(draw: Draw, n: int, seed: int, *, is_turned: bool = False) -> list[Bag]:
    rng = np.random.default_rng(seed)
    return [
        Bag(
            bag_id=f"{seed}-{i}",
            features=draw(rng, i % 2, (i + is_turned) % 2),
            label=i % 2,
        )
        for i in range(n)
    ]


def run_test(draw: Draw, name: str, seed: int) -> dict[str, float]:
    """Train once; score bags like the training's, and bags that are turned."""
    bags = make_bags(draw, N_TRAIN + N_VAL, 10 * seed + 1)
    rows = np.arange(len(bags))
    split = TrainingBags(bags, rows[:N_TRAIN], rows[N_TRAIN:], ("negative", "positive"))
    model = build_mil_model(name, dimension=DIMENSION, widths=(64,), seed=seed)
    train_mil(model, split, BagFit(**{**vars(CONFIG), "seed": seed}))
    found = {}
    for key, is_turned in (("alike", False), ("turned", True)):
        test = make_bags(draw, N_TEST, 10 * seed + 2 + is_turned, is_turned=is_turned)
        logits = [prediction.logits[0] for prediction in predict_bags(model, test)]
        found[key] = float(roc_auc_score([bag.label for bag in test], logits))
    return found


def judge(runs: list[dict[str, float]]) -> dict[str, object]:
    """Give the mean AUCs, the worst, and a verdict on the means."""
    alike, turned = (
        np.array([run[key] for run in runs]) for key in ("alike", "turned")
    )
    verdict = "cannot learn the rule"
    if alike.mean() >= PASS:
        verdict = "leans on the short cut"
        if turned.mean() < 0.5:
            verdict = "follows the short cut"
        elif turned.mean() >= PASS:
            is_steady = min(alike.min(), turned.min()) >= PASS
            verdict = "passes" if is_steady else "passes, not in every run"
    return {
        "auc_alike": round(float(alike.mean()), 3),
        "auc_turned": round(float(turned.mean()), 3),
        "worst_alike": round(float(alike.min()), 3),
        "worst_turned": round(float(turned.min()), 3),
        "verdict": verdict,
    }


def tabulate(results: dict[str, dict[str, dict[str, object]]]) -> str:
    """Write the results as a table in Markdown."""
    names = list(TESTS)
    lines = [f"| method | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for name, tests in results.items():
        cells = [
            f"{cell['auc_alike']:.2f}, {cell['auc_turned']:.2f}: {cell['verdict']}"
            for cell in (tests[test] for test in names)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--aggregators", nargs="+", default=list(AGGREGATORS))
    parser.add_argument("--tests", nargs="+", default=list(TESTS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.aggregators:
        for test in options.tests:
            cell = results.setdefault(name, {}).setdefault(test, {"runs": []})
            started = time.perf_counter()
            for seed in range(len(cell["runs"]), options.seeds):
                cell["runs"].append(run_test(TESTS[test], name, seed))
                write_json(options.out, results)
            cell |= judge(cell["runs"])
            write_json(options.out, results)
            seconds = round(time.perf_counter() - started, 1)
            shown = {k: v for k, v in cell.items() if k != "runs"}
            print(name, test, shown, seconds, flush=True)
    if all(tests.keys() == TESTS.keys() for tests in results.values()):
        print(tabulate(results))


if __name__ == "__main__":
    main()
