from eosin.models import AGGREGATORS, ENCODERS
from eosin.settings.names import KNOWN_AGGREGATORS, KNOWN_ENCODERS


def test_known_encoders_are_those_of_the_registry():
    registered = {
        name: spec.imagenet_licence is not None for name, spec in ENCODERS.items()
    }
    assert list(KNOWN_ENCODERS.items()) == list(registered.items())


def test_known_aggregators_are_those_of_the_registry():
    registered = {name: spec.n_instances for name, spec in AGGREGATORS.items()}
    assert list(KNOWN_AGGREGATORS.items()) == list(registered.items())
