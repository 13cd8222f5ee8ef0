"""What a user waits for: `tile`, `predict` and `train` against a plain loop.

    python benchmarks/end_to_end.py data/prostate --weights WEIGHTS_FOLDER -o DIR
        [--against OLD/src] [--tiatoolbox PYTHON] [--hs2p PYTHON] [--few 6]

Every contestant is a process of its own, from its start to its end, and all of a step
are run in turn; medians of the repeats are printed as the tables of
`docs/performance.md`: seconds by the clock, of CPU, and memory at peak.

The plain loop is what most people would write: OpenSlide reads a tile, PIL makes it
RGB, a batch goes through the same network in PyTorch, channels-last, with the number of
threads that is best for it; once in batches of 32 and once of the best size. It is
given the tiles' places (eosin finds the tissue and writes maps besides) and a network
that is saved and ready. To train it encodes every tile once, and fits a logistic
regression.

`--against` is the `src` folder of an older checkout. `--tiatoolbox` and `--hs2p` are
Pythons in whose environment these are installed; they find tissue and tiles only.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MPP, TILE_PX = 0.97, 256
ENCODERS = ("mobilenetv2", "densenet121")
STEPS = ("tile", "train", "predict_few", "predict")
BATCHES = (1, 2, 4, 8, 16, 32)
USUAL_BATCH = 32
CORES = len(os.sched_getaffinity(0))
CLASSES = ("normal=Normal", "tumor=Tumor,tumour")
SOURCE = Path(__file__).resolve().parent.parent / "src"
MAPS = "*.heatmap.tif"
# Of the views that training encodes by default, which the plain loop has not.
TRAINING = ("--set", "cached_views=1")


@dataclass
class Contestant:
    """One way to do a step: a command to which a new folder is added."""

    name: str
    command: Sequence[str]
    source: Path = SOURCE
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    folder: Path = Path()

    def run(self, folder: Path) -> None:
        """Run it once, from the start of its process to the end."""
        self.folder = folder
        folder.mkdir(parents=True)
        environment = os.environ | {"PYTHONPATH": str(self.source)}
        environment.pop("OMP_NUM_THREADS", None)
        with (folder / "log.txt").open("w") as log:
            started = time.perf_counter()
            process = subprocess.Popen(
                [*self.command, str(folder / "out")],
                env=environment,
                stdout=log,
                stderr=log,
            )
            _, status, usage = os.wait4(process.pid, 0)
            self.seconds.append(time.perf_counter() - started)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{self.name}: {(folder / 'log.txt').read_text()[-2000:]}")
        self.cpu.append(usage.ru_utime + usage.ru_stime)
        self.peak_mb.append(usage.ru_maxrss / 1024)


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in ALONE:
        ALONE[sys.argv[1]](*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--tiatoolbox")
    parser.add_argument("--hs2p")
    parser.add_argument("--steps", nargs="+", default=list(STEPS))
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS))
    parser.add_argument("--few", type=int, default=6, help="slides of the first table")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        bench = Bench(options, options.out or Path(made))
        bench.prepare()
        for step in options.steps:
            getattr(bench, step)()


class Bench:
    """The steps, and what they share: a tile folder, and runs with their networks."""

    def __init__(self, options: argparse.Namespace, out: Path) -> None:
        self.options, self.out = options, out
        self.cohort = options.cohort / "slides.csv"
        self.tiles = out / "tiles"
        self.sources = {"run": SOURCE}
        if options.against:
            self.sources["run-before"] = options.against.resolve()

    def prepare(self) -> None:
        """Make what the steps begin with, unless an earlier call left it here."""
        if not self.tiles.exists():
            quiet(eosin("tile", self.cohort, *self.tiling(), "-o", self.tiles))
        write_places(self.tiles, self.options.cohort, self.out, self.options.few)
        for encoder in self.options.encoders:
            for name, source in self.sources.items():
                run = self.out / encoder / name
                if not run.exists():
                    command = eosin("train", self.tiles, *self.training(encoder), "-o")
                    quiet([*command, str(run)], source)
                    self.forget()
            if not (self.out / encoder / "plain.pt").exists():
                quiet(here("save_plain", self.out / encoder))

    def tile(self) -> None:
        """Find tissue and tiles of all slides."""
        command = eosin("tile", self.cohort, *self.tiling(), "-o")
        lean = ("--set", "measures=false", "--set", "overviews=false", "-o")
        contestants = [
            Contestant("eosin tile", command),
            Contestant(
                "eosin tile, without measures and overviews",
                eosin("tile", self.cohort, *self.tiling(), *lean),
            ),
            *self.before("eosin tile, before", command),
        ]
        for name in ("hs2p", "tiatoolbox"):
            if python := getattr(self.options, name):
                command = texts([python, __file__, name, self.cohort])
                contestants.append(Contestant(f"{name}, places only", command))
        self.race("tile", contestants)
        print_table("tile", contestants)
        for each in contestants:
            print(f"  {each.name}: {count_tiles(each.folder / 'out')} tiles")

    def train(self) -> None:
        """Train a classifier on the tiles, none of them encoded before."""
        for encoder in self.options.encoders:
            command = eosin("train", self.tiles, *self.training(encoder), "-o")
            places, network = self.out / "places.csv", self.out / encoder / "plain.pt"
            contestants = [
                Contestant("eosin train", command),
                *self.before("eosin train, before", command),
                *(
                    Contestant(name, here("plain", places, network, batch, "fit"))
                    for name, batch in self.list_batches(encoder)
                ),
            ]
            self.race("train", contestants, before=self.forget)
            print_table(f"train, {encoder}", contestants)

    def predict_few(self) -> None:
        """Score some slides."""
        self.score(f"places{self.options.few}.csv")

    def predict(self) -> None:
        """Score all slides."""
        self.score("places.csv")

    def score(self, places: str) -> None:
        """Score slides; an older checkout with the model that it exported itself."""
        rows = read_places(self.out / places)
        paths = list(dict.fromkeys(row["path"] for row in rows))
        for encoder in self.options.encoders:
            folder = self.out / encoder
            quiet(here("measure_session", folder))
            best = json.loads((folder / "session.json").read_text())
            loops = [
                Contestant(
                    name,
                    here("plain", self.out / places, folder / "plain.pt", batch, "map"),
                )
                for name, batch in self.list_batches(encoder)
            ]
            contestants = [
                Contestant(
                    "eosin predict", eosin("predict", folder / "run", *paths, "-o")
                ),
                *self.before(
                    "eosin predict, before",
                    eosin("predict", folder / "run-before", *paths, "-o"),
                ),
                *loops,
            ]
            self.race("predict", contestants)
            title = f"predict, {encoder}, {len(rows)} tiles of {len(paths)} slides"
            print_table(title, contestants)
            share = len(rows) / statistics.median(contestants[0].seconds) / best
            print(f"  ONNX Runtime alone {best:.1f} tiles/s; share {share:.2f}")
            own = read_values(contestants[0].folder / "out", rows)
            for each in loops:
                apart = np.abs(own - read_values(each.folder / "out", rows)).max()
                print(f"  probabilities against {each.name}: {apart:.1e}")

    def list_batches(self, encoder: str) -> list[tuple[str, int]]:
        """Name the plain loop's batches: the usual one, and the best."""
        rates = self.out / encoder / "rates.json"
        if not rates.exists():
            quiet(here("measure_plain", self.out / encoder))
        best = json.loads(rates.read_text())["batch"]
        usual = f"plain loop, batches of {USUAL_BATCH}"
        listed = [(usual, USUAL_BATCH), (f"plain loop, batches of {best}", best)]
        return listed if best != USUAL_BATCH else listed[:1]

    def race(
        self,
        step: str,
        contestants: Sequence[Contestant],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Run all in turn, as often as was asked for."""
        with tempfile.TemporaryDirectory() as made:
            for turn in range(self.options.repeats):
                for number, each in enumerate(contestants):
                    before()
                    each.run(Path(made) / f"{step}-{turn}-{number}")
            kept = Path(tempfile.mkdtemp(prefix=f"{step}-"))
            for each in contestants:
                each.folder = each.folder.rename(kept / each.folder.name)

    def before(self, name: str, command: Sequence[str]) -> list[Contestant]:
        """Let an older checkout do the same."""
        older = self.sources.get("run-before")
        return [] if older is None else [Contestant(name, command, older)]

    def forget(self) -> None:
        """Delete what the tile folder keeps of encoders."""
        quiet(["rm", "-rf", str(self.tiles / "cache")])

    def tiling(self) -> list[str]:
        return ["--mpp", str(MPP), "--tile-px", str(TILE_PX), "--classes", *CLASSES]

    def training(self, encoder: str) -> list[str]:
        (weights,) = self.options.weights.glob(f"{encoder}*.h5")
        return ["--encoder", encoder, "--weights", str(weights), *TRAINING]


def write_places(tiles: Path, cohort: Path, out: Path, n_few: int) -> None:
    """Write where tiles are, of all slides and of some, for the plain loop."""
    import pandas as pd

    table = pd.read_parquet(tiles / "tiles.parquet")
    slides = pd.read_csv(cohort / "slides.csv").set_index("slide_id")
    table["path"] = [
        str(cohort.resolve() / slides["path"][s]) for s in table["slide_id"]
    ]
    table["label"] = table["label"].fillna(-1).astype(int)
    columns = ["path", "x_px0", "y_px0", "size_px0", "label"]
    table[columns].to_csv(out / "places.csv", index=False)
    few = table["slide_id"].isin(table["slide_id"].unique()[:n_few])
    table.loc[few, columns].to_csv(out / f"places{n_few}.csv", index=False)


def measure_session(folder: str) -> None:
    """Find the most tiles/s of ONNX Runtime alone, over batches and ways to thread.

    In a process of its own: memory of this script would count as its children's.
    """
    path = Path(folder, "run", "model.onnx")
    tiles = np.random.default_rng(0).integers(0, 256, (64, TILE_PX, TILE_PX, 3))
    ways = [(1, CORES, batch) for batch in BATCHES]
    ways += [(CORES, 1, batch) for batch in BATCHES]
    rates = {way: time_session(path, tiles, *way) for way in ways}
    best = max(rates, key=rates.__getitem__)
    # Once more: the best of many tries has had luck.
    again = statistics.median(time_session(path, tiles, *best) for _ in range(3))
    Path(folder, "session.json").write_text(json.dumps(again))


def time_session(
    path: Path, tiles: np.ndarray, threads: int, callers: int, batch: int
) -> float:
    """Return the tiles/s of so many callers of a session of so many threads."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    spins = str(int(callers == 1))
    options.add_session_config_entry("session.intra_op.allow_spinning", spins)
    session = ort.InferenceSession(str(path), options)
    port = session.get_inputs()[0]
    given = tiles.astype(np.float32 if port.type == "tensor(float)" else np.uint8)

    def call(start: int) -> None:
        session.run(None, {port.name: given[start : start + batch]})

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(call, range(0, callers * batch, batch)))
        started = time.perf_counter()
        list(pool.map(call, range(0, len(given), batch)))
        return len(given) / (time.perf_counter() - started)


def save_plain(folder: str) -> None:
    """Write the network of a run for the plain loop: a process of its own."""
    import torch
    from plain_torch import build_plain

    from eosin.models import load_classifier
    from eosin.runs.run import read_run

    run = Path(folder) / "run"
    network = build_plain(load_classifier(run / "model.keras"))
    temperature = read_run(run).card.together.temperature
    with torch.no_grad():
        for parameter in network.layers["logits"].parameters():
            parameter.div_(temperature)
    torch.save(network, Path(folder) / "plain.pt")


def measure_plain(folder: str) -> None:
    """Find the plain loop's best batch."""
    import torch

    network = load_plain(f"{folder}/plain.pt")
    tiles = torch.randn(32, 3, TILE_PX, TILE_PX)
    tiles = tiles.contiguous(memory_format=torch.channels_last)
    torch.set_num_threads(CORES)
    rates = {}
    for batch in BATCHES:
        with torch.inference_mode():
            network(tiles[:batch])
            started = time.perf_counter()
            for start in range(0, len(tiles), batch):
                network(tiles[start : start + batch])
        rates[batch] = len(tiles) / (time.perf_counter() - started)
    best = max(rates, key=rates.__getitem__)
    Path(folder, "rates.json").write_text(json.dumps({"batch": best, "rates": rates}))


def load_plain(path: str) -> Any:
    import torch

    return torch.load(path, weights_only=False).eval()


def plain(places: str, network: str, batch: str, end: str, out: str) -> None:
    """Be the plain loop: score the tiles (`map`), or encode them and `fit` a head."""
    import openslide
    import torch

    torch.set_num_threads(CORES)
    model = load_plain(network)
    if end == "fit":
        model.layers["logits"] = torch.nn.Identity()
    rows, size, slides = read_places(Path(places)), int(batch), {}
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), size):
            pictures = []
            for row in rows[start : start + size]:
                if row["path"] not in slides:
                    slides[row["path"]] = openslide.OpenSlide(row["path"])
                corner = int(row["x_px0"]), int(row["y_px0"])
                side = int(row["size_px0"])
                picture = slides[row["path"]].read_region(corner, 0, (side, side))
                picture = picture.convert("RGB")
                if side != TILE_PX:
                    picture = picture.resize((TILE_PX, TILE_PX))
                pictures.append(np.asarray(picture))
            tiles = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float()
            found.append(model(tiles).numpy())
    values = np.concatenate(found)
    Path(out).mkdir()
    if end == "fit":
        from sklearn.linear_model import LogisticRegression

        labels = np.array([int(row["label"]) for row in rows])
        head = LogisticRegression(max_iter=1000)
        head.fit(values[labels >= 0], labels[labels >= 0])
        np.save(Path(out) / "head.npy", head.coef_)
        return
    np.save(Path(out) / "values.npy", 1 / (1 + np.exp(-values[:, 0])))


def read_values(out: Path, places: Sequence[dict[str, str]]) -> np.ndarray:
    """Read the tiles' probabilities: of the plain loop, or out of eosin's maps."""
    import tifffile

    if (out / "values.npy").exists():
        return np.load(out / "values.npy")
    maps = {}
    for path in out.glob(MAPS):
        with tifffile.TiffFile(path) as file:
            per_cm, unit = file.pages[0].tags["XResolution"].value
            cell_px0 = 10_000 * unit / per_cm / MPP
            maps[path.name.split(".")[0]] = file.asarray(), cell_px0
    values = []
    for place in places:
        raster, cell = maps[Path(place["path"]).stem]
        middle = [
            int(place[x]) + int(place["size_px0"]) / 2 for x in ("y_px0", "x_px0")
        ]
        values.append(raster[int(middle[0] / cell), int(middle[1] / cell)])
    return np.array(values)


def hs2p(slides: str, out: str) -> None:
    """Let hs2p find tissue and tiles, in its own environment."""
    from hs2p import SegmentationConfig, SlideSpec, TilingConfig, tile_slides

    tile_slides(
        [
            SlideSpec(sample_id=Path(p).stem, image_path=Path(p))
            for p in list_slides(slides)
        ],
        tiling=TilingConfig(
            backend="openslide",
            mask_backend="openslide",
            requested_spacing_um=MPP,
            requested_tile_size_px=TILE_PX,
            tolerance=0.05,
            overlap=0.0,
        ),
        segmentation=SegmentationConfig(method="hsv", downsample=16),
        output_dir=Path(out),
        num_workers=CORES,
    )


def tiatoolbox(slides: str, out: str) -> None:
    """Let TIAToolbox find tissue and tiles, in its own environment."""
    from tiatoolbox.tools.patchextraction import get_patch_extractor
    from tiatoolbox.wsicore.wsireader import WSIReader

    Path(out).mkdir()
    for path in list_slides(slides):
        extractor = get_patch_extractor(
            "slidingwindow",
            input_img=WSIReader.open(path),
            input_mask="morphological",
            patch_size=(TILE_PX, TILE_PX),
            stride=(TILE_PX, TILE_PX),
            resolution=MPP,
            units="mpp",
            min_mask_ratio=0.25,
        )
        np.save(Path(out) / f"{Path(path).stem}.npy", extractor.coordinate_list)


def list_slides(cohort: str) -> list[str]:
    """List the slides of a slide table."""
    with Path(cohort).open() as stream:
        rows = list(csv.DictReader(stream))
    return [str(Path(cohort).resolve().parent / row["path"]) for row in rows]


def count_tiles(out: Path) -> int:
    """Count the tiles that a contestant found."""
    if (out / "tiles.parquet").exists():
        import pandas as pd

        return len(pd.read_parquet(out / "tiles.parquet"))
    places = [np.load(path) for path in out.rglob("*.np[yz]")]
    return sum(
        len(p["x"] if isinstance(p, np.lib.npyio.NpzFile) else p) for p in places
    )


def read_places(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def print_table(title: str, contestants: Sequence[Contestant]) -> None:
    """Print medians, and how many times as fast eosin's is: the first of them."""
    first = statistics.median(contestants[0].seconds)
    print(f"\n| {title} | seconds | of CPU | MB at peak | times eosin |")
    print("|---|---|---|---|---|")
    for each in contestants:
        seconds, cpu, peak = (
            statistics.median(values)
            for values in (each.seconds, each.cpu, each.peak_mb)
        )
        ratio = f"{seconds / first:.2f}"
        print(f"| {each.name} | {seconds:.2f} | {cpu:.2f} | {peak:.0f} | {ratio} |")
    sys.stdout.flush()


def eosin(command: str, *arguments: object) -> list[str]:
    return texts([sys.executable, "-m", "eosin", command, *arguments])


def here(name: str, *arguments: object) -> list[str]:
    return texts([sys.executable, __file__, name, *arguments])


def texts(parts: Sequence[object]) -> list[str]:
    return [str(part) for part in parts]


def quiet(command: Sequence[str], source: Path = SOURCE) -> None:
    """Run what is not measured."""
    environment = os.environ | {"PYTHONPATH": str(source)}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


# What the processes of this script do, by their first argument.
ALONE: dict[str, Callable[..., None]] = {
    "save_plain": save_plain,
    "measure_plain": measure_plain,
    "measure_session": measure_session,
    "plain": plain,
    "hs2p": hs2p,
    "tiatoolbox": tiatoolbox,
}

if __name__ == "__main__":
    main()
