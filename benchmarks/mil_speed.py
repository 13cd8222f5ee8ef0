"""Training on bags: eosin against a plain PyTorch loop of one bag per step.

    python benchmarks/mil_speed.py OUT.json [--turns 5] [--threads 1 2] [--only speed]

One call prints the table: bags a step by precision by cores.

Both train gated attention (1,024 to 256, 128 gated, dropout 0.25, AdamW) on the same
float32 features, 200 bags of 1,000 instances in memory, for equal numbers of epochs, in
turn; what is compared are the medians of an epoch's time, by the clock and, because
other work on the machine stretches that, in processor seconds. The plain loop does what
most published code does: for every bag a forward pass, a backward pass and a step.
eosin puts several bags into a step, and raises the learning rate by the root of
their number (Malladi et al., 2022). A process of one thread is bound to one core, so
that eosin's reading ahead has no second one. Held-out AUCs tell whether fewer, larger
steps learnt as much.

Memory is the peak of a process of its own, above what it held before the bag of 100,000
instances was opened, which lies in an HDF5 file.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from eosin.bags import Bag, read_slide_bag
from eosin.core import write_json
from eosin.models import build_mil_model, predict_bags
from eosin.settings import BagFit
from eosin.training import Listeners, TrainingBags, train_mil

N_TRAIN, N_TEST, SIZE, DIMENSION = 200, 60, 1000, 1024
N_WITNESSES, N_SHIFTED, SHIFT = 20, 32, 1.0
WIDTH, UNITS, DROPOUT = 256, 128, 0.25
EPOCHS = 3
LARGE = 100_000
SETTINGS = {"learning_rate": 5e-4, "weight_decay": 1e-2}

# Bags per step and precision of the ways that are compared; each is held against the
# plain loop of its precision.
WAYS: dict[str, tuple[str, int, str]] = {
    "plain": ("plain", 1, "float32"),
    "eosin, 1 bag": ("eosin", 1, "float32"),
    "eosin, 4 bags": ("eosin", 4, "float32"),
    "plain, bfloat16": ("plain", 1, "mixed_bfloat16"),
    "eosin, 1 bag, bfloat16": ("eosin", 1, "mixed_bfloat16"),
    "eosin, 4 bags, bfloat16": ("eosin", 4, "mixed_bfloat16"),
}


class PlainGatedAttention(torch.nn.Module):
    """Ilse et al., 2018, as it is written everywhere: one bag at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.project = torch.nn.Sequential(
            torch.nn.Linear(DIMENSION, WIDTH),
            torch.nn.ReLU(),
            torch.nn.Dropout(DROPOUT),
        )
        self.content = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, UNITS), torch.nn.Tanh()
        )
        self.gate = torch.nn.Sequential(
            torch.nn.Linear(WIDTH, UNITS), torch.nn.Sigmoid()
        )
        self.score = torch.nn.Linear(UNITS, 1)
        self.head = torch.nn.Linear(WIDTH, 1)

    def forward(self, bag: torch.Tensor) -> torch.Tensor:
        """From `(instances, features)` to `(1,)`."""
        hidden = self.project(bag)
        scores = self.score(self.content(hidden) * self.gate(hidden))
        attention = torch.softmax(scores.float(), dim=0)
        return self.head(attention.T @ hidden.float())[0]


def make_bags() -> list[Bag]:
    """Make bags of noise, half of them with a few witnesses."""
    rng = np.random.default_rng(0)
    bags = []
    for i in range(N_TRAIN + N_TEST):
        features = rng.standard_normal((SIZE, DIMENSION), np.float32)
        if i % 2:
            witnesses = rng.choice(SIZE, N_WITNESSES, replace=False)
            features[witnesses, :N_SHIFTED] += SHIFT
        bags.append(Bag(bag_id=str(i), features=features, label=i % 2))
    return bags


class Stopwatch:
    """Takes the time of epochs, by the clock and in processor seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.start()

    def start(self) -> None:
        """Begin an epoch."""
        self._clock, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """End an epoch and start the next."""
        self.seconds.append(round(time.perf_counter() - self._clock, 3))
        self.cpu_seconds.append(round(time.process_time() - self._cpu, 3))
        self.start()


def find_auc(bags: list[Bag], logits: list[float]) -> float:
    return round(float(roc_auc_score([bag.label for bag in bags], logits)), 3)


def run_plain(bags: list[Bag], precision: str) -> tuple[Stopwatch, float]:
    """Train a plain loop; give the epochs' times and the held-out AUC."""
    torch.manual_seed(0)
    model, loss = PlainGatedAttention(), torch.nn.BCEWithLogitsLoss()
    optimiser = torch.optim.AdamW(
        model.parameters(),
        lr=SETTINGS["learning_rate"],
        weight_decay=SETTINGS["weight_decay"],
    )
    tensors = [torch.from_numpy(np.asarray(bag.features)) for bag in bags]
    labels = [torch.tensor([float(bag.label or 0)]) for bag in bags]
    is_low = precision != "float32"
    watch = Stopwatch()
    for _ in range(EPOCHS):
        model.train()
        for i in torch.randperm(N_TRAIN).tolist():
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=is_low):
                found = model(tensors[i])
            value = loss(found.float(), labels[i])
            value.backward()
            optimiser.step()
            value.item()
        watch.stop()
    model.eval()
    with torch.inference_mode():
        logits = [float(model(tensor)) for tensor in tensors[N_TRAIN:]]
    return watch, find_auc(bags[N_TRAIN:], logits)


def run_eosin(bags: list[Bag], precision: str, batch: int) -> tuple[Stopwatch, float]:
    """Train with eosin; give the epochs' times and the held-out AUC."""
    model = build_mil_model(
        "gated_attention",
        dimension=DIMENSION,
        widths=(WIDTH,),
        dropout=DROPOUT,
        precision=precision,
        options={"units": UNITS},
    )
    rows = np.arange(N_TRAIN)
    split = TrainingBags(bags, rows, rows[:0], ("negative", "positive"))
    settings = SETTINGS | {"learning_rate": SETTINGS["learning_rate"] * batch**0.5}
    config = BagFit(epochs=EPOCHS, batch=batch, patience=None, **settings)
    # What comes before the first epoch is in it.
    watch = Stopwatch()
    train_mil(model, split, config, Listeners(on_epoch=lambda _: watch.stop()))
    held = bags[N_TRAIN:]
    logits = [float(found.logits[0]) for found in predict_bags(model, held)]
    return watch, find_auc(held, logits)


def bind(n_threads: int, cores: set[int]) -> None:
    """Bind this process to as many cores as threads."""
    torch.set_num_threads(n_threads)
    os.sched_setaffinity(0, set(sorted(cores)[:n_threads]))


def measure_speed(
    results: dict[str, Any], n_turns: int, threads: list[int], out: Path
) -> None:
    bags, cores = make_bags(), os.sched_getaffinity(0)
    for n_threads in threads:
        bind(n_threads, cores)
        cell: dict[str, Any] = {
            name: {"seconds": [], "cpu_seconds": [], "aucs": []} for name in WAYS
        }
        for turn in range(n_turns):
            for name, (way, batch, precision) in WAYS.items():
                if way == "plain":
                    watch, auc = run_plain(bags, precision)
                else:
                    watch, auc = run_eosin(bags, precision, batch)
                cell[name]["seconds"] += watch.seconds
                cell[name]["cpu_seconds"] += watch.cpu_seconds
                cell[name]["aucs"].append(auc)
                cell[name] |= {"bags_per_step": batch, "precision": precision}
                done = {key: own for key, own in cell.items() if own["seconds"]}
                results.setdefault("speed", {})[f"{n_threads} threads"] = done
                summarise(done)
                write_json(out, results)
            print(n_threads, "threads, turn", turn, flush=True)
    os.sched_setaffinity(0, cores)
    print_table(results["speed"])


def print_table(speed: dict[str, dict[str, Any]]) -> None:
    """Print each way's time and its ratio to the plain loop, a row for each."""
    print(f"{'':12}{'':26}ms a bag  times plain  by CPU    AUC")
    for n_threads, cell in speed.items():
        for name, way in cell.items():
            print(
                f"{n_threads:12}{name:26}{1e3 / way['slides_per_second']:8.2f}"
                f"{way['times_plain_by_seconds']:13.2f}"
                f"{way['times_plain_by_cpu_seconds']:8.2f}"
                f"{statistics.median(way['aucs']):7.3f}"
            )


def summarise(cell: dict[str, Any]) -> None:
    """Add rates, and how many times as fast as the plain loop of its precision."""
    rivals = {
        way["precision"]: way for name, way in cell.items() if name.startswith("plain")
    }
    for way in cell.values():
        median = statistics.median(way["seconds"])
        way["slides_per_second"] = round(N_TRAIN / median, 1)
        n_steps = -(-N_TRAIN // way["bags_per_step"])
        way["steps_per_second"] = round(n_steps / median, 2)
        for kind in ("seconds", "cpu_seconds"):
            rival = statistics.median(rivals[way["precision"]][kind])
            own = statistics.median(way[kind])
            way[f"times_plain_by_{kind}"] = round(rival / own, 2)


def write_large_bag(path: Path) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        features = file.create_dataset("features", (LARGE, DIMENSION), np.float32)
        for start in range(0, LARGE, 10_000):
            features[start : start + 10_000] = rng.standard_normal(
                (10_000, DIMENSION), np.float32
            )


def read_rss() -> float:
    """Return the memory that this process holds now, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def watch(work: Callable[[], object]) -> float:
    """Return how far memory rose above what it was before, MiB."""
    before, highest, is_done = read_rss(), 0.0, threading.Event()

    def look() -> None:
        nonlocal highest
        while not is_done.wait(0.002):
            highest = max(highest, read_rss())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        work()
    finally:
        is_done.set()
        thread.join()
    return round(highest - before)


def train_plain_once(path: Path) -> None:
    """Take one step on the whole bag."""
    with h5py.File(path) as file:
        bag = torch.from_numpy(file["features"][()])
    model = PlainGatedAttention()
    model(bag).sum().backward()


def predict_plain(path: Path) -> None:
    with h5py.File(path) as file, torch.inference_mode():
        PlainGatedAttention().eval()(torch.from_numpy(file["features"][()]))


def train_eosin_once(path: Path, max_instances: int) -> None:
    """Train one epoch on the bag and a small one of the other class."""
    rng = np.random.default_rng(0)
    other = rng.standard_normal((10, DIMENSION), np.float32)
    large = read_slide_bag(path)
    bags = [
        Bag(bag_id="large", features=large.features, label=1),
        Bag(bag_id="small", features=other, label=0),
    ]
    rows = np.arange(2)
    split = TrainingBags(bags, rows, rows[:0], ("negative", "positive"))
    model = build_mil_model("gated_attention", dimension=DIMENSION)
    config = BagFit(epochs=1, batch=1, max_instances=max_instances, patience=None)
    train_mil(model, split, config)


def predict_eosin(path: Path) -> None:
    model = build_mil_model("gated_attention", dimension=DIMENSION)
    predict_bags(model, [read_slide_bag(path)])


MEMORY: dict[str, Callable[[Path], None]] = {
    "plain, predict": predict_plain,
    "plain, train on all": train_plain_once,
    "eosin, predict": predict_eosin,
    "eosin, train on 4,096 at a time": lambda path: train_eosin_once(path, 4096),
    "eosin, train on all": lambda path: train_eosin_once(path, LARGE),
}


def measure_memory(results: dict[str, Any], out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.h5"
        write_large_bag(path)
        for name in MEMORY:
            words = [sys.executable, __file__, str(path), "--memory-of", name]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            found = results.setdefault("memory_mib", {})
            found[name] = float(done.stdout.split()[-1])
            write_json(out, results)
            print(name, found[name], "MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--only", choices=["speed", "memory"])
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        torch.set_num_threads(1)
        print(watch(lambda: MEMORY[options.memory_of](options.out)))
        return
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    results["machine"] = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }
    if options.only != "memory":
        measure_speed(results, options.turns, options.threads, options.out)
    if options.only != "speed":
        measure_memory(results, options.out)


if __name__ == "__main__":
    main()
