"""A step of fine-tuning a whole encoder: eosin's loop against a plain PyTorch loop.

    python benchmarks/fine_tuning.py OUT.json --weights FILE [--encoder mobilenetv2]
        [--batch-norm trained] [--against OTHER/src]

Both take the same tiles, labels, weights (`plain_torch.py`), batches, Adam and number
of threads, without augmentation and dropout; a step is forward, loss, backward and
update. Each way runs in a process of its own, the plain one without Keras; they take
turns, and medians are compared. `--against` names the sources of another version, which
takes its turns too. Beside the times stand the largest differences between the losses
of eosin and of the others over all steps.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

Step = Callable[[float], float]

# As by default, one cycle.
LEARNING_RATE = 1e-4
# More than a batch, so that steps differ; few, so that they are learnt.
BATCHES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--encoder", default="mobilenetv2")
    parser.add_argument("--batch-norm", default="frozen", choices=["frozen", "trained"])
    parser.add_argument("--against", type=Path)
    parser.add_argument("--tile-px", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10, help="after a first one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--way", help="for the processes that this one starts")
    options = parser.parse_args()
    if options.way:
        work(options)
        return
    ways: dict[str, Path | None] = {"plain": None, "eosin": None}
    if options.against:
        ways["against"] = options.against
    with tempfile.TemporaryDirectory() as folder:
        options.out, report = Path(folder) / "plain.pt", options.out
        save_plain(options)
        workers = {way: start(way, source, options) for way, source in ways.items()}
        try:
            turns = [
                {way: take_turn(worker, rate) for way, worker in workers.items()}
                for rate in list_rates(options.steps + 1)
            ]
        finally:
            for worker in workers.values():
                worker.stdin.close()
                worker.wait()
    report.write_text(json.dumps(compare(turns, options), indent=2) + "\n")
    print(report.read_text())


def compare(turns: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Sum up what every way said of every step; the first step is not timed."""
    medians = {
        way: {
            kind: statistics.median(turn[way][kind] for turn in turns[1:])
            for kind in ("seconds", "cpu_seconds", "system_seconds")
        }
        for way in turns[0]
    }
    names = ("encoder", "batch_norm", "tile_px", "batch", "steps", "threads")
    return {
        **{name: getattr(options, name) for name in (*names, "precision")},
        "medians": medians,
        "speed_over_plain": {
            way: {
                kind: round(medians["plain"][kind] / found[kind], 3)
                for kind in ("seconds", "cpu_seconds")
            }
            for way, found in medians.items()
        },
        "largest_loss_difference": {
            way: max(abs(turn[way]["loss"] - turn["eosin"]["loss"]) for turn in turns)
            for way in turns[0]
        },
        "peak_gb": {way: found["peak_gb"] for way, found in turns[-1].items()},
        "losses": {way: [turn[way]["loss"] for turn in turns] for way in turns[0]},
    }


def start(way: str, source: Path | None, options: argparse.Namespace) -> Any:
    given = {**vars(options), "way": way}
    texts = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()
             if value is not None and key != "out"]  # fmt: skip
    paths = [str(source)] if source else []
    paths += filter(None, [os.environ.get("PYTHONPATH")])
    return subprocess.Popen(
        [sys.executable, __file__, str(options.out), *texts],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def list_rates(n_steps: int) -> list[float]:
    from eosin.training.optimisation import find_learning_rate

    return [
        find_learning_rate(step, n_steps, peak=LEARNING_RATE, schedule="one_cycle")
        for step in range(n_steps)
    ]


def take_turn(worker: Any, rate: float) -> dict[str, Any]:
    worker.stdin.write(f"{rate}\n")
    worker.stdin.flush()
    return json.loads(worker.stdout.readline())


def work(options: argparse.Namespace) -> None:
    """Take a step at every learning rate that comes, and say how it went."""
    import resource

    import torch

    torch.set_num_threads(options.threads)
    open_way = open_plain if options.way == "plain" else open_eosin
    with open_way(options) as step:
        for line in sys.stdin:
            before = resource.getrusage(resource.RUSAGE_SELF)
            started = time.perf_counter()
            loss = step(float(line))
            seconds = time.perf_counter() - started
            after = resource.getrusage(resource.RUSAGE_SELF)
            system = after.ru_stime - before.ru_stime
            found = {
                "loss": loss,
                "seconds": round(seconds, 4),
                "cpu_seconds": round(after.ru_utime - before.ru_utime + system, 4),
                "system_seconds": round(system, 4),
                "peak_gb": round(after.ru_maxrss / 2**20, 2),
            }
            print(json.dumps(found), flush=True)


@contextmanager
def open_eosin(options: argparse.Namespace) -> Iterator[Step]:
    from eosin.settings import TuneFit
    from eosin.training import PixelTiles, TrainingTiles
    from eosin.training.loop import trying_steps
    from eosin.training.tile_training import preparing

    tiles, labels = make_tiles(options)
    rows = np.arange(len(tiles))
    train, val = np.split(rows, [BATCHES * options.batch])
    table = TrainingTiles(labels, rows.astype(str), train, val, ("normal", "tumour"))
    config = TuneFit(
        depth="all", batch_norm=options.batch_norm, batch=options.batch, balance="none",
        precision=options.precision, mixup=0.0,
        label_smoothing=0.0,
    )  # fmt: skip
    source = PixelTiles(lambda wanted: tiles[wanted], len(tiles))
    with preparing(build(options), source, table, config) as batches:
        batches._plan = lambda _: train.reshape(BATCHES, -1)
        with trying_steps(batches) as step:
            yield step


@contextmanager
def open_plain(options: argparse.Namespace) -> Iterator[Step]:
    import torch

    net = torch.load(options.out, weights_only=False)
    tiles, labels = make_tiles(options)
    batches = np.split(tiles, BATCHES + 1)
    targets = np.split(labels[:, None].astype(np.float32), BATCHES + 1)
    net.train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and options.batch_norm == "frozen":
            module.eval().requires_grad_(requires_grad=False)
    trained = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, eps=1e-7)
    find_loss = torch.nn.BCEWithLogitsLoss()
    n_steps = 0

    def step(rate: float) -> float:
        nonlocal n_steps
        optimiser.param_groups[0]["lr"] = rate
        place = n_steps % BATCHES
        n_steps += 1
        # Channels-last as it lies.
        images = torch.from_numpy(batches[place]).permute(0, 3, 1, 2).float()
        half = options.precision == "mixed_bfloat16"
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = net(images)
        loss = find_loss(logits.float(), torch.from_numpy(targets[place]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    yield step


def save_plain(options: argparse.Namespace) -> None:
    import torch
    from plain_torch import build_plain

    torch.save(build_plain(build(options)), options.out)


def build(options: argparse.Namespace) -> Any:
    from eosin.models import build_classifier, build_encoder

    encoder = build_encoder(
        options.encoder, tile_px=options.tile_px, weights=options.weights
    )
    return build_classifier(encoder, n_classes=2, dropout=0.0)


def make_tiles(options: argparse.Namespace) -> tuple[Any, Any]:
    """Make blotches in pink for all batches and one more; label 1 is darker."""
    rng = np.random.default_rng(0)
    n = (BATCHES + 1) * options.batch
    labels = rng.integers(0, 2, n)
    side = -(-options.tile_px // 16)
    tiles = rng.normal((200, 140, 180), 25, (n, side, side, 3))
    tiles = tiles.repeat(16, 1).repeat(16, 2)[:, : options.tile_px, : options.tile_px]
    tiles += rng.normal(0, 10, tiles.shape) - 20 * labels[:, None, None, None]
    return np.clip(tiles, 0, 255).astype(np.uint8), labels


if __name__ == "__main__":
    main()
