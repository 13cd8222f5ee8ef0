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


def test_a_mistake_in_files_and_settings_is_a_value_error_too():
    for cls in (errors.ConfigError, errors.ManifestError, errors.CohortError):
        assert issubclass(cls, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)
