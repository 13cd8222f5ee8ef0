import json
import shutil

import pandas as pd
import pytest

from eosin.bags import read_bag_table
from eosin.core import ManifestError, ModelError, RunError
from eosin.runs.run import find_logits, read_run


@pytest.fixture(scope="module")
def run(slides_run):
    return read_run(slides_run.path)


def test_what_is_no_finished_run_is_refused(slides_run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(slides_run.path, out)
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    with pytest.raises(ModelError, match="is interrupted, not done; run the same"):
        read_run(out)
    (out / "run.json").unlink()
    with pytest.raises(ModelError, match="not recorded, not done"):
        read_run(out)
    (out / "run.json").write_text(json.dumps(record))
    for name in ("fold_1/model_0.aggregator.onnx", "predictions.parquet"):
        (out / name).rename(out / "away")
        with pytest.raises(ModelError, match=f"{name} is missing; train again"):
            read_run(out)
        (out / "away").rename(out / name)
    assert read_run(out).sha256 == read_run(slides_run.path).sha256
    # What calls depend on is part of it.
    card = json.loads((out / "card.json").read_text())
    card["together"]["threshold"] = 0.999
    (out / "card.json").write_text(json.dumps(card))
    assert read_run(out).sha256 != read_run(slides_run.path).sha256


def test_ids_are_texts_and_keep_their_zeros(slides_run, tmp_path):
    shutil.copytree(slides_run.path, tmp_path / "run")
    splits = pd.read_csv(slides_run.path / "splits.csv", dtype=str)
    splits["patient_id"] = splits["patient_id"].replace("P3", "007")
    splits.to_csv(tmp_path / "run" / "splits.csv", index=False)
    run = read_run(tmp_path / "run")
    assert run.was_seen(patients=["007"])
    assert not run.was_seen(patients=["7"])
    # Another table may write the same person so.
    with pytest.raises(ManifestError, match=r"1 patient_id.*\(7\), whatever their"):
        run.require_unseen(
            pd.DataFrame({"patient_id": ["7"], "slide_id": ["y"]}), where="new.csv"
        )
    strangers = pd.DataFrame({"patient_id": ["70"], "slide_id": ["y"]})
    run.require_unseen(strangers, where="new.csv")
    with pytest.raises(ManifestError, match=r"new.csv.*1 patient_id.*\(007\)"):
        run.require_unseen(strangers.assign(patient_id="007"), where="new.csv")
    with pytest.raises(ManifestError, match=r"1 slide_id.*\(M3\)"):
        run.require_unseen(strangers.assign(slide_id="M3"), where="new.csv")


def test_seen_is_who_trained_or_validated(run, pixels_run):
    # With folds each patient has trained some model.
    assert run.was_seen(slides=["M1"], patients=["nobody"])
    assert run.was_seen(patients=["P1"])
    assert not run.was_seen(slides=["new"], patients=["nobody"])
    drawn = read_run(pixels_run.path)
    table, _ = read_bag_table(pixels_run.data / "bags.parquet")
    # Bags of other tables have the same names.
    assert not drawn.was_seen(slides=["train-00000"])
    for split, rows in table.groupby("split"):
        is_seen = split != "test"
        assert drawn.was_seen(patients=rows["patient_id"][:1]) == is_seen
        assert drawn.was_seen(slides=rows["slide_id"][:1]) == is_seen


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b"[]"),
        ("run.json", b'{"status": "done", "notes": 3}'),
        ("run.json", b"{" * 100_000),
        ("card.json", b"[1e999]"),
        ("splits.csv", b"a,b\n1,2\n"),
        ("splits.csv", b"\xff\xfe\x00"),
        ("predictions.parquet", b"PAR1" + bytes(100) + b"PAR1"),
    ],
)
def test_a_file_of_a_run_that_is_damaged_is_named(slides_run, tmp_path, name, content):
    shutil.copytree(slides_run.path, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)

    def read():
        run = read_run(tmp_path / "run")
        return run.splits, run.held_out

    with pytest.raises((ModelError, RunError), match=name):
        read()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": 9}, "a fold is none of"),
        ({"logit_0": float("nan")}, "not finite"),
        ({"logit_0": "a"}, "could not convert"),
        ({"logit_7": 0.0}, "logit_0, .*logit_7 of 2 classes"),
    ],
)
def test_predictions_that_others_changed_are_refused(
    slides_run, tmp_path, change, message
):
    shutil.copytree(slides_run.path, tmp_path / "run")
    path = tmp_path / "run" / "predictions.parquet"
    pd.read_parquet(path).assign(**change).to_parquet(path)
    with pytest.raises(ModelError, match=rf"predictions.parquet: .*{message}"):
        _ = read_run(tmp_path / "run").held_out


def test_the_order_of_the_columns_of_predictions_does_not_matter(slides_run, tmp_path):
    shutil.copytree(slides_run.path, tmp_path / "run")
    path = tmp_path / "run" / "predictions.parquet"
    table = pd.read_parquet(path)
    table[table.columns[::-1]].to_parquet(path)
    wanted, found = (
        find_logits(read_run(r).held_out) for r in (slides_run.path, tmp_path / "run")
    )
    assert (wanted == found).all()


def test_splits_that_were_cut_are_refused(slides_run, tmp_path):
    shutil.copytree(slides_run.path, tmp_path / "run")
    path = tmp_path / "run" / "splits.csv"
    path.write_text(path.read_text().rpartition(",")[0])
    with pytest.raises(ModelError, match=r"splits.csv: .*a row is in no split"):
        _ = read_run(tmp_path / "run").splits
