"""Import many patches in Kaggle's layout: seconds and peak memory.

    python benchmarks/import_patches.py [--n 220000] [--kind jpeg|tif]

The patches are made: crops of phantom tissue, 96 x 96 px, each another, and a
hundredth of them a copy of one before, turned and saved anew. As JPEG bytes they are
called .tif, as Kaggle's users often have them, and take a quarter of the disk; what
is read was just written, so a slow disk is not in the figures.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from eosin.slides import make_phantom

SIDE_PX = 96
N_PHANTOMS = 12
COPIES = 0.01


def make_patches(root: Path, n: int, kind: str) -> None:
    rng = np.random.default_rng(0)
    images = [
        make_phantom(seed=i, size_px=(2048, 2048), mpp=0.97).image[..., ::-1]
        for i in range(N_PHANTOMS)
    ]
    suffix, options = (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 60])
    if kind == "tif":
        suffix, options = ".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 1]
    (root / "train").mkdir(parents=True)
    lines = ["id,label"]
    patch = np.empty((SIDE_PX, SIDE_PX, 3), np.uint8)
    for i in range(n):
        if i and rng.random() < COPIES:
            patch = np.rot90(patch)
        else:
            image = images[rng.integers(N_PHANTOMS)]
            y, x = rng.integers(0, 2048 - SIDE_PX, 2)
            patch = image[y : y + SIDE_PX, x : x + SIDE_PX]
        name = f"{i * 2654435761 % (1 << 32):040x}"
        data = cv2.imencode(suffix, np.ascontiguousarray(patch), options)[1]
        data.tofile(root / "train" / f"{name}.tif")
        lines.append(f"{name},{i % 2}")
    (root / "train_labels.csv").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=220_000)
    parser.add_argument("--kind", choices=["jpeg", "tif"], default="jpeg")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        make_patches(folder / "set", options.n, options.kind)
        making = time.perf_counter() - started
        started = time.perf_counter()
        subprocess.run(
            [
                sys.executable, "-m", "eosin", "import", "kaggle",
                str(folder / "set"), "-o", str(folder / "tiles"),
                "--workers", str(options.workers),
            ],
            check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        notes = json.loads((folder / "tiles" / "run.json").read_text())["notes"]
        slides = pd.read_csv(folder / "tiles" / "slides.csv")
        started = time.perf_counter()
        subprocess.run(
            [
                sys.executable, "-c",
                "import sys; from eosin.tiles.folder import open_tile_folder;"
                "open_tile_folder(sys.argv[1])",
                str(folder / "tiles"),
            ],
            check=True,
        )  # fmt: skip
        print(
            json.dumps(
                {
                    "patches": options.n,
                    "kind": options.kind,
                    "making_seconds": round(making, 1),
                    "import_seconds": round(seconds, 1),
                    "import_peak_gb": round(peak / 1e9, 3),
                    "opening_seconds": round(time.perf_counter() - started, 1),
                    "groups": notes["n_groups"],
                    "near_duplicates": notes["n_near_duplicates"],
                    "largest_group": int(slides["n_tiles"].max()),
                    "table_mb": (folder / "tiles" / "tiles.parquet").stat().st_size
                    / 1e6,
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
