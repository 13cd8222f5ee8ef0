import pytest

from eosin.settings import BagTraining, PixelTraining


def make(*choose, **options):
    return BagTraining(classes=("a", "b"), folds=2, choose=choose, **options)


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        (("stable", "mutated"), ("stable", "mutated")),
        (("tumor", "Normal "), ("Normal ", "tumor")),
        # Benign findings are findings, where there is normal tissue too.
        (("a", "benign", "normal"), ("normal", "a", "benign")),
    ],
)
def test_the_negative_class_is_the_first_or_has_a_usual_name(given, ordered):
    assert BagTraining(classes=given).classes == ordered


def test_every_combination_is_listed_in_order():
    settings = make("aggregator=max,mean", "lr=1e-3,1e-2", "widths=8,16+4")
    assert list(settings.choices) == ["aggregator", "learning_rate", "widths"]
    listed = settings.list_choices()
    assert [(own.aggregator, own.learning_rate, own.widths) for own in listed][:3] == [
        ("max", 1e-3, (8,)),
        ("max", 1e-3, (16, 4)),
        ("max", 1e-2, (8,)),
    ]
    assert len(listed) == 8
    # Nothing is left to choose.
    assert {own.choose for own in listed} == {()}


def test_all_else_stays_as_it_was():
    settings = make("epochs=3,4", patience=None, clip=2, seed=5, class_weights=(1, 3))
    assert settings.list_choices() == [
        make(epochs=n, patience=None, clip=2, seed=5, class_weights=(1, 3))
        for n in (3, 4)
    ]
    chosen = make("class_weights=1+2,balanced").list_choices()
    assert [own.class_weights for own in chosen] == [(1.0, 2.0), "balanced"]
    assert make().list_choices() == []


@pytest.mark.parametrize(
    ("given", "weights", "depth", "batch_norm", "learning_rate"),
    [
        ({}, "none", "all", "trained", 1e-3),
        ({"encoder": "densenet121"}, "imagenet", "last", "frozen", 1e-4),
        ({"encoder": "densenet121", "weights": "none"}, "none", "all", "trained", 1e-3),
        ({"weights": "w.h5", "fine_tune": "all"}, "w.h5", "all", "frozen", 1e-4),
        ({"learning_rate": 0.5, "fine_tune": "last"}, "none", "last", "trained", 0.5),
    ],
)
def test_what_depends_on_the_weights_is_resolved_at_once(
    given, weights, depth, batch_norm, learning_rate
):
    made = PixelTraining(**given)
    assert (made.weights, made.fine_tune, made.depth) == (weights, depth, depth)
    assert (made.batch_norm, made.learning_rate) == (batch_norm, learning_rate)


def test_features_have_no_encoder_to_train():
    assert (BagTraining().depth, BagTraining().batch_norm) == ("all", "trained")
