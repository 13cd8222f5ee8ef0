"""The commands: their help, what their options reach, what they say."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import cv2
import numpy as np
import pandas as pd
import pytest

from eosin import models
from eosin.bags import read_bag_table
from eosin.cli.main import app
from eosin.core import MissingExtraError, ModelError
from eosin.settings import RECIPES
from eosin.workflows import doctor

COMMANDS = app.list_commands(None)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_and_names_every_default(eosin, name):
    done, text = eosin(name, "--help")
    assert done.exit_code == 0
    assert f"Example: eosin {name}" in text
    for option in app.get_command(None, name).params:
        if not isinstance(option, click.Option) or option.required or option.is_flag:
            continue
        has_default = isinstance(option.default, str | int | float)
        assert not has_default or option.show_default, option.name
        if option.name.startswith("set_") and option.name not in ("set_mpp",):
            assert "[" in option.help, option.name
            assert option.help in text, option.name


class ReachedError(Exception):
    """A command called its workflow."""


TILES = "train tiles -o run --weights none --encoder smallcnn "
BAGS = "train tiles -o run --unit patient "


@pytest.mark.parametrize(
    ("line", "function", "given", "settings"),
    [
        ("demo -o d --seed 3", "demo.run_demo", {"seed": 3, "weights": "none"}, {}),
        ("doctor .", "doctor.examine_machine", {}, {}),
        ("validate a.svs --slide-mpp 0.5", "validate.validate_slides",
         {"slide_mpp": 0.5, "seed": 0}, {}),
        ("tile s.csv -o t --mpp 0.5 --classes a=A,B n=N --workers 3",
         "tile.tile_cohort", {"workers": 3, "overwrite": False},
         {"mpp": 0.5, "classes": ("a=A,B", "n=N")}),
        (TILES + "--folds 3 --set mixup=0.2 class_weights=1,2 balance=slide --seed 5",
         "train.train", {"cohort": None, "overwrite": False},
         {"folds": 3, "mixup": 0.2, "class_weights": (1, 2), "seed": 5}),
        (TILES + "--recipe mobilenetv2-baseline --set epochs=2", "train.train", {},
         {"epochs": 2, "batch": 32, "encoder": "smallcnn", "schedule": "constant"}),
        (BAGS + "--columns age,sex --n-seeds 2 --choose lr=1e-3,3e-3 widths=8,16",
         "train.train", {}, {"unit": "patient", "columns": ("age", "sex"),
                             "n_seeds": 2, "choose": ("lr=1e-3,3e-3", "widths=8,16")}),
        ("train f --cohort s.csv -o r --classes n t --aggregator max --overwrite",
         "train.train", {"cohort": Path("s.csv"), "overwrite": True},
         {"unit": "slide", "classes": ("n", "t"), "aggregator": "max"}),
        ("train bags/bags.parquet -o r --from-pixels --tiles t --encoder mobilenetv2",
         "train.train", {"tiles": Path("t")}, {"weights": "imagenet"}),
        ("train tiles -o r --find-lr --set n_steps=30", "find_lr.find_learning_rates",
         {}, {"n_steps": 30}),
        ("evaluate r --on t -o e --resamples 20 --seed 2", "evaluate.evaluate",
         {"on": Path("t"), "n_bootstrap": 20, "seed": 2}, {}),
        ("predict r a.svs b -o out --views 8 --workers 1 --set threshold=0.25",
         "predict.predict", {"workers": 1}, {"views": 8, "threshold": 0.25}),
        ("fetch pcam -o p --splits valid,test", "fetch.fetch_data", {},
         {"splits": ("valid", "test"), "address": None}),
        ("import folder s -o t --group-regex (a) --allow-missing",
         "import_patches.import_patches", {},
         {"layout": "folder", "group_regex": "(a)", "allow_missing": True}),
        ("explore t -o e --sample 9 --features f.npy", "explore.explore_tiles", {},
         {"sample": 9, "features": "f.npy"}),
        ("clean t -o c --rules conflicting,duplicates --keep k.csv",
         "clean.clean_tiles", {}, {"rules": ("conflicting", "duplicates")}),
        ("embed t -o f --encoder smallcnn --views 8", "embed.embed_tiles", {},
         {"encoder": "smallcnn", "views": 8}),
        ("bags t -o b --n-bags 20 --size 6 --witnesses 3,1 --seed 4", "bags.make_bags",
         {}, {"n_bags": 20, "size": 6, "witnesses": (3, 1), "seed": 4}),
        ("limit f t -o l --aggregators mean,max --seeds 0,1", "limit.study_limit",
         {}, {"aggregators": ("mean", "max"), "seeds": (0, 1)}),
        ("interpret r t -o i --method gradcam++ --clusters 2", "interpret.interpret",
         {"tiles": Path("t")}, {"method": "gradcam++", "clusters": 2}),
    ],
)  # fmt: skip
def test_options_reach_the_workflow(
    eosin, monkeypatch, line, function, given, settings
):
    module, name = function.split(".")
    calls = []

    def reach(*arguments, **options):
        calls.append((arguments, options))
        raise ReachedError

    workflow = importlib.import_module(f"eosin.workflows.{module}")
    monkeypatch.setattr(workflow, name, reach)
    done, text = eosin(*line.split())
    assert isinstance(done.exception, ReachedError), text
    ((arguments, options),) = calls
    assert {key: options[key] for key in given} == given
    if settings:
        (made,) = (a for a in arguments if hasattr(a, "__dataclass_fields__"))
        found = {key: getattr(made, key) for key in settings}
        assert {k: str(v) if isinstance(v, Path) else v for k, v in found.items()} == (
            settings
        )


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("train t -o r --aggregator max", 1,
         "aggregator is a setting of bag models and of models from pixels; this is "
         "about tile classifiers"),
        (BAGS + "--recipe best", 1, "recipe is a setting of tile classifiers"),
        (BAGS + "--set mixup=0.2", 1, "mixup is a setting of tile classifiers"),
        ("train t -o r --from-pixels", 1, "t: --from-pixels is for drawn bags"),
        ("train bags.parquet -o r --unit slide", 1, "leave --unit slide out"),
        ("train f -o r --cohort s.csv --unit tile", 1, "--unit tile is for folders of"),
        ("train t -o r --find-lr --unit slide", 1, "--find-lr is for tile classifiers"),
        ("train t -o r --unit bag", 2, "'bag' is not one of"),
        (BAGS + "--classes a", 1, "two classes or more are needed"),
        ("import folder s -o t --slide-map map.csv", 1, "slide_map is for"),
        ("import imagenet s -o t", 2, "'imagenet' is not one of"),
        ("predict r a -o o --sample s.csv", 2, "--sample is for --submission"),
        ("limit --plan --patients 9", 2, "--plan needs --patients and --prevalence"),
        ("limit f", 2, "FEATURES, TILES and -o are needed, or --plan"),
        ("limit f t -o l --train-witnesses all", 1, "'all'"),
        ("clean t -o c --rules ugly", 1, "ugly"),
        ("evaluate .", 1, "card.json"),
        ("train . -o r", 1, "'eosin import' has finished"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told(
    eosin, monkeypatch, tmp_path, line, code, words
):
    monkeypatch.chdir(tmp_path)
    done, text = eosin(*line.split())
    assert (done.exit_code, words in text) == (code, True), text
    assert not list(tmp_path.rglob("*.csv"))


@pytest.mark.parametrize(
    "line",
    [
        "train t -o r",
        "train t -o r --unit slide",
        "train t -o r --find-lr",
        "train bags.parquet -o r --from-pixels",
        "limit f t -o r",
    ],
)
def test_a_backend_that_is_not_there_is_told_before_anything_is_read(
    eosin, monkeypatch, tmp_path, line
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "tensorflow" else find(name, *more),
    )
    done, text = eosin(*line.split())
    assert isinstance(done.exception, MissingExtraError), text
    assert "eosin[train,tensorflow]" in text
    assert not list(tmp_path.iterdir())


def test_a_typo_is_told_with_the_nearest_name_before_keras_is_loaded():
    typos = {
        "train t -o r --set epoch=3": "'epochs'",
        "train t -o r --encoder mobilnetv2": "'mobilenetv2'",
        "train t -o r --recipe bst": "'best'",
        "train t -o r --unit slide --aggregator gated_atention": "'gated_attention'",
        "train t -o r --unit slide --encoder densenet12": "'densenet121'",
        "train bags.parquet -o r --from-pixels --encoder smalcnn": "'smallcnn'",
        "embed t -o f --set view=8": "'views'",
        "limit f t -o l --aggregators meen": "'mean'",
        "tile s.csv -o t --mpp 1 --set colour=red": "unknown setting: colour",
    }
    code = f"""
import sys
from eosin.cli.main import app
from eosin.core import ConfigError
for line, words in {typos}.items():
    try:
        app(line.split(), standalone_mode=False)
    except ConfigError as error:
        assert words in str(error), (line, str(error))
    else:
        raise AssertionError(line)
heavy = {{"keras", "torch", "onnxruntime", "sklearn"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_recipes_are_listed_and_another_encoder_is_said_aloud(
    eosin, monkeypatch, tmp_path
):
    _, text = eosin("train", "--list-recipes")
    assert all(name in text for name in RECIPES)
    assert "encoder = densenet169 or densenet121" in text

    def build(name, **_options):
        if name == "densenet169":
            raise ModelError("no network")

    monkeypatch.setattr(models, "build_encoder", build)
    words = ("-o", tmp_path / "r", "--recipe", "densenet-onecycle")
    _, text = eosin("train", tmp_path, *words)
    assert "Note: the recipe 'densenet-onecycle' asks for densenet169" in text
    assert "densenet121 is trained in its place: no network" in text


def test_a_plan_is_told_in_words(eosin):
    _, text = eosin("limit", "--plan", "--patients", 160, "--prevalence", 0.4)
    assert "64 patients with the finding, 96 without" in text
    assert "can be told from chance" in text
    few = ("--patients", 5, "--prevalence", 0.4, "--auc", 0.97)
    assert "no AUC can be told from a rival" in eosin("limit", "--plan", *few)[1]
    done, text = eosin("limit", "--plan", *few, "--bags", 20)
    assert (done.exit_code, "--plan studies nothing" in text) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        *(("tile",), ("train",), ("embed",), ("bags",), ("explore",), ("clean",)),
        *(("interpret",), ("import", "folder"), ("predict", "run")),
    ],
    ids=lambda words: words[0],
)
def test_an_output_folder_must_be_given(eosin, tmp_path, words):
    done, text = eosin(*words, tmp_path)
    assert (done.exit_code, "Missing option '-o'" in text) == (2, True)


def test_the_main_job_goes_from_slides_to_numbers(eosin, cohort, tmp_path):
    tiles, run = tmp_path / "tiles", tmp_path / "run"
    words = ("--mpp", 1, "--tile-px", 64, "--classes", "tumor=Tumor", "normal=Normal")
    done, text = eosin("tile", cohort.table, "-o", tiles, *words, "--pack")
    assert done.exit_code == 0, text
    assert "tiles of 10 slides" in text
    assert f"Next eosin train {tiles} -o run/" in text
    assert (tiles / "pack.arrow").exists()
    done, text = eosin("train", tiles, "-o", run, *TUNE)
    assert done.exit_code == 0, text
    assert "Tile ROC AUC on validation patients: " in text
    done, text = eosin("evaluate", run, "--resamples", 20)
    assert done.exit_code == 0, text
    assert "Colour alone, for comparison: tile roc auc" in text
    assert f"Next eosin predict {run} new_slides/ -o out/" in text
    assert (run / "evaluation" / "report.html").exists()
    done, text = eosin("predict", run, *cohort.new_slides, "-o", tmp_path / "out")
    assert done.exit_code == 0, text
    assert len(list((tmp_path / "out").glob("*.overlay.jpg"))) == 2
    # The same tiles with labels of slides alone, each its bag.
    bags = ("--unit", "slide", "--folds", 2, *SMALL[:4], "--set", "epochs=2")
    done, text = eosin("train", tiles, "-o", tmp_path / "mil", *bags)
    assert done.exit_code == 0, text
    assert "Slide ROC AUC on validation patients: " in text
    done, text = eosin("evaluate", tmp_path / "mil", "--resamples", 20)
    assert done.exit_code == 0, text
    # Each fold's own, and of slides and patients the same.
    assert "slides" in text
    assert "patients" in text


def test_bags_are_drawn_trained_and_called_bags(
    eosin, drawn_run, tile_folder, tmp_path
):
    words = ("--n-bags", 60, "--size", 6, "--witnesses", 3)
    done, text = eosin("bags", tile_folder, "-o", tmp_path / "b", *words)
    assert done.exit_code == 0, text
    assert "witness_tiles" in text
    assert f"Next eosin train {tmp_path / 'b'} -o run/ --from-pixels" in text
    table, info = read_bag_table(tmp_path / "b" / "bags.parquet")
    assert (table["bag_id"].nunique(), info.size) == (60, 6)
    done, text = eosin("evaluate", drawn_run.path, "-o", tmp_path / "e")
    assert done.exit_code == 0, text
    assert " bags " in text
    assert "Colour alone, for comparison: bag roc auc" in text
    assert " slides " not in text.split("Caution")[0]


@pytest.mark.parametrize("has_labels", [True, False])
def test_features_lead_to_what_their_labels_allow(
    eosin, tile_folder, tmp_path, has_labels
):
    tiles = tmp_path / "tiles"
    shutil.copytree(tile_folder, tiles)
    if not has_labels:
        slides = pd.read_csv(tiles / "slides.csv").assign(label=None)
        slides.to_csv(tiles / "slides.csv", index=False)
    out = tmp_path / "f"
    done, text = eosin("embed", tiles, "-o", out, *SMALL[:4])
    assert done.exit_code == 0, text
    assert "10 files of " in text
    assert (
        f"Next eosin train {out} --cohort {tiles / 'slides.csv'} -o run/ "
        "--classes normal tumor"
        if has_labels
        else f"Next eosin limit {out} {tiles} -o limit/"
    ) in text


def test_a_patch_that_cannot_be_read_gives_exit_code_1(eosin, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(8):
        path = tmp_path / "set" / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    bad = tmp_path / "set" / "class0" / "bad.png"
    bad.write_bytes(b"no image")
    done, text = eosin("import", "folder", tmp_path / "set", "-o", tmp_path / "a")
    assert done.exit_code == 1
    assert "such as class0/bad" in text
    bad.unlink()
    done, text = eosin("import", "folder", tmp_path / "set", "-o", tmp_path / "tiles")
    assert done.exit_code == 0, text
    assert "8 patches of 16 px of unknown mpp" in text
    assert "Caution: Nobody stated the resolution" in text
    (tmp_path / "set" / "class1" / "3.png").unlink()
    for command, words in (("explore", ()), ("clean", ("--rules", "blank"))):
        done, text = eosin(
            command, tmp_path / "tiles", "-o", tmp_path / command, *words
        )
        assert done.exit_code == 1
        assert "such as class1/3" in text
    done, text = eosin("clean", tmp_path / "tiles", "-o", tmp_path / "c")
    assert done.exit_code == 0, text
    assert "Dropped 1 of 8 tiles" in text


def test_slides_are_checked_and_a_bad_one_gives_exit_code_1(eosin, cohort, tmp_path):
    bad = tmp_path / "bad.svs"
    bad.write_bytes(b"not a slide")
    words = ("validate", cohort.new_slides[0], bad, "-o", tmp_path / "v.csv")
    done, text = eosin(*words)
    assert done.exit_code == 1
    assert "1 of 2 slides cannot be used" in text
    assert list(pd.read_csv(tmp_path / "v.csv")["status"]) == ["ok", "error"]
    assert eosin("validate", cohort.new_slides[0])[0].exit_code == 0


def test_something_missing_gives_exit_code_1(eosin, monkeypatch):
    done, text = eosin("doctor")
    assert done.exit_code == 0
    assert "OpenSlide" in text
    missing = [doctor.Finding("OpenSlide", "missing", "not here")]
    monkeypatch.setattr(doctor, "examine_machine", lambda _folder: missing)
    done, text = eosin("doctor")
    assert done.exit_code == 1
    assert "not here" in text


SMALL = ("--encoder", "smallcnn", "--weights", "none", "--set", "tune_epochs=3")
TUNE = (*SMALL, "--set", "tune_learning_rate=0.002")
CUT = ("--mpp", 1, "--tile-px", 64, "--workers", 1)


@pytest.mark.parametrize("command", ["tile", "train"])
def test_a_signal_ends_a_command_and_the_same_command_finishes_it(
    request, command, tmp_path, eosin, interrupt, read_results
):
    out, find = tmp_path / "out", request.getfixturevalue
    if command == "tile":
        given, whole = (find("cohort").table, *CUT), find("tile_folder")
        send, moment = signal.SIGTERM, "parts/*.json"
    else:
        given, whole = (find("tile_folder"), *TUNE), find("run_folder")
        send, moment = signal.SIGINT, "state/fold_0_0/fine_tune.npz"
    words = (command, *given, "-o", out)
    code, text = interrupt(*words, when=lambda: any(out.glob(moment)), send=send)
    assert code == 128 + send
    assert (
        text.strip().splitlines()[-1].endswith("same command again finishes the work.")
    )
    assert "Traceback" not in text
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert not (out / "tiles.parquet").exists()
    assert not (out / "card.json").exists()
    done, text = eosin(*words)
    assert done.exit_code == 0, text
    results, expected = read_results(out), read_results(whole)
    assert results.keys() == expected.keys()
    # A Keras file is a zip, which tells of time.
    assert {n for n in results if results[n] != expected[n]} <= {"model.keras"}
