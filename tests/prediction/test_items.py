import shutil
from dataclasses import replace

import pandas as pd
import pytest

from eosin.core import CohortError, ConfigError, ManifestError, ModelError
from eosin.prediction.items import list_items, say_what_was_learnt
from eosin.runs.run import read_run
from eosin.settings import PredictionSettings

SETTINGS = PredictionSettings()


def change(run, **changed):
    return replace(run, card=replace(run.card, **changed))


def list_them(run, *what, settings=SETTINGS, **options):
    return list_items(run, what, settings, **options).items


def test_slides_are_grouped_by_what_is_called(encoded_run, cohort, tmp_path):
    run = read_run(encoded_run.path)
    rows = [f"{path.stem},{path},P,{i}" for i, path in enumerate(cohort.new_slides)]
    table = tmp_path / "new.csv"
    table.write_text("\n".join(["slide_id,path,patient_id,age", *rows]))
    items = list_them(run, table)
    assert [item.item_id for item in items] == ["new-1", "new-2"]
    assert items[0].rows == [
        {
            "slide_id": "new-1",
            "patient_id": "P",
            "path": str(cohort.new_slides[0]),
            "status": "failed",
        }
    ]
    by_patient = change(run, unit="patient")
    (item,) = list_them(by_patient, table)
    assert (item.item_id, len(item.sources)) == ("P", 2)
    # Files alone say nothing of patients.
    assert len(list_them(by_patient, *cohort.new_slides)) == 2


def test_clinical_columns_come_from_the_slide_table(encoded_run, cohort, tmp_path):
    run = change(read_run(encoded_run.path), columns=("age",))
    keys = []
    for age in (61, 62):
        path = tmp_path / f"{age}.csv"
        path.write_text(f"slide_id,path,age\na,{cohort.new_slides[0]},{age}\n")
        (item,) = list_them(run, path)
        assert item.clinical == {"age": str(age)}
        keys.append(item.key)
    # Another age is another result.
    assert keys[0] != keys[1]
    with pytest.raises(ConfigError, match="take age beside the tiles"):
        list_them(run, *cohort.new_slides)


def test_a_slide_without_features_is_given_up_by_itself(mil_study, tmp_path):
    run = change(read_run(mil_study / "run"), unit="patient")
    table = pd.read_csv(mil_study / "slides.csv").iloc[[1, 13]]
    table.loc[99] = {"slide_id": "gone", "path": "gone.tif", "patient_id": "P1"}
    table.to_csv(tmp_path / "slides.csv", index=False)
    items = list_them(run, mil_study / "features", cohort=tmp_path / "slides.csv")
    assert [item.item_id for item in items] == ["P1", "gone"]
    (source,) = items[1].sources
    with pytest.raises(ManifestError, match="gone: has no feature file"), source.open():
        pass
    # Slides of a table that are not at hand cost pictures alone.
    for source in items[0].sources:
        with source.open() as opened:
            assert (opened.slide, opened.place.mpp) == (None, 1.0)


def test_slides_of_features_are_found_where_they_were_tiled(mil_study, tmp_path):
    run = read_run(mil_study / "run")
    (first, *_) = list_them(run, mil_study / "features")
    (source,) = first.sources
    with source.open() as opened:
        assert (opened.name, opened.slide.mpp) == ("M0", 1.0)
    moved = tmp_path / "moved"
    shutil.copytree(mil_study / "features", moved)
    (moved / "run.json").unlink()
    (source,) = list_them(run, moved)[0].sources
    with source.open() as opened:
        assert opened.problem.startswith("the slide is not at hand")
    damaged = tmp_path / "damaged.tif"
    damaged.write_bytes(b"no slide")
    table = pd.read_csv(mil_study / "slides.csv").assign(path=damaged).iloc[:1]
    table.to_csv(tmp_path / "slides.csv", index=False)
    (item,) = list_them(run, moved, cohort=tmp_path / "slides.csv")
    with item.sources[0].open() as opened:
        assert opened.problem.startswith("the slide cannot be read")
        assert opened.place is not None


def test_a_folder_of_both_means_what_the_models_can_take(
    mil_study, encoded_run, tmp_path
):
    both = tmp_path / "both"
    shutil.copytree(mil_study / "features", both)
    shutil.copy(mil_study / "M1.tif", both)
    slides = list_them(read_run(encoded_run.path), both)
    assert [item.item_id for item in slides] == ["M1"]
    assert len(list_them(read_run(mil_study / "run"), both)) == 14


def test_what_cannot_be_meant_is_said(mil_study, encoded_run, tile_folder, tmp_path):
    features, encoded = read_run(mil_study / "run"), read_run(encoded_run.path)
    slide = mil_study / "M1.tif"
    with pytest.raises(ModelError, match="no encoder is with them"):
        list_them(features, slide)
    with pytest.raises(ConfigError, match="tile_px0 is for feature files"):
        list_them(encoded, slide, settings=PredictionSettings(tile_px0=9))
    with pytest.raises(ConfigError, match="give the slide table in their place"):
        list_them(encoded, slide, cohort=mil_study / "slides.csv")
    silent = change(encoded, sees=replace(encoded.card.sees, mpp=None))
    with pytest.raises(ModelError, match="nobody stated it"):
        list_them(silent, slide)
    with pytest.raises(ManifestError, match="no feature file"):
        list_them(features, tmp_path)
    other = change(features, sees=replace(features.card.sees, encoder="conch"))
    with pytest.raises(ModelError, match=r"features of conch, .*embed the slides"):
        list_them(other, mil_study / "features")
    for learner in ("tiles", "pixels"):
        with pytest.raises(ModelError, match="take tiles, not features"):
            list_them(change(encoded, learner=learner), mil_study / "features")
    for run in (encoded, change(encoded, learner="pixels")):
        with pytest.raises(CohortError, match="no slide in this folder"):
            list_them(run, tmp_path)
    assert len(list_them(encoded, tile_folder)) == 10


def test_what_was_learnt_is_told_in_words(pixels_run):
    run = change(read_run(pixels_run.path), bag_size=40, witnesses=(20, 5))
    text = say_what_was_learnt(run, "slide")
    assert "drawn bags of 40 tiles, positive ones with 20, 5 witnesses" in text
    of_slides = change(run, unit="patient", bag_size=None, witnesses=())
    text = say_what_was_learnt(of_slides, "bag")
    assert "learnt from whole slides, each patient a bag. A bag here has" in text
