import dataclasses
import random

import h5py
import numpy as np
import pytest

from eosin.core import ConfigError, ModelError
from eosin.models import ENCODERS, build_encoder, encoders


def _same(a, b):
    return all(
        np.array_equal(x, y)
        for x, y in zip(a.get_weights(), b.get_weights(), strict=True)
    )


@pytest.mark.parametrize("name", ["smallcnn", "efficientnetv2b0"])
def test_random_weights_depend_on_the_seed_alone(name):
    first, again, other = (
        build_encoder(name, tile_px=32, weights="none", seed=seed) for seed in (1, 1, 2)
    )
    assert _same(first, again)
    assert not _same(first, other)


def test_building_leaves_pythons_randomness_alone():
    random.seed(7)
    expected = random.random()
    random.seed(7)
    build_encoder("smallcnn", tile_px=32, weights="none", seed=1)
    assert random.random() == expected


def test_tiles_below_the_encoders_size_are_refused():
    with pytest.raises(ConfigError, match="xception needs tiles of at least 71 px"):
        build_encoder("xception", tile_px=64, weights="none")


def test_imagenet_weights_that_nobody_published_are_refused():
    with pytest.raises(ModelError, match="nobody has published ImageNet weights"):
        build_encoder("smallcnn", tile_px=32, weights="imagenet")


def test_a_failed_download_says_how_to_give_a_file(monkeypatch):
    def fail(tiles, weights):
        # What Keras raises.
        raise Exception("URL fetch failure on https://somewhere")  # noqa: TRY002

    spec = dataclasses.replace(ENCODERS["mobilenetv2"], build=fail)
    monkeypatch.setattr(encoders, "find_encoder", lambda name: spec)
    with pytest.raises(ModelError, match=r"https://somewhere.*--weights FILE"):
        build_encoder("mobilenetv2", tile_px=32, weights="imagenet")


def test_downloaded_weights_are_those_of_the_file(monkeypatch, tmp_path):
    from keras.src.applications import mobilenet_v2
    from keras.src.legacy.saving import legacy_h5_format

    donor = build_encoder("mobilenetv2", tile_px=48, weights="none", seed=4)
    path = tmp_path / "mobilenet_notop.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, donor)
    monkeypatch.setattr(
        mobilenet_v2.file_utils, "get_file", lambda *args, **kwargs: str(path)
    )
    assert _same(build_encoder("mobilenetv2", tile_px=48, weights="imagenet"), donor)
