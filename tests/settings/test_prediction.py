import pytest

from eosin.core import ConfigError
from eosin.settings import PredictionSettings
from eosin.settings.setting import iter_rules


def test_each_setting_says_what_it_is_for():
    kinds = {name: rule.only for name, rule in iter_rules(PredictionSettings)}
    assert set().union(*kinds.values()) == {"tiles", "bags", "patches"}
    assert kinds["device"] == ()
    assert kinds["tile_objects"] == ("tiles",)
    assert kinds["attended_tiles"] == ("bags",)


@pytest.mark.parametrize(
    ("given", "scored", "other"),
    [
        ({"tile_objects": True}, "tiles", "bags"),
        ({"attended_tiles": 0}, "bags", "tiles"),
        ({"views": 8}, "patches", "bags"),
        ({"slide_mpp": 0.5}, "bags", "patches"),
    ],
)
def test_a_setting_for_something_else_is_refused(given, scored, other):
    settings = PredictionSettings(**given)
    settings.require_for(scored)
    with pytest.raises(ConfigError, match=f"{next(iter(given))} is for .*, not for"):
        settings.require_for(other)
    PredictionSettings(device="cpu", batch=3).require_for(other)
