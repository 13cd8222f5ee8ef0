import h5py
import numpy as np
import pytest

from eosin.core import ModelError
from eosin.models import ENCODERS, build_encoder
from eosin.models.weights import load_weights

SPEC = ENCODERS["smallcnn"]


def _build(seed):
    return build_encoder("smallcnn", tile_px=32, weights="none", seed=seed)


def _copy_as(path, target, dtype):
    with h5py.File(path) as old, h5py.File(target, "w") as new:

        def copy(name, item):
            if isinstance(item, h5py.Dataset):
                new.create_dataset(name, data=item[()].astype(dtype))
            else:
                new.require_group(name).attrs.update(item.attrs)

        old.visititems(copy)


@pytest.fixture
def weights_path(tmp_path, small_encoder):
    path = tmp_path / "poids entraînés.weights.h5"
    small_encoder.save_weights(path)
    return path


def test_a_file_gives_its_weights(weights_path, small_encoder, tiles):
    loaded = build_encoder("smallcnn", tile_px=32, weights=weights_path, seed=9)
    np.testing.assert_array_equal(
        loaded.predict_on_batch(tiles), small_encoder.predict_on_batch(tiles)
    )


def test_float16_weights_are_within_half_precision(
    weights_path, small_encoder, tmp_path
):
    path = tmp_path / "half.weights.h5"
    _copy_as(weights_path, path, "float16")
    loaded = build_encoder("smallcnn", tile_px=32, weights=str(path))
    for a, b in zip(loaded.get_weights(), small_encoder.get_weights(), strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_the_older_layout_of_keras_is_read(small_encoder, tmp_path):
    from keras.src.legacy.saving import legacy_h5_format

    path = tmp_path / "smallcnn_notop.h5"
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, small_encoder)
    loaded = _build(seed=9)
    load_weights(loaded, SPEC, path)
    for a, b in zip(loaded.get_weights(), small_encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_optimisers_state_and_a_seed_are_no_weights(small_encoder, tmp_path):
    path = tmp_path / "compiled.weights.h5"
    small_encoder.compile("adam", "mse")
    small_encoder.optimizer.build(small_encoder.trainable_variables)
    small_encoder.save_weights(path)
    with h5py.File(path, "a") as file:
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, "uint32")
    loaded = build_encoder("smallcnn", tile_px=32, weights=path, seed=9)
    np.testing.assert_array_equal(
        loaded.get_weights()[0], small_encoder.get_weights()[0]
    )


def test_a_wrong_architecture_names_both_sides(tmp_path):
    path = tmp_path / "mobile.weights.h5"
    build_encoder("mobilenetv2", tile_px=32, weights="none").save_weights(path)
    with pytest.raises(ModelError) as caught:
        build_encoder("smallcnn", tile_px=32, weights=path)
    message = str(caught.value)
    assert "must hold smallcnn" in message
    assert "2,257,984 numbers" in message
    assert "--encoder mobilenetv2" in message


def test_a_file_with_a_head_says_so(tmp_path, small_classifier):
    path = tmp_path / "whole.weights.h5"
    small_classifier.save_weights(path)
    with pytest.raises(ModelError, match="seems to have a head"):
        build_encoder("smallcnn", tile_px=32, weights=path)


def test_the_right_arrays_in_another_layout_are_refused(tmp_path, small_encoder):
    path = tmp_path / "flat.weights.h5"
    with h5py.File(path, "w") as file:
        for i, array in enumerate(small_encoder.get_weights()):
            file.create_dataset(f"layers/all/vars/{i}", data=array)
    with pytest.raises(ModelError, match="not its layout"):
        build_encoder("smallcnn", tile_px=32, weights=path)


def test_weights_that_are_not_finite_are_refused(tmp_path, small_encoder):
    path = tmp_path / "nan.weights.h5"
    small_encoder.get_layer("block4_norm").moving_variance.assign(
        np.full(192, np.inf, "float32")
    )
    small_encoder.save_weights(path)
    with pytest.raises(ModelError, match="not finite"):
        build_encoder("smallcnn", tile_px=32, weights=path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.h5", None, "no such weights file"),
        ("weights.pt", b"x", "must be a Keras HDF5 file"),
        ("damaged.weights.h5", b"not HDF5 at all", "not a readable HDF5 file"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if content:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        build_encoder("smallcnn", tile_px=32, weights=path)


def test_a_keras_3_file_must_be_called_one(weights_path, tmp_path):
    path = weights_path.rename(tmp_path / "renamed.h5")
    with pytest.raises(ModelError, match="rename it"):
        build_encoder("smallcnn", tile_px=32, weights=path)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("densenet121", "densenet121_imagenet_notop.weights.h5"),
        ("mobilenetv2", "mobilenetv2_1.0_notop_dogfinetuned.weights.h5"),
        ("xception", "xception_imagenet_notop.float16.weights.h5"),
    ],
)
def test_published_weights_load(weight_files, name, file):
    tiles = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
    encoder = build_encoder(name, tile_px=96, weights=weight_files / file)
    assert np.isfinite(encoder.predict_on_batch(tiles)).all()
