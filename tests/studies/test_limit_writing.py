from dataclasses import dataclass, replace

import pandas as pd
import pytest

from eosin.studies.limit_tables import TABLES, LimitTables, find_cautions, write_tables


@dataclass(frozen=True)
class Tiles:
    splits: pd.DataFrame
    knows_patients: bool = True


TILES = Tiles(pd.DataFrame({"fold": [0], "slide_id": ["S"], "split": ["test"]}))
SOURCES = pd.DataFrame(
    {
        "side": ["train", "test", "test"],
        "patients_with_witnesses": [2, 5, 6],
        "witness_tiles": [10, 900, 600],
    }
)


def make_tables(auc):
    ceilings = pd.DataFrame({"source": ["features", "colour"], "instance_auc": auc})
    frame = pd.DataFrame({"value": [1 / 3]})
    return LimitTables(frame, frame, frame, ceilings)


def test_nothing_is_said_of_a_study_of_many_patients():
    assert not list(find_cautions(TILES, SOURCES, make_tables(0.69)))


def test_few_patients_are_counted_on_the_test_sides_alone():
    sources = SOURCES.assign(patients_with_witnesses=[2, 4, 6])
    (said,) = find_cautions(TILES, sources, make_tables(0.5))
    assert "1,500 witness tiles of 10 patients, 4 in the smallest fold" in said


def test_patients_that_nobody_knows_and_colour_are_cautions():
    tiles = replace(TILES, knows_patients=False)
    said = list(find_cautions(tiles, SOURCES, make_tables(0.7)))
    assert len(said) == 2
    assert "may share a patient" in said[0]
    assert "AUC of 0.70" in said[1]


def test_every_table_is_written(tmp_path):
    write_tables(tmp_path, TILES, tables=make_tables(0.5), sources=SOURCES)
    for name in TABLES:
        assert len(pd.read_csv(tmp_path / f"{name}.csv"))
    assert (tmp_path / "cells.csv").read_text() == "value\n0.333333\n"
    found = pd.read_csv(tmp_path / "ceilings.csv")["instance_auc"]
    assert found.iloc[0] == pytest.approx(0.5)
