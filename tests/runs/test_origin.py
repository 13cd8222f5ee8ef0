import os
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest

from eosin.bags import FeatureInfo, read_attributes, write_features
from eosin.core import ManifestError, write_json
from eosin.runs.card import Sees
from eosin.runs.origin import (
    caution_learnt,
    find_depth,
    find_learnt,
    find_tile_folder,
    hash_features,
    note_learnt,
    require_alike,
    see_features,
    see_tiles,
)
from eosin.runs.run import Run
from eosin.tiles import open_tile_folder


def write(path, **words):
    usual = {"encoder": "uni", "tile_px": 224, "mpp": 0.5, "size_px0": 448}
    info = FeatureInfo(slide_id=path.stem, **usual | words)
    write_features(path, np.zeros((2, 3), np.float32), np.zeros((2, 2), int), info)
    return path


def test_tiles_and_features_say_what_they_show(tile_folder, tmp_path):
    expected = Sees(mpp=1.0, tile_px=64, tissue="saturation", min_tissue=0.25)
    assert see_tiles(open_tile_folder(tile_folder)) == expected
    found = see_features(write(tmp_path / "S.h5"))
    assert (found.encoder, found.mpp, found.tile_px) == ("uni", 0.5, 224)
    # Nobody stated the resolution.
    assert see_features(write(tmp_path / "T.h5", mpp=None)).mpp is None


def test_files_of_other_tools_say_what_they_say(tmp_path):
    with h5py.File(tmp_path / "S.h5", "w") as file:
        file["feats"] = np.zeros((2, 3))
        file.attrs["extractor"] = "x"
    assert read_attributes(tmp_path / "S.h5")["extractor"] == "x"
    (tmp_path / "bad.h5").write_bytes(b"")
    assert see_features(tmp_path / "S.h5") == Sees(encoder="x")
    assert see_features(tmp_path / "S.pt") == Sees()
    for read in (read_attributes, see_features):
        with pytest.raises(ManifestError, match="not an HDF5 file"):
            read(tmp_path / "bad.h5")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"encoder": "conch"},
            "2 slides .A, C. have encoder uni, .*slides .B. have",
        ),
        ({"encoder": "uni2-h"}, "have encoder uni2-h"),
        ({"mpp": 0.57}, "mpp 0.5, .* mpp 0.57"),
        ({"tile_px": 256}, "tile_px 224.* tile_px 256"),
        ({"context": 2.0}, "context 2"),
        # Slides are rarely scanned at exactly what their makers name.
        ({"mpp": 0.52}, None),
        ({"encoder": "UNI_v1"}, None),
    ],
)
def test_features_of_one_training_are_made_alike(other, message):
    usual = Sees(encoder="uni", mpp=0.5, tile_px=224)
    seen = {"A": usual, "B": replace(usual, **other), "C": usual}
    if message is None:
        assert require_alike(seen, where="f") == ()
    else:
        with pytest.raises(ManifestError, match=f"^f: .*{message}"):
            require_alike(seen, where="f")


def test_weights_count_more_than_names():
    one = Sees(encoder="uni", encoder_sha256="ab12")
    same = {"A": one, "B": replace(one, encoder="uni of run_3")}
    assert require_alike(same, where="f") == ()
    with pytest.raises(ManifestError, match="weights cd34"):
        require_alike({"A": one, "B": replace(one, encoder_sha256="cd34")}, where="f")


def test_files_that_say_nothing_beside_others_are_cautioned_about():
    seen = {"A": Sees(), "B": Sees(encoder="uni"), "C": Sees()}
    (caution,) = require_alike(seen, where="f")
    assert "2 of 3 slides (A, C) do not say which encoder" in caution
    assert require_alike({"A": Sees()}, where="f") == ()


def test_resolutions_that_only_some_files_say_are_cautioned_about():
    seen = {"A": Sees(encoder="e", mpp=0.5), "B": Sees(encoder="e")}
    (caution,) = require_alike(seen, where="f")
    assert "1 of 2 slides (B) do not say of which resolution" in caution
    levels = {name: Sees(patch_level=i) for i, name in enumerate("AB")}
    (caution,) = require_alike(levels, where="f")
    assert "several levels of their slides (1 of level 0, 1 of level 1)" in caution


def test_a_hash_of_features_follows_what_is_in_them(tmp_path):
    write(tmp_path / "a" / "S.h5")
    write(tmp_path / "b" / "S.h5", encoder="conch")
    first, other = hash_features(tmp_path / "a"), hash_features(tmp_path / "b")
    assert first == hash_features(tmp_path / "a") != other


def test_the_tile_folder_is_where_embed_says(tmp_path):
    assert find_tile_folder(tmp_path) is None
    write_json(tmp_path / "run.json", {"notes": {"tiles": "/somewhere"}})
    assert str(find_tile_folder(tmp_path)) == "/somewhere"
    write_json(tmp_path / "run.json", {"notes": {}})
    assert find_tile_folder(tmp_path) is None


def make_run(path, **settings):
    run = Run(path, None, {"settings": settings})
    # Ids are text; who was held out taught nothing.
    run.__dict__["splits"] = pd.DataFrame(
        {
            "slide_id": ["A1", "A2", "B", "C"],
            "patient_id": ["007", "007", "B", "C"],
            "split": ["train", "train", "val", "test"],
        }
    )
    return run


@pytest.mark.parametrize(
    ("fine_tune", "weights", "depth"),
    [
        ("none", "none", "none"),
        ("last", "imagenet", "last"),
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
        assert found == note_learnt(found) == {}
    else:
        assert found["patients"] == ["007", "B"]
        assert found["slides"] == ["A1", "A2", "B"]


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
def test_features_that_cannot_be_read_are_named(tmp_path, forbid):
    os.mkfifo(tmp_path / "S1.h5")
    with pytest.raises(ManifestError, match=r"S1\.h5: cannot be read .*a pipe"):
        hash_features(tmp_path)
    (tmp_path / "S1.h5").unlink()
    (tmp_path / "S1.h5").write_bytes(b"1")
    forbid(tmp_path / "S1.h5")
    with pytest.raises(ManifestError, match=r"S1\.h5: cannot be read .*denied"):
        hash_features(tmp_path)
