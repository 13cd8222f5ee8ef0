import json
import re

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from eosin.bags import FeatureInfo, write_features
from eosin.cli import main
from eosin.core import ConfigError
from eosin.evaluation import plan_auc


def run(*words):
    return CliRunner().invoke(main.app, ["mil", *words])


def test_a_plan_is_told_in_words():
    done = run("plan", "--patients", "160", "--prevalence", "0.4")
    found = plan_auc(160, 0.4)
    assert done.exit_code == 0
    assert "64 patients with the finding, 96 without" in done.output
    assert f"{found.low:.2f} to {found.high:.2f}" in " ".join(done.output.split())
    assert f"{found.least_auc:.2f} or more can be told from chance" in " ".join(
        done.output.split()
    )


def test_a_plan_of_too_few_patients_says_so():
    done = run("plan", "--patients", "5", "--prevalence", "0.4", "--auc", "0.97")
    assert "no AUC can be told from a rival" in " ".join(done.output.split())
    assert isinstance(
        run("plan", "--patients", "5", "--prevalence", "0.1").exception, ConfigError
    )


@pytest.mark.parametrize("command", ["plan", "train", "evaluate", "predict"])
def test_every_step_has_help_with_an_example(command):
    text = " ".join(run(command, "--help").output.split())
    assert f"Example: eosin mil {command}" in text


def test_a_study_is_trained_and_told(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "f").mkdir()
    lines = ["slide_id,patient_id,label"]
    for i in range(8):
        features = rng.normal(size=(5, 3)).astype(np.float32) + 2 * (i % 2)
        info = FeatureInfo(slide_id=f"S{i}", encoder="e", tile_px=8, mpp=1, size_px0=8)
        path = tmp_path / "f" / f"S{i}.h5"
        write_features(path, features, np.zeros((5, 2), np.int64), info)
        lines.append(f"S{i},P{i},{('normal', 'tumor')[i % 2]}")
    (tmp_path / "slides.csv").write_text("\n".join(lines))
    words = [str(tmp_path / "f"), str(tmp_path / "slides.csv"), "-o"]
    words += [str(tmp_path / "run"), "--class", "normal", "--class", "tumor"]
    words += ["--aggregator", "mean", "--folds", "3", "--set", "epochs=2"]
    done = run("train", *words, "--set", "n_bootstrap=20")
    assert done.exit_code == 0, done.output
    assert "slide    ROC AUC" in done.output
    assert "n = 8" in done.output
    assert (tmp_path / "run" / "metrics.json").exists()
    assert f"Next    eosin mil evaluate {tmp_path / 'run'}" in done.output


def write_growing(path, places, **features):
    """As CLAM and TRIDENT write: one row per chunk, data sets that may grow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, value in (features | {"coords": places}).items():
            size = value.shape[1]
            file.create_dataset(
                name, data=value, chunks=(1, size), maxshape=(None, size)
            )


def write_layouts(root, slide_id, features):
    """Write one slide's features in eosin's, CLAM's and TRIDENT's folders."""
    places = np.arange(2 * len(features)).reshape(-1, 2)
    info = FeatureInfo(slide_id=slide_id, encoder="e", tile_px=8, mpp=1, size_px0=8)
    (root / "own").mkdir(exist_ok=True)
    write_features(root / "own" / f"{slide_id}.h5", features, places, info)
    clam = root / "clam"
    write_growing(
        clam / "h5_files" / f"{slide_id}.h5",
        places.astype(np.int32),
        features=features,
    )
    (clam / "pt_files").mkdir(exist_ok=True)
    torch.save(torch.from_numpy(features), clam / "pt_files" / f"{slide_id}.pt")
    trident = root / "trident"
    write_growing(
        trident / "features_uni_v1" / f"{slide_id}.h5", places, features=features
    )
    # Places alone, which are no features.
    write_growing(trident / "patches" / f"{slide_id}_patches.h5", places)


def test_folders_of_clam_and_trident_train_the_same_model(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["case_id,slide_id,label"]
    for i in range(6):
        features = rng.normal(size=(4 + i, 3)).astype(np.float32) + i % 2
        write_layouts(tmp_path, f"S{i}", features)
        lines.append(f"P{i},S{i},{('normal', 'tumor')[i % 2]}")
    (tmp_path / "slides.csv").write_text("\n".join(lines))
    tables = []
    for name in ("own", "clam", "trident"):
        out = tmp_path / f"run_{name}"
        words = [str(tmp_path / name), str(tmp_path / "slides.csv"), "-o", str(out)]
        words += ["--class", "normal", "--class", "tumor", "--aggregator", "mean"]
        words += ["--folds", "3", "--set", "epochs=1", "--set", "n_bootstrap=20"]
        done = run("train", *words)
        assert done.exit_code == 0, done.output
        attention = sorted((out / "attention").glob("*.csv"))
        assert [path.stem for path in attention] == [f"S{i}" for i in range(6)]
        tables.append(
            [pd.read_parquet(out / "predictions.parquet")]
            + [pd.read_csv(path) for path in attention]
        )
        assert {"x_px0", "y_px0"} <= set(tables[-1][1].columns)
    for other in tables[1:]:
        for found, expected in zip(other, tables[0], strict=True):
            pd.testing.assert_frame_equal(found, expected, check_exact=True)


def write_witnesses(folder, names, labels):
    """Write features of slides, of which the first tile of tumour stands out."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    places = np.array([[0, 0], [8, 0], [0, 8], [8, 8], [16, 16]])
    for name, label in zip(names, labels, strict=True):
        features = rng.normal(size=(5, 3)).astype(np.float32)
        features[0] += 5 * label
        info = FeatureInfo(slide_id=name, encoder="e", tile_px=8, mpp=1, size_px0=8)
        write_features(folder / f"{name}.h5", features, places, info)
    return folder


def test_a_study_is_evaluated_and_used(tmp_path):
    names = [f"S{i}" for i in range(8)]
    labels = [i % 2 for i in range(8)]
    write_witnesses(tmp_path / "f", names, labels)
    table = pd.DataFrame({"slide_id": names, "patient_id": names})
    table["label"] = [("normal", "tumor")[label] for label in labels]
    table.to_csv(tmp_path / "slides.csv", index=False)
    out = tmp_path / "run"
    words = [str(tmp_path / "f"), str(tmp_path / "slides.csv"), "-o", str(out)]
    words += ["--class", "normal", "--class", "tumor", "--folds", "2"]
    done = run("train", *words, "--set", "epochs=2", "--set", "n_bootstrap=0")
    assert done.exit_code == 0, done.output

    done = run("evaluate", str(out), "--resamples", "20")
    assert done.exit_code == 0, done.output
    assert "roc auc" in done.output
    assert "Caution: Only 8 patients" in done.output
    # Each fold's own, and of slides and patients the same.
    assert re.search(r"threshold +│ (\d\.\d{3})-(\d\.\d{3}) +│ \1-\2", done.output)
    assert f"Next   eosin mil predict {out} new_features/ -o out/" in done.output
    assert (out / "evaluation" / "report.html").exists()

    new = write_witnesses(tmp_path / "new", ["N0", "N1"], [0, 1])
    table = pd.DataFrame({"slide_id": ["N0", "N1"], "label": ["normal", "tumor"]})
    table.to_csv(tmp_path / "new.csv", index=False)
    words = ["--on", str(new), "--cohort", str(tmp_path / "new.csv"), "-o"]
    done = run("evaluate", str(out), *words, str(tmp_path / "ext"), "--resamples", "0")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "ext" / "metrics.json").exists()

    (new / "N2.h5").write_bytes(b"none")
    done = run("predict", str(out), str(new), "-o", str(tmp_path / "out"))
    # A slide that failed makes it 1; the others are there.
    assert done.exit_code == 1
    assert "N2: " in done.output
    slides = pd.read_csv(tmp_path / "out" / "slides.csv").set_index("slide_id")
    assert slides["status"].to_dict() == {"N0": "done", "N1": "done", "N2": "failed"}
    assert (tmp_path / "out" / "N1.geojson").exists()
    assert (tmp_path / "out" / "attention.html").exists()
    threshold = json.loads((out / "card.json").read_text())["threshold"]
    said = f"A slide is called tumor from a probability of {threshold:.3f}."
    assert said in done.output
    assert "Next      drag the files" in done.output
    assert "that the model was trained or chosen on" not in done.output
    done = run("predict", str(out), str(tmp_path / "f"), "-o", str(tmp_path / "own"))
    assert "Caution: 8 of 8 slides (S0, S1, S2" in done.output
