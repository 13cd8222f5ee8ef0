import h5py
import numpy as np
import pytest

from eosin.bags import FeatureInfo, write_features
from eosin.core import ManifestError, ModelError, write_json
from eosin.workflows.mil_features import (
    describe_features,
    describe_file,
    find_tile_folder,
    read_attributes,
    require_same_origin,
)


def write(path, encoder="uni", mpp=0.5):
    info = FeatureInfo(
        slide_id=path.stem, encoder=encoder, tile_px=224, mpp=mpp, size_px0=448
    )
    write_features(path, np.zeros((2, 3), np.float32), np.zeros((2, 2), int), info)
    return path


def test_a_folder_says_what_it_was_made_from(tmp_path):
    write(tmp_path / "S.h5")
    known = {"encoder": "uni", "mpp": 0.5, "tile_px": 224}
    assert describe_features(tmp_path) == known
    # Nobody stated the resolution.
    assert "mpp" not in describe_file(write(tmp_path / "T.h5", mpp=None))


def test_files_of_other_tools_say_what_they_say(tmp_path):
    with h5py.File(tmp_path / "S.h5", "w") as file:
        file["feats"] = np.zeros((2, 3))
        file.attrs["extractor"] = "x"
    assert describe_file(tmp_path / "S.h5") == {}
    assert read_attributes(tmp_path / "S.h5")["extractor"] == "x"
    assert describe_file(tmp_path / "S.pt") == {}
    (tmp_path / "bad.h5").write_bytes(b"")
    assert describe_file(tmp_path / "bad.h5") == {}
    with pytest.raises(ManifestError, match="not an HDF5 file"):
        read_attributes(tmp_path / "bad.h5")


def test_other_encoders_and_resolutions_are_refused(tmp_path):
    known = describe_file(write(tmp_path / "S.h5"))
    words = {"model": tmp_path / "run"}
    require_same_origin(known, write(tmp_path / "A.h5", mpp=0.52), **words)
    require_same_origin({}, write(tmp_path / "B.h5", "conch"), **words)
    with pytest.raises(ModelError, match="encoder uni, these are of conch"):
        require_same_origin(known, write(tmp_path / "C.h5", "conch"), **words)
    with pytest.raises(ModelError, match=r"at 0.5 .* these at 1"):
        require_same_origin(known, write(tmp_path / "D.h5", mpp=1.0), **words)


def test_the_tile_folder_is_where_embed_says(tmp_path):
    assert find_tile_folder(tmp_path) is None
    write_json(tmp_path / "run.json", {"notes": {"tiles": "/somewhere"}})
    assert str(find_tile_folder(tmp_path)) == "/somewhere"
    write_json(tmp_path / "run.json", {"notes": {}})
    assert find_tile_folder(tmp_path) is None
