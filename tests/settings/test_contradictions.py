"""What contradicts itself is refused as soon as the settings are made."""

import pytest

from eosin.core import ConfigError
from eosin.settings import (
    BagDraw,
    BagFit,
    BagSettings,
    BagTraining,
    CleanSettings,
    FetchSettings,
    HeadFit,
    ImportSettings,
    LimitSettings,
    RangeTest,
    RateSearch,
    SplitSettings,
    TileSpec,
    TileTraining,
    TilingSettings,
    TuneFit,
)

NEEDED = {
    BagDraw: {"n_bags": 4, "size": 10, "witnesses": (1,)},
    BagTraining: {"classes": ("a", "b")},
    TileSpec: {"mpp": 1, "tile_px": 64},
    TilingSettings: {"tile_px": 64},
}
ENDS = "lowest must be below highest, got 0.0"
TWICE = r"class_weights.* would count twice"
REFUSED = {
    BagDraw: [
        ({"n_bags": 5}, "n_bags must be even.* got 5"),
        ({"witnesses": ()}, "witnesses .* got none"),
        ({"witnesses": (3, 11)}, "1 to the bags' size 10, got 11"),
    ],
    BagFit: [({"epochs": "auto"}, "epochs must be a whole number, got 'auto'")],
    BagSettings: [
        ({"n_bags": 7}, "n_bags must be even.* got 7"),
        ({"n_bags": 4}, "two or more for each of train, val, test, got 4"),
        ({"n_bags": 4, "folds": 3}, "each of fold_0, fold_1, fold_2"),
        ({"witnesses": (41,)}, "1 to the bags' size 40, got 41"),
        ({"val_fraction": 0.6, "test_fraction": 0.4}, "something to train on"),
    ],
    BagTraining: [
        ({"classes": ("a",)}, r"two classes or more .*; got a$"),
        ({"choose": ("folds=2,3",)}, "takes field=value,value with one of aggregator"),
        ({"choose": ("aggregator",)}, "got 'aggregator'"),
        ({"choose": ("lr=1,2", "learning_rate=1,2")}, "names learning_rate twice"),
        ({"choose": ("aggregator=max,max",)}, "two values or more"),
        ({"choose": ("aggregator=max,mx",)}, "aggregator must be one of .*got 'mx'"),
        ({"choose": ("epochs=1,x",)}, "epochs must be a whole number, got 'x'"),
        ({"choose": ("dropout=0.1,2",)}, "dropout must be 0 or more and .*, got 2"),
        ({"folds": 1.5}, "folds must be a whole number, got '1.5'"),
        ({"folds": True}, "folds must be a whole number, got 'True'"),
        ({"dropout": "much"}, "dropout must be a number, got 'much'"),
        ({"balance": "clas"}, "balance must be one of .*; is 'class' meant"),
        ({"widths": 8}, "widths must be whole numbers separated by commas, got '8'"),
        ({"classes": (0, 1)}, "classes must be texts separated by commas"),
        ({"patience": "x"}, "patience must be a whole number or none, got 'x'"),
        ({"seed": -1_000_001}, "seed must be 0 or more, got -1000001"),
    ],
    CleanSettings: [({"near": True, "rules": ("blank",)}, r"near .* got blank")],
    FetchSettings: [
        ({"address": "https://host"}, r"hold \{name\}.*, got https://host")
    ],
    HeadFit: [({"class_weights": "balanced"}, TWICE)],
    ImportSettings: [
        ({"layout": "folder", "slide_map": "x"}, "slide_map .* not for 'import fold"),
        ({"layout": "kaggle", "group_regex": "x"}, "group_regex .* 'import kaggle'"),
        ({"layout": "pcam", "class_regex": "x"}, "class_regex .* 'import pcam'"),
        ({"layout": "kaggle", "negative": "x"}, "negative is for .* 'import kaggle'"),
    ],
    LimitSettings: [
        ({"train_witnesses": ("few",)}, "numbers or 'mixture', got 'few'"),
        ({"train_witnesses": ("41",)}, "bags' size 40, got 41"),
        ({"witnesses": (41,)}, "bags' size 40, got 41"),
        ({"bags": (101,)}, "n_bags must be even.* got 101"),
        ({"val_bags": 31}, "n_bags must be even.* got 31"),
        ({"bag_size": 50}, "concat40 takes bags of at most 40, got bag_size 50"),
        ({"folds": 1, "val_fraction": 0.5, "test_fraction": 0.5}, "to train on"),
    ],
    RangeTest: [
        ({"lowest": 1e-2, "highest": 1e-3}, ENDS),
        ({"lowest": 1e-3, "highest": 1e-3}, ENDS),
    ],
    RateSearch: [
        ({"lowest": 1e-2, "highest": 1e-3}, ENDS),
        ({"class_weights": "balanced"}, TWICE),
    ],
    SplitSettings: [({"val_fraction": 0.5, "test_fraction": 0.5}, "got 0.5 and 0.5")],
    TileSpec: [({"overlap_px": 64}, r"below tile_px \(64\), got 64")],
    TileTraining: [
        ({"recipe": "worst"}, "recipe must be one of xception-baseline, "),
        ({"recipe": "bset"}, "got 'bset'; is 'best' meant"),
        *(
            ({"threshold_rule": rule}, f"youden, sensitivity@x .*, got '{rule}'")
            for rule in (
                *("best", "youden@0.5", "sensitivity@0", "specificity@1.5"),
                "sensitivity@x",
            )
        ),
    ],
    TilingSettings: [({"overlap_px": 64}, r"below tile_px \(64\), got 64")],
    TuneFit: [
        ({"epochs": "auto"}, "epochs must be a whole number, got 'auto'"),
        ({"trunk_stages": 2}, r"trunk_stages must be none, .* got 2"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [(kind, *row) for kind, rows in REFUSED.items() for row in rows],
)
def test_what_contradicts_itself_is_refused(kind, given, message):
    with pytest.raises(ConfigError, match=message):
        kind(**NEEDED.get(kind, {}) | given)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (CleanSettings, {"near": True}),
        (FetchSettings, {"address": "https://host/{name}"}),
        (HeadFit, {"class_weights": (1, 2), "balance": "none"}),
        (HeadFit, {"class_weights": (1, 2), "balance": "slide"}),
        # With folds nobody is held out beside them.
        (SplitSettings, {"folds": 3, "val_fraction": 0.5, "test_fraction": 0.5}),
        (TileSpec, {"overlap_px": 63}),
        (TuneFit, {"depth": "all", "trunk_stages": 2}),
    ],
)
def test_what_goes_together_is_taken(kind, given):
    made = kind(**NEEDED.get(kind, {}) | given)
    assert {name: getattr(made, name) for name in given} == given
