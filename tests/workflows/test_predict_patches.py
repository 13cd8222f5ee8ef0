import shutil
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from eosin.core import CohortError, ConfigError, ModelError, RunError
from eosin.evaluation import read_predictions
from eosin.inference import open_session, read_card
from eosin.workflows import patch_scores
from eosin.workflows.import_patches import ImportConfig, import_patches
from eosin.workflows.predict_patches import PatchPredictConfig, predict_patches
from eosin.workflows.submission import Submission
from eosin.workflows.train_tiles import TrainConfig, train_classifier

PX = 32
N_TEST = 7


def paint(seed, label=0):
    """Paint a patch: nuclei on stroma, many of them where the label is 1."""
    rng = np.random.default_rng(seed)
    image = np.full((PX, PX, 3), (225, 190, 215), np.uint8)
    for x, y in rng.integers(0, PX, (20 if label else 5, 2)).tolist():
        cv2.circle(image, (x, y), 3, (110, 60, 130), -1)
    noise = rng.integers(-12, 13, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels[..., ::-1])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Kaggle's layout in `set`, its `tiles`, and a `run` of two folds."""
    folder = tmp_path_factory.mktemp("patches")
    lines = ["id,label"]
    for i in range(40):
        save(folder / "set" / "train" / f"p{i:02d}.tif", paint(i, i % 2))
        lines.append(f"p{i:02d},{i % 2}")
    for i in range(N_TEST):
        save(folder / "set" / "test" / f"q{i}.tif", paint(1000 + i, i % 2))
    (folder / "set" / "train_labels.csv").write_text("\n".join(lines))
    import_patches(folder / "set", ImportConfig(layout="kaggle"), folder / "tiles")
    config = TrainConfig(
        encoder="smallcnn",
        weights="none",
        folds=2,
        tune_epochs=2,
        tune_learning_rate=3e-3,
    )
    train_classifier(folder / "tiles", config, folder / "run")
    return folder


def predict(study, out, given="tiles", submission=None, **options):
    return predict_patches(
        study / "run",
        [study / given],
        PatchPredictConfig(**options),
        out,
        submission=submission,
    )


def test_probabilities_are_the_mean_of_folds_and_views(study, tmp_path):
    result = predict(study, tmp_path / "out", views=8)
    card = read_card(study / "run")
    paths = sorted((study / "set" / "test").iterdir())
    tiles = np.stack([cv2.imread(str(path))[..., ::-1] for path in paths])
    expected = []
    for name in card.models:
        session = open_session(study / "run" / name)
        logits = []
        for flipped in (tiles, tiles[:, :, ::-1]):
            for turns in range(4):
                turned = np.ascontiguousarray(np.rot90(flipped, turns, axes=(1, 2)))
                logits.append(session.run(turned)["logits"][:, 0])
        mean = np.mean(logits, axis=0) / card.temperature
        expected.append(1 / (1 + np.exp(-mean)))
    assert len(expected) == 2
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert table["id"].tolist() == [f"q{i}" for i in range(N_TEST)]
    assert table["file"].tolist()[0] == "test/q0.tif"
    positive = table["probability_tumor"]
    np.testing.assert_allclose(positive, np.mean(expected, axis=0), rtol=1e-5)
    is_called = positive >= card.tile_threshold
    assert (table["called"] == np.where(is_called, "tumor", "normal")).all()
    assert result.called == table["called"].value_counts().to_dict()
    assert (result.n_patches, result.n_failed) == (N_TEST, 0)


def test_the_parquet_table_is_one_of_predictions(study, tmp_path):
    predict(study, tmp_path)
    table, names = read_predictions(tmp_path / "predictions.parquet")
    assert names == ("normal", "tumor")
    assert set(table["split"]) == {"external"}
    simple = pd.read_csv(tmp_path / "predictions.csv")
    assert table["probability_tumor"].tolist() == simple["probability_tumor"].tolist()


def test_a_folder_of_images_gives_what_its_import_gives(study, tmp_path):
    predict(study, tmp_path / "a", given="tiles")
    predict(study, tmp_path / "b", given="set/test")
    imported, plain = (
        pd.read_csv(tmp_path / name / "predictions.csv") for name in "ab"
    )
    columns = ["id", "called", "probability_tumor"]
    pd.testing.assert_frame_equal(imported[columns], plain[columns])


def test_a_submission_holds_the_sample_ids_in_their_order(study, tmp_path):
    ids = [f"q{i}" for i in range(N_TEST)][::-1]
    sample = tmp_path / "sample.csv"
    sample.write_text("id,label\n" + "".join(f"{name},0\n" for name in ids))
    asked = Submission(tmp_path / "submission.csv", sample)
    result = predict(study, tmp_path / "out", submission=asked)
    assert result.submission == asked.path
    assert result.checked_against == sample
    written = pd.read_csv(asked.path)
    assert list(written.columns) == ["id", "label"]
    assert written["id"].tolist() == ids
    table = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("id")
    assert written["label"].tolist() == table.loc[ids, "probability_tumor"].tolist()


def test_finished_work_gives_a_submission_without_a_model(study, tmp_path, monkeypatch):
    first = predict(study, tmp_path / "out")
    monkeypatch.setattr(patch_scores, "score_tiles", None)
    asked = Submission(tmp_path / "submission.csv")
    second = predict(study, tmp_path / "out", submission=asked)
    assert second.called == first.called
    assert second.checked_against == study.resolve() / "set" / "test"
    assert len(pd.read_csv(asked.path)) == N_TEST


def test_ids_are_checked_before_anything_is_scored(study, tmp_path):
    sample = tmp_path / "sample.csv"
    sample.write_text("id,label\nq0,0\nzz,0\n")
    asked = Submission(tmp_path / "submission.csv", sample)
    with pytest.raises(CohortError, match=r"1 of 2 ids .*\(zz\)") as caught:
        predict(study, tmp_path / "out", submission=asked)
    assert "6 patches are not in" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not asked.path.exists()


def test_a_submission_lacking_an_unreadable_patch_is_not_written(study, tmp_path):
    shutil.copytree(study / "set" / "test", tmp_path / "test")
    (tmp_path / "test" / "q3.tif").write_bytes(b"no image")
    asked = Submission(tmp_path / "submission.csv")
    given = [tmp_path / "test"]
    config = PatchPredictConfig()
    with pytest.raises(CohortError, match=r"1 of 7 ids .*no prediction \(q3\)"):
        predict_patches(
            study / "run", given, config, tmp_path / "out", submission=asked
        )
    assert not asked.path.exists()
    failures = pd.read_csv(tmp_path / "out" / "failures.csv")
    assert failures["id"].tolist() == ["q3"]
    assert "no image that can be read" in failures["message"][0]
    result = predict_patches(study / "run", given, config, tmp_path / "out")
    assert (result.n_patches, result.n_failed) == (N_TEST, 1)
    assert [failure.slide_id for failure in result.failures] == ["q3"]
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == N_TEST - 1


def test_a_folder_of_which_nothing_can_be_read_is_an_error(study, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(CohortError, match="not one of 1 patches can be read"):
        predict_patches(
            study / "run", [tmp_path], PatchPredictConfig(), tmp_path / "out"
        )


def test_two_files_of_one_id_are_refused(study, tmp_path):
    for suffix in ("png", "tif"):
        save(tmp_path / f"a.{suffix}", paint(0))
    with pytest.raises(CohortError, match=r"1 ids stand for several files \(a\)"):
        predict_patches(
            study / "run", [tmp_path], PatchPredictConfig(), tmp_path / "out"
        )


def test_an_interrupted_call_ends_like_an_unbroken_one(study, tmp_path, monkeypatch):
    monkeypatch.setattr(patch_scores, "_PART", 2)
    real, calls = patch_scores.score_tiles, []

    def stop(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(patch_scores, "score_tiles", stop)
    with pytest.raises(KeyboardInterrupt):
        predict(study, tmp_path / "out")
    assert not (tmp_path / "out" / "predictions.csv").exists()
    predict(study, tmp_path / "out")
    assert len(calls) == 5
    predict(study, tmp_path / "whole")
    for name in ("predictions.csv", "predictions.parquet", "failures.csv"):
        broken, whole = (tmp_path / place / name for place in ("out", "whole"))
        assert broken.read_bytes() == whole.read_bytes()


def test_other_settings_stop_unless_overwriting_is_allowed(study, tmp_path):
    predict(study, tmp_path)
    with pytest.raises(RunError, match="views was None, is 2"):
        predict(study, tmp_path, views=2)
    result = predict_patches(
        study / "run",
        [study / "tiles"],
        PatchPredictConfig(views=2),
        tmp_path,
        overwrite=True,
    )
    assert result.n_patches == N_TEST


def test_a_submission_needs_two_classes(study, tmp_path):
    shutil.copytree(study / "run", tmp_path / "run")
    card = read_card(study / "run")
    replace(card, class_names=("a", "b", "c")).write(tmp_path / "run")
    with pytest.raises(ModelError, match="this model has 3: a, b, c"):
        predict_patches(
            tmp_path / "run",
            [study / "tiles"],
            PatchPredictConfig(),
            tmp_path / "out",
            submission=Submission(tmp_path / "s.csv"),
        )


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="batch must be 1"):
        PatchPredictConfig(batch=0)


def test_prediction_imports_neither_keras_nor_torch(study, tmp_path):
    code = (
        "import sys; from pathlib import Path;"
        "from eosin.workflows.predict_patches import *;"
        "from eosin.workflows.predict_patches import PatchPredictConfig as C;"
        "run, tiles, out = map(Path, sys.argv[1:]);"
        "predict_patches(run, [tiles], C(), out);"
        "bad = {'keras', 'torch', 'matplotlib'} & set(sys.modules);"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    places = [str(p) for p in (study / "run", study / "tiles", tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *places],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
