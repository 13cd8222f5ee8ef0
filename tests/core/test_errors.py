import inspect

import pytest

from eosin.core import EosinError, ModelError, SlideError, errors, raising

ALL = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, EosinError) and cls is not EosinError
]


@pytest.mark.parametrize("cls", ALL)
def test_every_error_is_in_the_tree_and_drawn(cls):
    assert issubclass(cls, EosinError)
    assert cls.__name__ in errors.__doc__


@pytest.mark.parametrize(
    "fault", [KeyError("MPO"), RecursionError(), MemoryError(), OSError(5, "I/O")]
)
def test_a_parser_s_own_errors_become_one_that_names_the_file(fault):
    with (
        pytest.raises(SlideError, match=r"a\.tif: no header .*; copy it") as caught,
        raising(SlideError, "a.tif: no header", remedy="copy it"),
    ):
        raise fault
    assert type(fault).__name__ in str(caught.value)
    assert caught.value.__cause__ is fault


def test_errors_of_eosin_and_interruptions_pass_the_border():
    with pytest.raises(ModelError, match=r"^as it is$"), raising(SlideError, "a"):
        raise ModelError("as it is")
    with pytest.raises(KeyboardInterrupt), raising(SlideError, "a"):
        raise KeyboardInterrupt
