import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eosin import settings
from eosin.core import ConfigError, load_config
from eosin.settings import (
    BagFit,
    BagTraining,
    EmbedSettings,
    ExploreSettings,
    LimitSettings,
    Settings,
    TileFit,
    TileTraining,
    TilingSettings,
    find_rule,
    format_value,
    list_defaults,
    list_types,
    require_settings,
    setting,
    tabulate_settings,
)
from eosin.settings.setting import describe_range, iter_rules

KINDS = [
    value
    for value in vars(settings).values()
    if isinstance(value, type) and issubclass(value, Settings) and value is not Settings
]

# What is needed where a setting has no default.
_GIVEN = {int: 8, float: 0.5, tuple[int, ...]: (1,)}


def list_needed(kind):
    """Give the settings of a class that have no default a value."""
    types = list_types(kind)
    return {
        name: _GIVEN.get(types[name], "folder" if name == "layout" else 1)
        for name, default in list_defaults(kind).items()
        if default is dataclasses.MISSING
    }


def list_broken(kind):
    """List each field of a class with values that break its rule, and what is told."""
    for name, hint in list_types(kind).items():
        rule = find_rule(kind, name)
        for value, told in _break(rule, hint):
            yield name, (value,) if "tuple" in str(hint) else value, told
        if rule.is_set:
            yield name, (), "one or more, each once, got none"
            good = list_defaults(kind)[name][0]
            yield name, (good, good), f"each once, got {good}, {good}"


def _break(rule, hint):
    step = 1 if "int" in str(hint) else 0.125
    for bound, value in (
        (rule.least, None if rule.least is None else rule.least - step),
        (rule.most, None if rule.most is None else rule.most + step),
        (rule.above, rule.above),
        (rule.below, rule.below),
    ):
        if bound is not None:
            yield value, rf"{bound:g}\b.*, got {value:g}$"
    if rule.names:
        yield "nonsense", f"one of .*{next(iter(rule.names))}.*, got 'nonsense'"
    if re.search(r"\bfloat\b", str(hint)):
        yield float("nan"), "a finite number, got nan"
        yield float("inf"), "a finite number, got inf"
        yield 10**400, r"number.*, got \W*1000"
    if "Literal" in str(hint) and "str" not in str(hint):
        yield "nonsense", "got .*nonsense"


EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@EACH_KIND
def test_defaults_can_be_made_and_are_of_their_type(kind):
    made = kind(**list_needed(kind))
    for name, default in list_defaults(kind).items():
        if default is not dataclasses.MISSING and default not in ("auto", None):
            assert getattr(made, name) == default
            assert type(getattr(made, name)) is type(default)
    # What is recorded makes the same settings again.
    assert kind(**dataclasses.asdict(made)) == made
    assert load_config(kind, given=dataclasses.asdict(made)) == made


@EACH_KIND
def test_a_value_that_breaks_a_rule_is_told(kind):
    for name, value, told in list_broken(kind):
        with pytest.raises(ConfigError, match=f"^{name} must be .*{told}"):
            kind(**list_needed(kind) | {name: value})


def test_the_ends_of_a_range_belong_to_it_or_not():
    for kind, name in ((TileTraining, "dropout"), (TilingSettings, "context")):
        rule = find_rule(kind, name)
        rule.check(name, rule.least)
    find_rule(TilingSettings, "min_tissue").check("min_tissue", 1)
    find_rule(TileTraining, "layer_decay").check("layer_decay", 1)


def test_ranges_are_worded_shortly():
    told = {
        (TileTraining, "val_fraction"): "above 0 and below 0.5",
        (TileTraining, "dropout"): "0 or more and below 1",
        (TileTraining, "layer_decay"): "above 0 and at most 1",
        (TilingSettings, "context"): "between 1 and 16",
        (TilingSettings, "mpp"): "above 0",
        (EmbedSettings, "batch"): "1 or more",
        (EmbedSettings, "weights"): "",
    }
    assert {(kind, name): find_rule(kind, name).bounds for kind, name in told} == told
    with pytest.raises(
        ConfigError, match=r"^val_fraction must be above 0 and below 0.5, got 0.6$"
    ):
        TileTraining(val_fraction=0.6)


@EACH_KIND
def test_every_setting_is_told_in_plain_sentences(kind):
    assert kind.__doc__
    for name, rule in iter_rules(kind):
        words = rule.words
        assert words.endswith("."), name
        assert words[0].isupper() or words[0] in "`1", name
        assert words.isprintable(), name
        assert "  " not in words, name
        assert "|" not in words, name
        assert words.count("`") % 2 == 0, name
        assert len(words) <= 320, name


def test_values_from_python_are_brought_to_their_type():
    made = BagTraining(
        classes=["a", "b"], columns="age", widths=np.array([8, 4]), dropout=0, folds="3"
    )
    assert made.classes == ("a", "b")
    assert made.columns == ("age",)
    assert made.widths == (8, 4)
    assert (made.dropout, type(made.dropout)) == (0.0, float)
    assert made.folds == 3
    assert ExploreSettings(features=Path("a") / "b").features == str(Path("a") / "b")
    assert hash(made)


def test_a_setting_that_stands_again_keeps_what_it_does_not_change():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Again(BagFit):
        """Another fit.

        Attributes:
            batch: Other
                words.
        """

        batch: int = setting(7, most=9)

    rule = find_rule(Again, "batch")
    assert (rule.least, rule.most, rule.words) == (1, 9, "Other words.")
    assert Again().batch == 7
    assert find_rule(BagFit, "batch").most is None


def test_a_class_s_own_settings_come_first():
    names = [name for name, _ in iter_rules(TileTraining)]
    assert names[0] == "weights"
    assert names.index("snapshots") < names.index("encoder") < names.index("folds")
    assert names.index("folds") < names.index("mixup") < names.index("schedule")
    fields = {field.name for field in dataclasses.fields(TileTraining)}
    assert (set(names), len(names)) == (fields, len(fields))
    assert list(list_defaults(TileTraining)) == list(list_types(TileTraining)) == names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "true"),
        (1e-6, "1e-06"),
        (0.5, "0.5"),
        (20_000, "20000"),
        ((20, 10), "20, 10"),
        (("a=b,c", "d"), "a=b,c; d"),
        ((), ""),
    ],
)
def test_a_value_is_written_as_it_may_be_given(value, text):
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("patience", "1 or more, none"),
        ("epochs", "1 or more, auto"),
        ("schedule", "one_cycle, cosine, constant"),
        ("class_weights", "above 0, none, balanced"),
    ],
)
def test_what_a_setting_may_be_is_said(name, text):
    assert describe_range(TileTraining, name) == text


def test_settings_are_a_table_for_the_documentation():
    head, line, *rows, end = tabulate_settings(TilingSettings).split("\n")
    assert head == "| Setting | Default | Range | What it is |"
    assert (line, end) == ("|---|---|---|---|", "")
    assert len(rows) == len(dataclasses.fields(TilingSettings))
    assert rows[0] == (
        "| `mpp` | `0.5` | above 0 | Micrometres per pixel of a tile as read. |"
    )
    assert any(row.startswith("| `measures` | `true` | true, false |") for row in rows)
    assert "| `epochs` | must be given |" in tabulate_settings(TileFit)
    assert "| `bags` | `500, 1000, 2000` |" in tabulate_settings(LimitSettings)


def test_settings_of_another_step_are_told_by_name():
    made = TilingSettings(mpp=2)
    assert require_settings(made, TileTraining, TilingSettings) is made
    assert require_settings(None, TilingSettings) == TilingSettings()
    with pytest.raises(ConfigError, match=r"TilingSettings .* got TileTraining$"):
        require_settings(TileTraining(), TilingSettings)
    with pytest.raises(ConfigError, match=r"TileTraining or LimitSettings .* got str"):
        require_settings("out", TileTraining, LimitSettings)


def test_importing_settings_loads_nothing_but_the_core():
    code = "import sys, eosin.settings; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"keras", "torch", "numpy", "pandas", "pyarrow", "h5py"}
    packages = {name.split(".")[1] for name in loaded if name.startswith("eosin.")}
    assert packages == {"core", "settings"}
