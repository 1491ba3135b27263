import pytest

import tidemill as tm
from tidemill.processors.online_inference import Target
from tidemill.schemas.errors import DeclarationError

FIELDS = ["origin", "sex", "distance"]
CLASSES = Target((False, True))


def test_defaults_ask_for_something():
    gates = tm.Gates()
    assert (gates.confidence, gates.calibration, gates.leakage) == (0.95, 0.1, 0.98)
    gates.check(FIELDS, CLASSES)
    gates.check(FIELDS, Target())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"confidence": 95}, r"Gates\(confidence\): expected a number from 0.5 to 0.9999, got 95"),
        ({"margin": -1}, r"Gates\(margin\): expected a number from 0 on, got -1"),
        ({"calibration": 2}, "expected a number from 0 to 1, got 2"),
        ({"latency_ms": 0}, r"Gates\(latency_ms\): expected a number above 0, got 0"),
        ({"memory_mb": True}, "got True"),
        ({"least_rows": 1}, r"Gates\(least_rows=1\): expected a whole number from 2 on"),
        ({"resamples": 1e3}, "expected a whole number from 100 on"),
        ({"slices": ["origin"]}, r"Gates\(slices=\['origin'\]\): expected a mapping"),
        ({"slices": {"origin": -0.1}}, "slices={'origin'"),
        ({"sensitive": {"sex": 0.1}}, r"expected tm.Fairness\(...\) with one limit at least"),
        ({"sensitive": {"sex": tm.Fairness()}}, "with one limit at least"),
        ({"sensitive": {"sex": tm.Fairness(equalised_odds=7)}}, "expected a number from 0 to 1, got 7"),
    ],
)
def test_what_makes_no_sense_is_refused(given, said):
    with pytest.raises(DeclarationError, match=said):
        tm.Gates(**given)


def test_misspelt_names_are_answered_with_the_nearest():
    with pytest.raises(DeclarationError, match=r"Gates\(slices=...\) names a field 'orgin'.*did you mean 'origin'"):
        tm.Gates(slices={"orgin": 0.1}).check(FIELDS, CLASSES)
    with pytest.raises(DeclarationError, match=r"Gates\(sensitive=...\) names a field 'sx'.*did you mean 'sex'"):
        tm.Gates(sensitive={"sx": tm.Fairness(0.1)}).check(FIELDS, CLASSES)
    with pytest.raises(DeclarationError, match="did you mean 'accuracy'"):
        tm.Gates(metric="acuracy").check(FIELDS, CLASSES)


def test_fairness_needs_classes():
    with pytest.raises(DeclarationError, match="a regression has no classes"):
        tm.Gates(sensitive={"sex": tm.Fairness(0.1)}).check(FIELDS, Target())
