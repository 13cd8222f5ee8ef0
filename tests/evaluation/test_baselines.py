import numpy as np
import pandas as pd
import pytest

from eosin.core import ManifestError
from eosin.evaluation import Classes, compute_roc_auc, fit_colour_baseline


@pytest.fixture
def tiles():
    rng = np.random.default_rng(0)
    labels = np.arange(1500) % 2
    return pd.DataFrame(
        {
            "tile_id": np.arange(1500),
            "slide_id": [f"S{i // 10}" for i in range(1500)],
            "patient_id": [f"S{i // 10}" for i in range(1500)],
            "split": ["train" if i < 1000 else "test" for i in range(1500)],
            "label": pd.array(labels, dtype="Int64"),
            "mean_red": 200 - 30 * labels + rng.normal(0, 10, 1500),
            "mean_green": rng.normal(150, 10, 1500),
            "mean_blue": rng.normal(180, 10, 1500),
        }
    )


def test_a_colour_that_tells_classes_apart_is_found(tiles, target):
    baseline = fit_colour_baseline(tiles, target=target)
    table = baseline.predict(tiles)
    assert table["split"].tolist() == tiles["split"].tolist()
    is_test = (table["split"] == "test").to_numpy()
    labels = tiles["label"].to_numpy(dtype=int)[is_test]
    probabilities = target.take(table)[is_test]
    # Two normal distributions three deviations apart: an AUC of Phi(3 / sqrt 2).
    assert compute_roc_auc(labels, probabilities) == pytest.approx(0.983, abs=0.02)


def test_only_labelled_training_tiles_are_fitted(tiles, target):
    changed = tiles.copy()
    is_test = changed["split"] == "test"
    changed.loc[is_test, "label"] = 1 - changed.loc[is_test, "label"]
    changed.loc[is_test, "mean_red"] = 0.0
    one, two = (fit_colour_baseline(t, target=target) for t in (tiles, changed))
    np.testing.assert_array_equal(one.pipeline[-1].coef_, two.pipeline[-1].coef_)
    # Those without a label are left out.
    gap = pd.concat([tiles, tiles.iloc[:9].assign(label=pd.NA, mean_red=0.0)])
    three = fit_colour_baseline(gap, target=target)
    np.testing.assert_array_equal(three.pipeline[-1].coef_, one.pipeline[-1].coef_)


def test_a_class_without_training_tiles_gets_no_probability(tiles):
    target = Classes(("normal", "tumour", "necrosis"))
    baseline = fit_colour_baseline(tiles, target=target)
    assert (baseline.predict(tiles)["probability_necrosis"] == 0).all()


def test_one_class_cannot_be_fitted(tiles, target):
    with pytest.raises(ManifestError, match=r"two classes; split train has 500 .* 1 c"):
        fit_colour_baseline(tiles[tiles["label"] == 1], target=target)


def test_missing_colours_are_named(tiles, target):
    with pytest.raises(ManifestError, match="mean_blue; tile the slides again"):
        fit_colour_baseline(tiles.drop(columns="mean_blue"), target=target)
    with pytest.raises(ManifestError, match="split"):
        fit_colour_baseline(tiles.drop(columns="split"), target=target)
    tiles.loc[3, "mean_red"] = np.nan
    with pytest.raises(ManifestError, match=r"1 tile\(s\) have none"):
        fit_colour_baseline(tiles, target=target)
