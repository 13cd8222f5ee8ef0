import json

import h5py
import numpy as np
import pytest
import torch

from eosin.bags import FeatureInfo, read_provenance, write_features
from eosin.core import EosinError, ManifestError

NUMBERS = np.ones((3, 2), np.float32)
COORDS = np.array([[0, 0], [512, 0], [1024, 0]])


def write(path, *, of_file=(), of_features=(), of_coords=(), name="features"):
    with h5py.File(path, "w") as file:
        file[name], file["coords"] = NUMBERS, COORDS
        file.attrs.update(dict(of_file))
        file[name].attrs.update(dict(of_features))
        file["coords"].attrs.update(dict(of_coords))
    return path


def test_every_tool_says_it_in_its_own_words(tmp_path):
    trident = write(
        tmp_path / "trident.h5",
        of_features={"encoder": "uni_v1"},
        of_coords={
            "patch_size": 256,
            "patch_size_level0": 512,
            "target_magnification": 20,
            "level0_magnification": 40,
        },
    )
    # 20x is 10 / 20 micrometres per pixel.
    expected = {"encoder": "uni_v1", "mpp": 0.5, "tile_px": 256, "size_px0": 512}
    assert read_provenance(trident) == expected
    stamp = write(
        tmp_path / "stamp.h5",
        name="feats",
        of_file={"extractor": "chief-ctranspath", "unit": "um"}
        | {"tile_size_um": 256.0, "tile_size_px": 224},
    )
    # 256 micrometres on 224 pixels.
    expected = {"encoder": "chief-ctranspath", "mpp": 256 / 224, "tile_px": 224}
    assert read_provenance(stamp) == expected
    atlas = write(
        tmp_path / "atlas.h5",
        name="features/conch",
        of_file={"patch_size": 448, "target_magnification": np.int64([10])},
    )
    expected = {"encoder": "conch", "mpp": 1.0, "tile_px": 448}
    assert read_provenance(atlas) == expected
    clam = write(tmp_path / "clam.h5", of_coords={"patch_size": 256, "patch_level": 1})
    assert read_provenance(clam) == {"tile_px": 256, "patch_level": 1}
    power = write(tmp_path / "power.h5", of_coords={"target_magnification": "10x"})
    assert read_provenance(power) == {"mpp": 1.0}
    other = write(tmp_path / "other.h5", of_file={"model_name": "conch"})
    assert read_provenance(other) == {"encoder": "conch"}


@pytest.mark.parametrize(("tile_um", "mpp"), [(302, 302 / 299), ("20x", 0.5)])
def test_slideflow_says_it_beside_its_tensors(tmp_path, tile_um, mpp):
    torch.save(torch.from_numpy(NUMBERS), tmp_path / "a.pt")
    assert read_provenance(tmp_path / "a.pt") == {}
    extractor = {"class": "slideflow.model.extractors.uni.UNIFeatures", "kwargs": {}}
    said = {"extractor": extractor, "tile_px": 299, "tile_um": tile_um}
    (tmp_path / "bags_config.json").write_text(json.dumps(said))
    expected = {"encoder": "UNIFeatures", "mpp": mpp, "tile_px": 299}
    assert read_provenance(tmp_path / "a.pt") == expected
    for text in ("[1]", "{", '{"tile_um": []}'):
        (tmp_path / "bags_config.json").write_text(text)
        with pytest.raises(EosinError, match=r"bags_config.json: .*as Slideflow wrote"):
            read_provenance(tmp_path / "a.pt")


def test_own_files_say_it_themselves(tmp_path):
    """What they hold for CLAM and TRIDENT is of level 0, not of the tile."""
    info = FeatureInfo(
        slide_id="S", encoder="e", tile_px=128, mpp=None, size_px0=512, slide_mpp=0.25
    )
    write_features(tmp_path / "S.h5", NUMBERS, COORDS, info)
    found = read_provenance(tmp_path / "S.h5")
    assert (found["encoder"], found["tile_px"], found["size_px0"]) == ("e", 128, 512)
    assert not {"mpp", "min_tissue", "licence"} & set(found)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"mpp": "half"}, "mpp must be a number, got 'half'"),
        ({"mpp": 0.0}, "mpp must be a number above 0, got 0"),
        ({"mpp": np.inf}, "mpp must be a number above 0, got inf"),
        ({"tile_px": [224, 224]}, "tile_px must be a number"),
        ({"target_magnification": 0}, "size that is no number"),
        ({"tile_size_um": "x", "tile_size_px": 224}, "size that is no number"),
    ],
)
def test_what_cannot_be_is_told(tmp_path, attributes, message):
    write(tmp_path / "S1.h5", of_file=attributes)
    with pytest.raises(ManifestError, match=message):
        read_provenance(tmp_path / "S1.h5")
