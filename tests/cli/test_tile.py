"""The main job by its commands, one after the other, in one folder."""

import json
import signal

import pandas as pd
import pytest
from typer.testing import CliRunner

from eosin.cli.main import app
from eosin.cli.options import spread_values
from eosin.workflows.tile import TileResult


def run(*arguments):
    return CliRunner().invoke(app, spread_values([str(a) for a in arguments]))


def test_tile_train_evaluate_and_predict_lead_to_heatmaps(cohort, folder):
    done = run(
        "tile", cohort.table, "-o", folder / "tiles", "--mpp", "1", "--tile-px", "64",
        "--classes", "tumor=Tumor", "normal=Normal",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "tiles of 10 slides" in done.output
    assert f"Next      eosin train {folder / 'tiles'} -o run/" in done.output
    done = run(
        "train", folder / "tiles", "-o", folder / "run", "--encoder", "smallcnn",
        "--weights", "none", "--set", "tune_epochs=2", "tune_learning_rate=0.002",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "Tile ROC AUC on validation patients" in done.output
    done = run("evaluate", folder / "run", "--resamples", "20")
    assert done.exit_code == 0, done.output
    assert "Colour alone" in done.output
    assert (folder / "run" / "evaluation" / "report.html").exists()
    done = run("predict", folder / "run", *cohort.new_slides, "-o", folder / "out")
    assert done.exit_code == 0, done.output
    assert len(list((folder / "out").glob("*.overlay.jpg"))) == 2
    record = json.loads((folder / "out" / "run.json").read_text())
    assert record["command"] == "predict"


def test_a_setting_that_does_not_exist_is_named(cohort, folder):
    done = run("tile", cohort.table, "-o", folder / "x", "--set", "colour=red")
    assert done.exit_code == 1
    assert "unknown setting: colour" in str(done.exception)


def test_unknown_annotation_classes_are_told_and_not_dropped_in_silence(
    cohort, tmp_path
):
    import pandas as pd

    rows = pd.read_csv(cohort.table).head(2).drop(columns="label")
    for column in ("path", "annotation"):
        rows[column] = [
            str(cohort.table.parent / v) if isinstance(v, str) else v
            for v in rows[column]
        ]
    rows.to_csv(tmp_path / "slides.csv", index=False)
    done = run(
        "tile", tmp_path / "slides.csv", "-o", tmp_path / "tiles", "--mpp", "1",
        "--tile-px", "64", "--classes", "cancer=Krebs", "normal=Normal",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "'Tumor'" in done.output
    # Without a label the tiles are good for a study of slides only.
    assert f"Next      eosin embed {tmp_path / 'tiles'} -o features/" in done.output


@pytest.mark.parametrize(
    ("counts", "step"),
    [
        ({"normal": 5, "unlabelled": 9}, "embed"),
        ({"tumor": 5, "unlabelled": 9}, "embed"),
        ({"normal": 5, "tumor": 1}, "train"),
    ],
)
def test_tiles_of_one_class_are_no_training(tmp_path, monkeypatch, counts, step):
    slides = pd.DataFrame({"slide_id": ["A", "B"]})
    result = TileResult(tmp_path, slides, sum(counts.values()), counts, {}, (), ())
    monkeypatch.setattr("eosin.workflows.tile.tile_cohort", lambda *_, **__: result)
    done = run("tile", tmp_path / "slides.csv", "-o", tmp_path, "--mpp", "1")
    assert done.exit_code == 0, done.output
    assert f"Next      eosin {step} {tmp_path}" in done.output


@pytest.mark.parametrize(
    ("send", "code_then", "word"),
    [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")],
)
def test_a_signal_ends_tiling_and_the_same_command_finishes_it(
    cohort, tile_folder, tmp_path, interrupt, read_results, send, code_then, word
):
    out = tmp_path / "tiles"
    arguments = ["tile", cohort.table, "-o", out, "--mpp", "1", "--tile-px", "64"]
    code, text = interrupt(
        *arguments,
        "--workers",
        "1",
        when=lambda _: any(out.glob("parts/*.json")),
        send=send,
    )
    assert code == code_then
    assert text.strip().splitlines()[-1] == (
        f"{word}. The same command again finishes the work."
    )
    assert "Traceback" not in text
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert not (out / "tiles.parquet").exists()
    assert run(*arguments).exit_code == 0
    assert read_results(out) == read_results(tile_folder)
