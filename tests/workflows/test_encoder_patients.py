import pandas as pd
import pytest

from eosin.core import write_json
from eosin.workflows.encoder_patients import (
    caution_learnt,
    find_depth,
    find_learnt,
    note_learnt,
)


def make_run(folder, **settings):
    folder.mkdir(exist_ok=True)
    write_json(folder / "run.json", {"settings": settings})
    rows = {
        "slide_id": ["A1", "A2", "B", "C"],
        "patient_id": ["007", "007", "B", "C"],
        "split": ["train", "train", "val", "test"],
    }
    pd.DataFrame(rows).to_csv(folder / "splits.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("fine_tune", "weights", "depth"),
    [
        ("none", "none", "none"),
        ("last", "imagenet", "last"),
        # What "auto" does is written in the settings of 'eosin train'.
        ("auto", "imagenet", "none"),
        ("auto", "none", "all"),
    ],
)
def test_a_fine_tuned_encoder_has_learnt_and_a_frozen_one_nothing(
    tmp_path, fine_tune, weights, depth
):
    settings = {"fine_tune": fine_tune, "weights": weights}
    assert find_depth(settings) == depth
    found = find_learnt(make_run(tmp_path, **settings))
    if depth == "none":
        assert found == {}
    else:
        # Ids are text; who was held out taught nothing.
        assert found["patients"] == ["007", "B"]
        assert found["slides"] == ["A1", "A2", "B"]


def test_of_a_run_that_does_not_say_it_nothing_is_known(tmp_path):
    assert find_learnt(tmp_path) == {}
    assert note_learnt({}) == {}
    run = make_run(tmp_path, fine_tune="all")
    (run / "splits.csv").unlink()
    assert find_learnt(run) == {}


def test_patients_are_found_by_their_own_name_or_a_slides(tmp_path):
    learnt = find_learnt(make_run(tmp_path / "run", fine_tune="all"))
    features = tmp_path / "features"
    slides = pd.DataFrame(
        {"slide_id": ["X", "Y", "A2", "Z"], "patient_id": ["007", "Q", "S", "S"]}
    )
    # Features of another tool have no record.
    assert caution_learnt(features, slides) == ()
    write_json(features / "run.json", {"notes": {}})
    assert caution_learnt(features, slides) == ()
    write_json(features / "run.json", {"notes": note_learnt(learnt)})
    (said,) = caution_learnt(features, slides)
    assert "2 of these 3 patients (007, S)" in said
    assert str(tmp_path / "run") in said
    assert caution_learnt(features, slides.iloc[[1, 3]]) == ()
