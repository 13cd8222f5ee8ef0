import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from eosin.cli.main import app


def test_a_folder_without_a_model_is_an_error(tmp_path):
    arguments = ["predict", str(tmp_path), "a.svs", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert "eosin train" in str(done.exception)


def test_ctrl_c_ends_prediction_and_the_same_command_finishes_it(
    cohort, run_folder, tmp_path, interrupt, read_results
):
    out, whole = tmp_path / "out", tmp_path / "whole"
    slides = str(cohort.new_slides[0].parent)
    arguments = ["predict", str(run_folder), slides, "--workers", "1", "-o"]
    assert CliRunner().invoke(app, [*arguments, str(whole)]).exit_code == 0
    code, text = interrupt(
        *arguments, out, when=lambda _: any(out.glob("parts/*.json"))
    )
    assert code == 130
    assert "Interrupted. The same command again" in text
    assert "Traceback" not in text
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert not (out / "slides.csv").exists()
    assert CliRunner().invoke(app, [*arguments, str(out)]).exit_code == 0
    assert read_results(out) == read_results(whole)


def test_calls_are_told_with_their_thresholds(cohort, run_folder, tmp_path):
    done, text = predict(
        run_folder, cohort.table.parent / "slides" / "slide-01.tif", "-o",
        tmp_path / "out", "--set", "threshold=0.25",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    limit = json.loads((run_folder / "card.json").read_text())["slide_threshold"]
    assert f"A slide is called tumor from a score of {limit:.3f}." in text
    assert "Areas are outlined from a tile's probability of 0.250." in text
    assert "Table" in text


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """A folder of five small images, no larger than the model's tiles of 64 px."""
    folder = tmp_path_factory.mktemp("patches")
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"q{i}.png"), pixels)
    return folder


def predict(*arguments):
    done = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    return done, " ".join(done.output.split())


def test_small_images_are_patches_and_make_a_submission(run_folder, patches, tmp_path):
    out, path = tmp_path / "out", tmp_path / "submission.csv"
    done, text = predict(
        run_folder, patches, "-o", out, "--views", "8", "--submission", path
    )
    assert done.exit_code == 0, done.output
    assert "5 patches called:" in text
    assert "must be of the same kind" in text
    assert f"Submission {path}, its ids checked against {patches}" in text
    assert pd.read_csv(path)["id"].tolist() == [f"q{i}" for i in range(5)]
    assert json.loads((out / "run.json").read_text())["settings"]["views"] == 8
    card = json.loads((run_folder / "card.json").read_text())
    rule = f"A patch is called tumor from a probability of {card['tile_threshold']:.3f}"
    assert rule in text


def test_a_patch_that_cannot_be_read_gives_exit_code_1(run_folder, patches, tmp_path):
    shutil.copytree(patches, tmp_path / "set")
    (tmp_path / "set" / "bad.png").write_bytes(b"no image")
    done, text = predict(run_folder, tmp_path / "set", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "1 patches cannot be read, such as bad: see failures.csv" in text


def test_larger_images_are_slides_unless_called_patches(run_folder, tmp_path):
    pixels = np.full((100, 100, 3), 200, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    done, text = predict(run_folder, tmp_path / "a.png", "-o", tmp_path / "slides")
    assert "1 slides failed" in text
    done, text = predict(
        run_folder,
        tmp_path / "a.png",
        "--patches",
        "--set",
        "resample=true",
        "-o",
        tmp_path / "out",
    )
    assert done.exit_code == 0, done.output
    assert "1 patches called" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sample", "s.csv"], "--sample is for --submission"),
        (["--patches", "--slide-mpp", "0.5"], "unknown setting: slide_mpp"),
        (["--patches", "--set", "threshold=0.5"], "unknown setting: threshold"),
    ],
)
def test_options_of_the_other_kind_are_refused(
    run_folder, patches, tmp_path, options, message
):
    done, text = predict(run_folder, patches, "-o", tmp_path / "out", *options)
    assert done.exit_code in (1, 2)
    assert message in text + str(done.exception)
