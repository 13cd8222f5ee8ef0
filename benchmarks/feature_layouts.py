"""The same features in the layouts of CLAM and of TRIDENT: are they the same bags?

    python benchmarks/feature_layouts.py FEATURES SLIDES.csv OUT.json [--seed 0]

FEATURES is a folder of `eosin embed`, SLIDES.csv a slide table with labels `normal` and
`tumor`. Every file is written anew as CLAM's `extract_features_fp.py` does (places as
int32, no attributes) and as TRIDENT's `save_h5` does (one row a chunk, attributes on
both data sets); bags are compared byte by byte, and `train` on each folder by what
it scores held-out patients with.
"""

import argparse
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from eosin.bags import Bag, find_feature_files, read_slide_bag
from eosin.core import write_json
from eosin.runs.run import read_run
from eosin.settings import BagTraining
from eosin.workflows.evaluate import evaluate
from eosin.workflows.train import train

TRIDENT_PLACES = {
    "patch_size": 224,
    "patch_size_level0": 224,
    "overlap": 0,
    "target_magnification": 10,
    "level0_magnification": 10,
}


def write_layout(bag: Bag, path: Path, layout: str) -> None:
    """Write one bag as another tool would."""
    features, coords = bag.read(), np.asarray(bag.coords)
    with h5py.File(path, "w") as file:
        if layout == "clam":
            file.create_dataset("features", data=features, maxshape=(None, None))
            file.create_dataset("coords", data=coords.astype(np.int32))
            return
        chunk = (1, features.shape[1])
        found = file.create_dataset("features", data=features, chunks=chunk)
        found.attrs.update({"name": path.stem, "encoder": "made", "savetodir": ""})
        places = file.create_dataset("coords", data=coords, chunks=(1, 2))
        places.attrs.update({**TRIDENT_PLACES, "name": path.stem})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", type=Path)
    parser.add_argument("slides", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = BagTraining(classes=("normal", "tumor"), seed=options.seed)
    own = {
        name: read_slide_bag(p)
        for name, p in find_feature_files(options.features).items()
    }
    found: dict[str, dict[str, object]] = {}
    logits: dict[str, pd.DataFrame] = {}
    with tempfile.TemporaryDirectory() as place:
        for layout in ("eosin", "clam", "trident"):
            folder = options.features
            if layout != "eosin":
                folder = Path(place) / layout
                folder.mkdir()
                for name, bag in own.items():
                    write_layout(bag, folder / f"{name}.h5", layout)
            read = {n: read_slide_bag(p) for n, p in find_feature_files(folder).items()}
            n_same = sum(
                bag.read().tobytes() == own[name].read().tobytes()
                and np.array_equal(bag.coords, own[name].coords)
                for name, bag in read.items()
            )
            run = Path(place) / f"run_{layout}"
            train(folder, run, config, cohort=options.slides)
            held = read_run(run).held_out
            logits[layout] = held[held["split"] == "test"]
            found[layout] = {
                "bags": len(read),
                "identical": n_same,
                "slide_roc_auc": evaluate(run).metrics["slide"]["roc_auc"],
                "largest_difference_of_logits": float(
                    (logits[layout]["logit_0"] - logits["eosin"]["logit_0"]).abs().max()
                ),
            }
            write_json(options.out, found)
            print(layout, found[layout], flush=True)


if __name__ == "__main__":
    main()
