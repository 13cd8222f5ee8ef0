import pytest

from eosin.slides import Resolution, is_plausible_mpp, resolve_mpp


def test_sources_are_asked_in_their_order():
    everything = {"given": 0.3, "vendor": 0.25, "tiff": 0.26, "objective_power": 40.0}
    order = ["given", "vendor", "tiff resolution", "objective power"]
    for name in order:
        resolution = resolve_mpp(**everything)
        assert resolution.source == name
        everything.pop(
            name.split(" ")[0] if name != "objective power" else "objective_power"
        )
    assert resolve_mpp() == Resolution(None, "none", {})


def test_power_is_ten_over_mpp():
    assert resolve_mpp(objective_power=20).mpp == 0.5


def test_an_implausible_value_is_passed_over_but_kept():
    resolution = resolve_mpp(tiff=352.8, objective_power=40)
    assert (resolution.mpp, resolution.source) == (0.25, "objective power")
    assert resolution.candidates["tiff resolution"] == 352.8
    assert resolution.disagreements == ()


def test_sources_over_ten_percent_apart_are_told():
    assert resolve_mpp(vendor=0.25, objective_power=20).disagreements == (
        "objective power says 0.5 mpp, vendor says 0.25",
    )
    assert resolve_mpp(vendor=0.2525, objective_power=40).disagreements == ()
    assert resolve_mpp().disagreements == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.25, True), (0, False), (-1, False), (float("nan"), False)],
)
def test_plausibility(value, expected):
    assert is_plausible_mpp(value) is expected
