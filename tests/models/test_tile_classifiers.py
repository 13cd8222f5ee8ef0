import numpy as np
import pytest

from eosin.core import ConfigError, ModelError
from eosin.models import build_classifier, load_classifier
from eosin.models.keras_backend import keras


@pytest.mark.parametrize(("n_classes", "n_logits"), [(2, 1), (3, 3)])
def test_two_classes_have_one_logit_and_more_have_one_each(
    small_encoder, tiles, n_classes, n_logits
):
    classifier = build_classifier(small_encoder, n_classes=n_classes)
    assert classifier.predict_on_batch(tiles).shape == (5, n_logits)


def test_features_are_the_mean_over_the_feature_map(
    small_encoder, small_classifier, tiles
):
    features = keras.Model(
        small_classifier.input, small_classifier.get_layer("features").output
    )
    np.testing.assert_allclose(
        features.predict_on_batch(tiles),
        small_encoder.predict_on_batch(tiles).mean(axis=(1, 2)),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_classes": 1}, "2 classes or more, got 1"),
        ({"n_classes": 2, "dropout": 1.0}, r"dropout must be in \[0, 1\)"),
    ],
)
def test_bad_settings_are_refused(small_encoder, options, message):
    with pytest.raises(ConfigError, match=message):
        build_classifier(small_encoder, **options)


def test_a_model_that_is_no_tile_classifier_is_refused(small_encoder, tmp_path):
    path = tmp_path / "encoder.keras"
    small_encoder.save(path)
    with pytest.raises(ModelError, match="not a tile classifier of eosin"):
        load_classifier(path)
