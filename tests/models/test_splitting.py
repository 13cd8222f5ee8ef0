import numpy as np
import pytest

from eosin.models import (
    ENCODERS,
    build_classifier,
    build_encoder,
    build_stem,
    hash_weights,
    split_model,
)


@pytest.mark.parametrize("name", ENCODERS)
def test_trunk_and_tail_together_are_the_whole(name):
    encoder = build_encoder(name, tile_px=80, weights="none", seed=1)
    classifier = build_classifier(encoder, n_classes=2)
    tiles = np.random.default_rng(0).integers(0, 256, (2, 80, 80, 3), dtype=np.uint8)
    expected = classifier.predict_on_batch(tiles)
    for depth in ("head", "last"):
        trunk, tail = split_model(classifier, depth)
        assert trunk.name == name
        middle = trunk.predict_on_batch(tiles)
        assert middle.ndim == (2 if depth == "head" else 4)
        np.testing.assert_array_equal(tail.predict_on_batch(middle), expected)


def test_the_parts_share_their_weights_with_the_whole(small_classifier):
    trunk, tail = split_model(small_classifier, "last")
    shared = {id(v) for v in small_classifier.weights}
    assert {id(v) for v in [*trunk.weights, *tail.weights]} == shared
    assert not {id(v) for v in trunk.weights} & {id(v) for v in tail.weights}


def test_an_encoder_can_be_split_at_its_last_block(small_encoder, tiles):
    trunk, tail = split_model(small_encoder, "last")
    np.testing.assert_array_equal(
        tail.predict_on_batch(trunk.predict_on_batch(tiles)),
        small_encoder.predict_on_batch(tiles),
    )


def test_an_encoder_has_no_head_to_split_off(small_encoder):
    with pytest.raises(ValueError, match="features"):
        split_model(small_encoder, "head")


def test_a_stem_gives_activations_and_features_in_one_pass(small_classifier, tiles):
    activations, features = build_stem(small_classifier, "last").predict_on_batch(tiles)
    for actual, depth in ((activations, "last"), (features, "head")):
        trunk, _ = split_model(small_classifier, depth)
        np.testing.assert_array_equal(actual, trunk.predict_on_batch(tiles))


def test_the_hash_sees_the_encoder_and_not_the_head(small_classifier):
    before = hash_weights(small_classifier)
    logits = small_classifier.get_layer("logits")
    logits.bias.assign(logits.bias + 1.0)
    assert hash_weights(small_classifier) == before
    norm = small_classifier.get_layer("block4_norm")
    norm.beta.assign(norm.beta + 1.0)
    assert hash_weights(small_classifier) != before
