import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from eosin.core import ModelError
from eosin.runs.card import Card, FoldCard, Sees

SEES = Sees(encoder="uni", encoder_sha256="a", mpp=0.5, tile_px=224)


def make_card(**words):
    fold = FoldCard(models=("fold_0/model_0", "fold_0/model_1"), temperature=1.5)
    usual = {
        "learner": "bags",
        "unit": "slide",
        "class_names": ("normal", "tumor"),
        "sees": SEES,
        "folds": (fold, replace(fold, models=("fold_1/model_0",))),
        "together": FoldCard(threshold=0.4),
        "threshold_rule": "youden",
    }
    return Card(**usual | words)


def test_a_card_is_read_as_it_was_written(tmp_path):
    card = make_card(
        columns=("age",),
        witnesses=(3, 1),
        training_data={"n_slides": 8},
        together=FoldCard(
            settings={"aggregator": "max"},
            clinical=({"name": "age"},),
            cautions=("A.",),
        ),
    )
    card.write(tmp_path)
    assert Card.read(tmp_path) == card


def test_a_card_from_before_a_field_is_read_and_written_alike(tmp_path):
    plain = make_card()
    plain.write(tmp_path)
    assert "class_spelling" not in json.loads((tmp_path / "card.json").read_text())
    assert Card.read(tmp_path) == plain
    spelt = make_card(class_spelling={"tumor": "Tumor"})
    spelt.write(tmp_path)
    assert Card.read(tmp_path) == spelt


@pytest.mark.parametrize(
    "damage",
    [{"sees": []}, {"folds": {"a": 1}}, {"folds": [1]}, {"sees": {"x": 1}}],
)
def test_a_damaged_card_is_told(tmp_path, damage):
    make_card().write(tmp_path)
    path = tmp_path / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(ModelError, match=r"card\.json: is damaged.*train again"):
        Card.read(tmp_path)


def test_a_card_lists_the_files_that_predictions_need():
    card = make_card()
    assert card.models == ("fold_0/model_0", "fold_0/model_1", "fold_1/model_0")
    assert card.list_model_files()[:2] == (
        "fold_0/model_0.projection.onnx",
        "fold_0/model_0.aggregator.onnx",
    )
    assert len(card.list_model_files()) == 6
    tiles = make_card(learner="tiles", folds=(FoldCard(models=("model.onnx",)),))
    assert tiles.list_model_files() == ("model.onnx",)
    assert (card.is_cross_validated, tiles.is_cross_validated) == (True, False)
    assert (card.takes_pixels, tiles.takes_pixels) == (False, True)


def test_made_slides_are_told_whoever_they_taught():
    made, real = SimpleNamespace(is_made=True), SimpleNamespace(is_made=False)
    card = make_card()
    assert card.caution_made() == card.caution_made(real) == ()
    assert card.caution_made(made)[0].startswith("These slides were made by a comp")
    taught = make_card(is_made_data=True)
    (caution,) = taught.caution_made(made)
    assert taught.caution_made() == taught.caution_made(real) == (caution,)
    assert caution.startswith("The models learnt from slides that were made")


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"format": None}, {"colour": "red"}], ids=str
)
def test_a_card_of_another_version_is_refused_with_the_way_out(tmp_path, change):
    make_card().write(tmp_path)
    path = tmp_path / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=r"card\.json.*another version.*train again"):
        Card.read(tmp_path)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", r"unfinished, as it has no card\.json; run the same 'eosin train'"),
        ("tile", "written by 'eosin tile'; name the run folder first"),
        (None, r"has no card\.json; name the run folder first"),
    ],
)
def test_what_is_no_finished_training_is_told_apart(tmp_path, command, words):
    if command:
        (tmp_path / "run.json").write_text(json.dumps({"command": command}))
    with pytest.raises(ModelError, match=words):
        Card.read(tmp_path)
    (tmp_path / "slides.csv").write_text("path\n")
    for name, found in (("slides.csv", "is a file"), ("gone", "does not exist")):
        with pytest.raises(ModelError, match=f"and this {found}; name the run"):
            Card.read(tmp_path / name)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({}, ""),
        # Scanners are not exact; what nobody says is not compared.
        ({"mpp": 0.54}, ""),
        ({"mpp": None, "tile_px": None, "encoder": None, "encoder_sha256": None}, ""),
        ({"mpp": 0.56}, "mpp 0.5, these have 0.56"),
        ({"tile_px": 96}, "tile_px 224, these have 96"),
        ({"context": 2}, "context 1, these have 2"),
        # What is computed counts more than what it is called.
        ({"encoder": "conch"}, ""),
        (
            {"encoder": "conch", "encoder_sha256": None},
            "features of uni, these are of conch",
        ),
        ({"encoder": "UNI_v1", "encoder_sha256": None}, ""),
        ({"encoder_sha256": "b"}, "features of uni with other weights"),
    ],
)
def test_every_difference_of_tiles_and_features_is_named(other, words):
    assert "; ".join(SEES.find_differences(replace(SEES, **other))) == words


def test_slides_cannot_be_cut_where_nobody_stated_how():
    assert (SEES.spec.mpp, SEES.spec.tile_px) == (0.5, 224)
    for missing, word in (("mpp", "resolution"), ("tile_px", "side")):
        with pytest.raises(ModelError, match=f"needs the {word} of the tiles"):
            _ = replace(SEES, **{missing: None}).spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "slides"}, "must be"),
        ({"sees": {"mpp": "0.5"}}, "must be float or NoneType, got '0.5'"),
        ({"sees": {"mpps": 0.5}}, "mpps"),
        ({"sees": {"mpp": -0.5}}, "mpp must be above 0, got -0.5"),
        ({"together": {"temperature": -1}}, "temperature must be above 0, got -1"),
        ({"class_names": ["a", "a"]}, "name of its own, got a, a"),
        ({"folds": 3}, "is damaged"),
        ({"together": {"threshold": [0.5]}}, "must be float"),
        ({"folds": [{"models": ["../other/model_0"]}]}, "outside of its folder"),
        ({"folds": [{"models": ["/tmp/model_0"]}]}, "outside of its folder"),
    ],
)
def test_a_card_that_others_changed_is_refused_by_name(tmp_path, change, message):
    make_card().write(tmp_path)
    path = tmp_path / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=rf"card.json: .*{message}"):
        Card.read(tmp_path)
