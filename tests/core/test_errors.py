import inspect

import pytest

from eosin.core import EosinError, errors

ALL = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if cls is not EosinError
]


@pytest.mark.parametrize("cls", ALL)
def test_every_error_is_in_the_tree_and_drawn(cls):
    assert issubclass(cls, EosinError)
    assert cls.__name__ in errors.__doc__
