"""Ten epochs of the frozen stage: cached features against a plain Keras fit.

    python benchmarks/frozen_stage.py TILES --weights FILE [--encoder mobilenetv2]

Both train the same head on the same frozen encoder, tiles and optimiser settings; the
plain way runs the encoder inside Keras in every epoch, without augmentation, the cached
way encodes each tile once with ONNX Runtime (one view) and fits the head on that. The
two are run in turn, and the medians compared.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from eosin.inference import encode_tiles, open_session
from eosin.models import build_classifier, build_encoder, build_stem, export_onnx
from eosin.models.keras_backend import keras
from eosin.settings import HeadFit, TileTraining
from eosin.studies.splits import split_tiles
from eosin.tiles.folder import open_tile_folder
from eosin.training import TrainingTiles, fit_head

EPOCHS = 10
BATCH = 32
LEARNING_RATE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--encoder", default="mobilenetv2")
    parser.add_argument("--train", type=int, default=192)
    parser.add_argument("--val", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    folder = open_tile_folder(options.tiles)
    splits = split_tiles(folder, TileTraining(encoder=options.encoder))
    split_of = dict(zip(splits["slide_id"], splits["split"], strict=True))
    rng = np.random.default_rng(0)
    rows = []
    for split, n in (("train", options.train), ("val", options.val)):
        for label in (0, 1):
            is_in = folder.tiles["slide_id"].map(split_of) == split
            has_label = (folder.tiles["label"] == label).fillna(value=False)
            pool = np.flatnonzero(is_in & has_label)
            rows.append(rng.choice(pool, min(n // 2, len(pool)), replace=False))
    n_train = len(rows[0]) + len(rows[1])
    chosen = folder.tiles.iloc[np.concatenate(rows)].reset_index(drop=True)
    with folder.open_reader(chosen) as reader:
        pixels = reader.read(np.arange(len(chosen)))
    labels = chosen["label"].to_numpy(np.int64)
    train, val = np.arange(n_train), np.arange(n_train, len(chosen))

    def build():
        encoder = build_encoder(
            options.encoder,
            tile_px=folder.info.tile_px,
            weights=options.weights,
        )
        return build_classifier(encoder, n_classes=2)

    def run_plain() -> float:
        classifier = build()
        for layer in classifier.layers:
            layer.trainable = layer.name == "logits"
        classifier.compile(
            keras.optimizers.Adam(LEARNING_RATE),
            keras.losses.BinaryCrossentropy(from_logits=True),
        )
        images = pixels.astype(np.float32)
        classifier.fit(
            images[train], labels[train, None], batch_size=BATCH, epochs=EPOCHS,
            validation_data=(images[val], labels[val, None]), verbose=0,
        )  # fmt: skip
        scores = classifier.predict(images[val], batch_size=BATCH, verbose=0)
        return roc_auc_score(labels[val], scores[:, 0])

    def run_cached() -> float:
        classifier = build()
        with tempfile.TemporaryDirectory() as name:
            stem = Path(name) / "stem.onnx"
            export_onnx(build_stem(classifier, "head"), stem)
            arrays = encode_tiles(
                lambda wanted: pixels[wanted], len(pixels), open_session(stem),
                Path(name) / "cache", key="benchmark",
            )  # fmt: skip
            result = fit_head(
                classifier,
                arrays["features"],
                TrainingTiles(
                    labels, chosen["slide_id"].to_numpy(str), train, val,
                    ("normal", "tumor"),
                ),
                HeadFit(
                    epochs=EPOCHS, batch=BATCH, learning_rate=LEARNING_RATE,
                    schedule="constant", balance="none", patience=None,
                ),
            )  # fmt: skip
        return float(result.epochs[-1].val_roc_auc or 0)

    seconds: dict[str, list[float]] = {"plain": [], "cached": []}
    aucs: dict[str, list[float]] = {"plain": [], "cached": []}
    for _ in range(options.repeats):
        for name, run in (("plain", run_plain), ("cached", run_cached)):
            started = time.perf_counter()
            aucs[name].append(round(run(), 4))
            seconds[name].append(round(time.perf_counter() - started, 2))
    ratio = statistics.median(seconds["plain"]) / statistics.median(seconds["cached"])
    print(
        json.dumps(
            {
                "encoder": options.encoder,
                "tile_px": folder.info.tile_px,
                "train_tiles": n_train,
                "val_tiles": len(val),
                "epochs": EPOCHS,
                "seconds": seconds,
                "val_roc_auc": aucs,
                "plain_over_cached": round(ratio, 1),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
