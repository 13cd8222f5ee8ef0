import shutil
from contextlib import nullcontext
from dataclasses import replace

import pandas as pd
import pytest

from eosin.core import Progress, RunError, Task, read_json, write_json
from eosin.settings import LimitSettings
from eosin.workflows import limit as module
from eosin.workflows.limit import study_limit

CONFIG = LimitSettings(
    bag_size=8,
    witnesses=(4, 2, 1),
    bags=(20, 60),
    aggregators=("likelihood_ratio",),
    seeds=(0, 1),
    train_witnesses=("mixture",),
    folds=2,
    val_bags=40,
    test_bags=60,
    n_resamples=5,
    resample_bags=20,
    components=4,
    widths=(8,),
    epochs=10,
    learning_rate=2e-2,
    batch=10,
)
SMALL = replace(CONFIG, bags=(40,), seeds=(0,), epochs=4)
TABLES = ("cells", "summary", "limits", "ceilings", "sources", "splits")


@pytest.fixture(scope="module")
def separable(make_planted):
    return make_planted(4.0)


@pytest.fixture(scope="module")
def study(separable, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "limit"
    return study_limit(*separable, out, CONFIG)


def read_tables(folder):
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in TABLES}
    return {n: t.drop(columns="seconds", errors="ignore") for n, t in tables.items()}


def test_what_stands_apart_is_found_at_the_smallest_rate(study):
    limits = study.tables.limits.set_index(["aggregator", "bags"])
    best = limits.loc[("likelihood_ratio", 60)]
    assert best["limit"] == "\N{LESS-THAN OR EQUAL TO} 1 of 8"
    assert best["rate"] == 1 / 8
    own = study.tables.ceilings
    own = own[own["source"] == "features"]
    assert (own["instance_auc"] > 0.99).all()
    assert (own["roc_auc"] > 0.99).all()
    # Colour is the same for all.
    colour = study.tables.ceilings[study.tables.ceilings["source"] == "colour"]
    assert abs(colour["roc_auc"] - 0.5).max() < 0.15


def test_every_cell_has_its_row_and_its_file(study):
    table = study.tables.cells
    assert len(table) == 2 * 2 * 3
    keys = ["training", "bags", "aggregator", "seed", "witnesses"]
    assert not table[keys].duplicated().any()
    # Half of the 60 test bags of each of two folds are positive.
    assert (table["true_positive"] + table["false_negative"] == 60).all()
    assert (table["true_negative"] + table["false_positive"] == 60).all()
    assert len(list((study.folder / "cells").glob("mixture_*.json"))) == 8
    summary = study.tables.summary
    assert len(summary) == 2 * 3
    assert (summary["seeds"] == 2).all()
    assert (summary["sensitivity_low"] <= summary["sensitivity_high"]).all()


def test_sources_cautions_and_figures_are_told(study):
    test = study.sources[study.sources["side"] == "test"]
    assert test["patients"].sum() == 12
    assert test["patients_with_witnesses"].sum() == 6
    assert test["witness_tiles"].sum() == 6 * 12
    assert "72 witness tiles of 6 patients, 3 in the smallest" in study.cautions[0]
    record = read_json(study.folder / "run.json")
    assert record["status"] == "done"
    assert record["notes"]["cautions"] == list(study.cautions)
    assert len(record["notes"]["limits"]) == 2
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert "Limit of detection: tumor" in page
    names = {path.name for path in (study.folder / "figures").iterdir()}
    assert names == {"sensitivity.png", "auc.png", "attention.png"}


def test_what_is_alike_is_not_found(make_planted, tmp_path):
    result = study_limit(*make_planted(0.0), tmp_path / "out", SMALL)
    (limit,) = result.tables.limits.to_dict("records")
    assert limit["limit"] == limit["interval"] == "not reached"
    assert limit["rate"] is None
    assert (abs(result.tables.summary["roc_auc"] - 0.5) < 0.2).all()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "At no witness rate are bags found" in page


def test_patients_that_the_encoder_learnt_from_are_a_caution(make_planted, tmp_path):
    features, tiles = make_planted(1.0)
    learnt = {"run": "runs/a", "patients": ["P00", "P05"], "slides": ["S07"]}
    write_json(features / "run.json", {"notes": {"encoder_learnt_from": learnt}})
    result = study_limit(features, tiles, tmp_path / "out", SMALL)
    said = result.cautions[0]
    assert "3 of these 12 patients (P00, P05, P07)" in said
    record = read_json(tmp_path / "out" / "run.json")
    assert record["notes"]["cautions"][0] == said
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "3 of these 12 patients" in page


class Killer(Progress):
    """Ends the study after so many cells."""

    def __init__(self, n):
        self.left, self.notes = n, []

    def task(self, name, total):
        killer = self

        class Counting(Task):
            def advance(self, n=1, note=""):
                if note:
                    killer.notes.append(note)
                    killer.left -= 1
                if killer.left == 0:
                    raise KeyboardInterrupt

        return nullcontext(Counting())


def test_a_killed_study_goes_on_and_ends_alike(separable, study, tmp_path, monkeypatch):
    killer = Killer(3)
    with pytest.raises(KeyboardInterrupt):
        study_limit(*separable, tmp_path / "out", CONFIG, progress=killer)
    assert killer.notes[0].startswith("about ")
    assert read_json(tmp_path / "out" / "run.json")["status"] == "interrupted"
    done = {path.name for path in (tmp_path / "out" / "cells").glob("mixture_*")}
    assert len(done) == 3
    run, again = module.run_cell, []

    def count(cell, *rest):
        again.append(f"{cell.name}.json")
        return run(cell, *rest)

    monkeypatch.setattr(module, "run_cell", count)
    resumed = study_limit(*separable, tmp_path / "out", CONFIG)
    assert len(again) == 5
    assert not done & set(again)
    unbroken, broken = read_tables(study.folder), read_tables(resumed.folder)
    for name in TABLES:
        pd.testing.assert_frame_equal(broken[name], unbroken[name])


def test_a_finished_study_is_read_again(separable, study, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_cell", None)
    before = (study.folder / "report.html").stat().st_mtime_ns
    again = study_limit(*separable, study.folder, CONFIG)
    assert (study.folder / "report.html").stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(again.tables.limits, study.tables.limits)
    with pytest.raises(RunError, match=r"power was 0\.9, is 0\.8"):
        study_limit(*separable, study.folder, replace(CONFIG, power=0.8))
    # A page that is gone is written again.
    shutil.copytree(study.folder, tmp_path / "copy")
    (tmp_path / "copy" / "report.html").unlink()
    study_limit(*separable, tmp_path / "copy", CONFIG)
    assert (tmp_path / "copy" / "report.html").exists()


def test_one_split_without_folds_is_enough(separable, tmp_path):
    config = replace(SMALL, folds=1, test_fraction=0.4, val_fraction=0.3)
    result = study_limit(*separable, tmp_path / "out", config)
    assert len(result.sources) == 3
    assert "one split by patient" in (tmp_path / "out" / "report.html").read_text()
