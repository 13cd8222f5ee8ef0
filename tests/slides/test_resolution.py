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


def test_sides_that_differ_are_told_and_far_apart_not_believed():
    near = resolve_mpp(vendor=(0.25, 0.252))
    assert (near.mpp, near.disagreements) == (pytest.approx(0.251), ())
    told = resolve_mpp(tiff=(0.25, 0.26))
    assert told.mpp == pytest.approx(0.255)
    assert told.disagreements == (
        "pixels are not square, as tiff resolution says 0.25 mpp in x and 0.26 in y",
    )
    far = resolve_mpp(vendor=(0.25, 0.5))
    assert far.mpp is None
    assert "0.5 in y" in far.disagreements[0]
    # Another source counts, or what is given.
    assert resolve_mpp(vendor=(0.25, 0.5), objective_power=40).mpp == 0.25
    assert resolve_mpp(given=0.3, vendor=(0.25, 0.5)).mpp == 0.3


def test_one_side_will_do():
    assert resolve_mpp(vendor=(None, 0.25)).mpp == 0.25
    assert resolve_mpp(vendor=(None, None), tiff=(0.5, None)).mpp == 0.5
