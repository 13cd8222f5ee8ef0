from dataclasses import replace

import pytest

from eosin.core import ModelError, read_json, write_json
from eosin.inference import CARD_FILE, ModelCard, hash_models, read_card


@pytest.fixture
def card(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"model")
    return ModelCard(
        class_names=("normal", "tumour"),
        encoder="smallcnn",
        weights="none",
        encoder_licence="Apache-2.0",
        mpp=0.5,
        tile_px=256,
        overlap_px=0,
        context=1.0,
        tissue="otsu",
        min_tissue=0.25,
        models=("model.onnx",),
        views=4,
        temperature=1.3,
        tile_threshold=0.4,
        slide_threshold=None,
        aggregation_share=0.1,
        threshold_rule="youden",
        cautions=("few patients",),
        training_data={"tiles": "ab12"},
        is_made_data=True,
    )


def test_a_card_comes_back_as_it_was_written(card, tmp_path):
    card.write(tmp_path)
    assert read_card(tmp_path) == card


def test_a_folder_without_a_card_says_what_to_do(tmp_path):
    with pytest.raises(ModelError, match="run 'eosin train' again"):
        read_card(tmp_path)


def test_a_card_of_another_version_is_refused(card, tmp_path):
    card.write(tmp_path)
    content = read_json(tmp_path / CARD_FILE)
    without = {name: content[name] for name in content if name != "views"}
    for other in ({**content, "format": 99}, {**content, "new": 1}, without, ["card"]):
        write_json(tmp_path / CARD_FILE, other)
        with pytest.raises(ModelError, match="another version of eosin"):
            read_card(tmp_path)


def test_a_card_from_before_there_were_recipes_names_none(card, tmp_path):
    replace(card, recipe="best").write(tmp_path)
    assert read_card(tmp_path).recipe == "best"
    content = read_json(tmp_path / CARD_FILE)
    del content["recipe"]
    write_json(tmp_path / CARD_FILE, content)
    assert read_card(tmp_path) == card


def test_a_missing_model_file_is_named(card, tmp_path):
    replace(card, models=("model.onnx", "fold1/model.onnx")).write(tmp_path)
    with pytest.raises(ModelError, match=r"fold1/model\.onnx is missing"):
        read_card(tmp_path)


def test_a_resolution_that_nobody_stated_is_asked_for(card):
    assert card.require_mpp() == card.mpp
    with pytest.raises(ModelError, match="nobody stated that of the patches"):
        replace(card, mpp=None).require_mpp()


def test_a_model_s_hash_changes_with_its_files_and_its_card(card, tmp_path):
    card.write(tmp_path)
    first = hash_models(tmp_path, card)
    assert hash_models(tmp_path, card) == first
    replace(card, tile_threshold=0.5).write(tmp_path)
    second = hash_models(tmp_path, card)
    (tmp_path / "model.onnx").write_bytes(b"other")
    assert len({first, second, hash_models(tmp_path, card)}) == 3
