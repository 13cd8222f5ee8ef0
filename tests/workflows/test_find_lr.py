import dataclasses
import json
import tomllib

import numpy as np
import pandas as pd
import pytest

from eosin.core import RunError
from eosin.settings import RateSearch, TileTraining
from eosin.workflows import find_lr
from eosin.workflows.find_lr import find_learning_rates
from eosin.workflows.train import train

# Of this seed the head's loss falls beyond its noise, which not every one's does.
SMALL = {"encoder": "smallcnn", "weights": "none", "cached_views": 1, "seed": 2}
CONFIG = RateSearch(
    **SMALL, fine_tune="last", epochs=3, batch=32, n_steps=40, lowest=1e-5
)


@pytest.fixture(scope="module")
def rates(tile_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("rates")
    return find_learning_rates(tile_folder, out, CONFIG)


def test_head_and_fine_tuning_have_a_curve_and_a_figure(rates):
    curve = pd.read_csv(rates.folder / "curve.csv")
    assert list(curve.columns) == ["stage", "learning_rate", "loss", "smoothed"]
    assert list(curve["stage"].unique()) == ["head", "fine_tune"]
    head = curve[curve["stage"] == "head"]
    # From the lowest on, each the same multiple of the one before.
    assert head["learning_rate"].iloc[0] == pytest.approx(1e-5)
    steps = np.diff(np.log(head["learning_rate"]))
    np.testing.assert_allclose(steps, np.log(1e5) / 39)
    assert (rates.folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_suggestion_follows_from_the_curve_by_the_rule_that_is_told(rates):
    curve = pd.read_csv(rates.folder / "curve.csv")
    head = curve[curve["stage"] == "head"]
    smoothed, tried = head["smoothed"].to_numpy(), head["learning_rate"].to_numpy()
    losses, lowest = head["loss"].to_numpy(), int(smoothed.argmin())
    # A tenth of 40 steps reaches two to either side.
    slopes = {
        i: np.polyfit(np.log(tried[i - 2 : i + 3]), losses[i - 2 : i + 3], 1)[0]
        for i in range(2, min(lowest, len(losses) - 3) + 1)
    }
    expected = min(tried[min(slopes, key=slopes.get)], tried[lowest] / 10)
    assert rates.suggested["learning_rate"] == pytest.approx(expected)
    notes = json.loads((rates.folder / "run.json").read_text())["notes"]
    assert "falls fastest" in notes["rule"]
    assert "Smith" in notes["source"]


def test_the_suggestion_is_a_config_of_training(rates, tile_folder, tmp_path):
    text = (rates.folder / "suggested.toml").read_text()
    assert text.count("#") == 2
    values = tomllib.loads(text)
    assert values.keys() == rates.suggested.keys()
    config = TileTraining(**SMALL, fine_tune="last", tune_epochs=1, **values)
    train(tile_folder, tmp_path / "run", config)
    # Of the same tiles, so that nothing was encoded anew.
    assert len(list((tile_folder / "cache").glob("smallcnn-*/activations.npy"))) >= 1


def test_a_finished_test_is_reused_and_other_settings_stop(
    rates, tile_folder, monkeypatch
):
    monkeypatch.setattr(find_lr, "find_head_curve", None)
    again = find_learning_rates(tile_folder, rates.folder, CONFIG)
    assert again.suggested == rates.suggested
    changed = dataclasses.replace(CONFIG, n_steps=41)
    with pytest.raises(RunError, match="n_steps was 40, is 41"):
        find_learning_rates(tile_folder, rates.folder, changed)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        # Whole, and from pixels.
        ({"fine_tune": "auto", "n_steps": 10, "smoothing": 0.0}, "tune_learning_rate"),
        ({"fine_tune": "none"}, "learning_rate"),
    ],
)
def test_what_is_trained_is_tested(tile_folder, tmp_path, changes, field):
    config = dataclasses.replace(CONFIG, **changes)
    result = find_learning_rates(tile_folder, tmp_path / "rates", config)
    assert list(result.suggested) == [field]


def test_where_the_loss_never_falls_nothing_is_suggested(
    tile_folder, tmp_path, monkeypatch
):
    real = find_lr.find_head_curve

    def find_flat(*arguments, **options):
        return dataclasses.replace(real(*arguments, **options), steepest=None)

    monkeypatch.setattr(find_lr, "find_head_curve", find_flat)
    found = find_learning_rates(tile_folder, tmp_path / "rates", CONFIG)
    assert found.suggested["learning_rate"] is None
    values = tomllib.loads((tmp_path / "rates" / "suggested.toml").read_text())
    assert "learning_rate" not in values


def test_held_out_patients_are_not_looked_at(tile_folder, tmp_path, monkeypatch):
    seen = []
    real = find_lr.find_head_curve

    def look(classifier, features, tiles, config, **options):
        seen.append(tiles)
        return real(classifier, features, tiles, config, **options)

    monkeypatch.setattr(find_lr, "find_head_curve", look)
    config = dataclasses.replace(CONFIG, fine_tune="none")
    find_learning_rates(tile_folder, tmp_path / "rates", config)
    config = TileTraining(**SMALL, fine_tune="none", epochs=1)
    train(tile_folder, tmp_path / "run", config)
    splits = pd.read_csv(tmp_path / "run" / "splits.csv")
    own = set(splits.loc[splits["split"] == "train", "slide_id"])
    (tiles,) = seen
    assert set(tiles.slide_ids[tiles.train_rows]) == own
