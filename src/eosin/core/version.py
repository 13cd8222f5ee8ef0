"""The version of eosin, in one place."""

__version__ = "0.1.0"
