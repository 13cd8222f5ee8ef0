import dataclasses

import pytest

from eosin.core import load_config
from eosin.settings import (
    RECIPES,
    RateSearch,
    TileTraining,
    describe_recipe,
    load_with_recipe,
)
from eosin.settings.names import KNOWN_ENCODERS


def never(settings):
    """Fail where weights are asked for that nobody needs to ask for."""
    raise AssertionError(settings.encoder)


def make_obstacle(*available):
    """Let only the weights of some encoders be had."""

    def find(settings):
        name = settings.encoder
        return None if name in available else f"no weights of {name}"

    return find


def load(*, find_obstacle=never, kind=TileTraining, **sources):
    return load_with_recipe(
        lambda defaults: load_config(kind, defaults=defaults, **sources), find_obstacle
    )


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_settings_are_what_training_knows(name):
    recipe = RECIPES[name]
    config, remarks = load(
        find_obstacle=make_obstacle(*recipe.encoders), given={"recipe": name}
    )
    assert remarks == ()
    assert config == TileTraining(
        recipe=name, encoder=recipe.encoders[0], **recipe.settings
    )
    # The epochs that it states are single passes.
    assert (config.n_epochs, config.least_steps) == (recipe.settings["epochs"], 0)
    for encoder in recipe.encoders:
        assert KNOWN_ENCODERS[encoder], "has no ImageNet weights"


@pytest.mark.parametrize(
    ("name", "encoder"),
    [("xception-baseline", "xception"), ("mobilenetv2-baseline", "mobilenetv2")],
)
def test_a_baseline_is_the_set_up_that_it_is_named_after(name, encoder):
    config, _ = load(given={"recipe": name})
    assert (config.encoder, config.weights) == (encoder, "imagenet")
    assert (config.depth, config.dropout, config.epochs) == ("none", 0.5, 10)
    assert (config.optimiser, config.schedule) == ("adam", "constant")
    assert config.patience is None


def test_no_recipe_is_no_change():
    assert load(given={"folds": 3}) == (TileTraining(folds=3), ())


def test_a_file_and_options_override_a_recipe(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('epochs = 3\nbatch = 16\nrecipe = "xception-baseline"')
    config, _ = load(path=path, given={"encoder": "smallcnn"}, overrides=["batch=8"])
    assert (config.epochs, config.batch, config.encoder) == (3, 8, "smallcnn")
    assert config.schedule == "constant"
    assert config.recipe == "xception-baseline"
    config, _ = load(overrides=["recipe=mobilenetv2-baseline"])
    assert (config.encoder, config.epochs) == ("mobilenetv2", 10)


def test_the_first_encoder_is_taken_whose_weights_can_be_had():
    given = {"recipe": "densenet-onecycle"}
    both = make_obstacle("densenet169", "densenet121")
    config, remarks = load(find_obstacle=both, given=given)
    assert (config.encoder, remarks) == ("densenet169", ())
    config, (remark,) = load(find_obstacle=make_obstacle("densenet121"), given=given)
    assert config.encoder == "densenet121"
    for part in given["recipe"], "densenet121 is trained", "no weights of densenet169":
        assert part in remark
    assert describe_recipe(config) == (
        "densenet-onecycle, but for encoder = densenet121 (densenet169)"
    )
    # One that was named is never replaced.
    given |= {"encoder": "densenet169"}
    config, remarks = load(find_obstacle=make_obstacle(), given=given)
    assert (config.encoder, remarks) == ("densenet169", ())


def test_departures_from_a_recipe_are_named():
    config, _ = load(given={"recipe": "xception-baseline"})
    assert describe_recipe(config) == "xception-baseline"
    changed = dataclasses.replace(config, epochs=4, seed=7, folds=5)
    assert describe_recipe(changed) == "xception-baseline, but for epochs = 4 (10)"
    assert describe_recipe(TileTraining()) is None


def test_a_class_that_adds_fields_keeps_them():
    config, _ = load(
        kind=RateSearch,
        given={"recipe": "xception-baseline"},
        overrides=["n_steps=20"],
    )
    assert isinstance(config, RateSearch)
    assert (config.n_steps, config.epochs) == (20, 10)
