from importlib import metadata

from eosin.core.version import __version__


def test_the_version_is_that_of_the_installed_package():
    assert metadata.version("eosin") == __version__
