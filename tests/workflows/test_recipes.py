import dataclasses

import pytest

from eosin import models
from eosin.core import ConfigError, ModelError
from eosin.models import find_encoder
from eosin.workflows.find_lr import FindLRConfig
from eosin.workflows.recipes import (
    RECIPES,
    describe_recipe,
    find_recipe,
    load_train_config,
)
from eosin.workflows.train_tiles import TrainConfig


@pytest.fixture
def no_weights(monkeypatch):
    """Let only the weights of some encoders be had."""

    def leave(*available):
        def build(name, **_options):
            if name not in available:
                raise ModelError(f"no weights of {name}")

        monkeypatch.setattr(models, "build_encoder", build)

    return leave


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_settings_are_what_training_knows(name, no_weights):
    recipe = find_recipe(name)
    no_weights(*recipe.encoders)
    config, remarks = load_train_config(TrainConfig, given={"recipe": name})
    assert remarks == ()
    assert config == TrainConfig(
        recipe=name, encoder=recipe.encoders[0], **recipe.settings
    )
    for encoder in recipe.encoders:
        assert find_encoder(encoder).imagenet_licence is not None


@pytest.mark.parametrize(
    ("name", "encoder"),
    [("xception-baseline", "xception"), ("mobilenetv2-baseline", "mobilenetv2")],
)
def test_a_baseline_is_the_set_up_that_it_is_named_after(name, encoder):
    config, _ = load_train_config(TrainConfig, given={"recipe": name})
    assert (config.encoder, config.weights, config.depth) == (
        encoder,
        "imagenet",
        "none",
    )
    assert (config.head.dropout, config.head.epochs) == (0.5, 10)
    assert config.head.optimiser == "adam"
    assert config.head.schedule == "constant"
    assert config.head.patience is None


@pytest.mark.parametrize("name", RECIPES)
def test_epochs_that_a_recipe_states_are_single_passes(name):
    config, _ = load_train_config(
        TrainConfig, given={"recipe": name, "encoder": "mobilenetv2"}
    )
    assert config.epochs == RECIPES[name].settings["epochs"]
    assert (config.head.epochs, config.head.min_steps) == (config.epochs, 0)


def test_no_recipe_is_no_change():
    assert load_train_config(TrainConfig, given={"folds": 3}) == (
        TrainConfig(folds=3),
        (),
    )


def test_a_file_and_options_override_a_recipe(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('epochs = 3\nbatch = 16\nrecipe = "xception-baseline"')
    config, _ = load_train_config(
        TrainConfig, path=path, given={"encoder": "smallcnn"}, overrides=["batch=8"]
    )
    assert (config.epochs, config.batch, config.encoder) == (3, 8, "smallcnn")
    assert config.schedule == "constant"
    assert config.recipe == "xception-baseline"


def test_a_recipe_may_be_named_by_set():
    config, _ = load_train_config(
        TrainConfig, overrides=["recipe=mobilenetv2-baseline"]
    )
    assert (config.encoder, config.epochs) == ("mobilenetv2", 10)


def test_the_first_encoder_is_taken_whose_weights_can_be_had(no_weights):
    given = {"recipe": "densenet-onecycle"}
    no_weights("densenet169", "densenet121")
    config, remarks = load_train_config(TrainConfig, given=given)
    assert (config.encoder, remarks) == ("densenet169", ())
    no_weights("densenet121")
    config, remarks = load_train_config(TrainConfig, given=given)
    assert config.encoder == "densenet121"
    assert remarks == (
        "the recipe 'densenet-onecycle' asks for densenet169, whose weights cannot be "
        "had, so densenet121 is trained in its place: no weights of densenet169",
    )
    assert describe_recipe(config) == (
        "densenet-onecycle, but for encoder = densenet121 (densenet169)"
    )


def test_an_encoder_that_was_named_is_never_replaced(no_weights):
    no_weights()
    config, remarks = load_train_config(
        TrainConfig, given={"recipe": "densenet-onecycle", "encoder": "densenet169"}
    )
    assert (config.encoder, remarks) == ("densenet169", ())


def test_departures_from_a_recipe_are_named():
    config, _ = load_train_config(TrainConfig, given={"recipe": "xception-baseline"})
    assert describe_recipe(config) == "xception-baseline"
    changed = dataclasses.replace(config, epochs=4, seed=7, folds=5)
    assert describe_recipe(changed) == "xception-baseline, but for epochs = 4 (10)"
    assert describe_recipe(TrainConfig()) is None


def test_a_class_that_adds_fields_keeps_them():
    config, _ = load_train_config(
        FindLRConfig,
        given={"recipe": "xception-baseline"},
        overrides=["n_steps=20"],
    )
    assert isinstance(config, FindLRConfig)
    assert (config.n_steps, config.epochs) == (20, 10)


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ConfigError, match="recipe must be one of xception-baseline, "):
        load_train_config(TrainConfig, given={"recipe": "worst"})
    with pytest.raises(ConfigError, match="got 'worst'"):
        TrainConfig(recipe="worst")


def test_a_misspelled_recipe_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="got 'bset'; is 'best' meant"):
        find_recipe("bset")
