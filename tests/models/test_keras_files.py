import numpy as np
import pytest

from eosin.core import ModelError, RunError
from eosin.models.keras_files import load_keras_model, save_model


def test_a_model_comes_back(small_encoder, tiles, tmp_path):
    path = tmp_path / "größe.keras"
    save_model(small_encoder, path)
    np.testing.assert_array_equal(
        load_keras_model(path).predict_on_batch(tiles),
        small_encoder.predict_on_batch(tiles),
    )
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_failed_write_leaves_the_model_that_was_there(
    small_encoder, tmp_path, monkeypatch
):
    path = tmp_path / "model.keras"
    path.write_bytes(b"earlier")

    def fill_disk(temporary):
        temporary.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(small_encoder, "save", fill_disk)
    with pytest.raises(RunError, match="No space left"):
        save_model(small_encoder, path)
    assert path.read_bytes() == b"earlier"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_file_that_holds_no_model_is_named(tmp_path):
    path = tmp_path / "model.keras"
    with pytest.raises(ModelError, match=r"model\.keras: no such model"):
        load_keras_model(path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.keras: not a Keras model"):
        load_keras_model(path)
