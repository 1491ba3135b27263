import pytest

from tidemill.cli.explain import _chosen
from tidemill.schemas.errors import DeclarationError

TWO = ["flights.events", "flights.models", "orders.events"]


def test_the_pipeline_comes_first_or_is_the_only_one():
    assert _chosen(["flights", "UA1"], TWO) == "flights"
    assert _chosen(["flights.py", "UA1"], TWO) == "flights.py"
    assert _chosen(["UA1"], TWO[:2]) == "flights"
    # An event may be called as a pipeline is.
    assert _chosen(["flights", "orders"], TWO) == "flights"


def test_what_cannot_be_known_is_asked_for():
    with pytest.raises(DeclarationError, match=r"found 2: flights, orders.*tidemill explain PIPELINE UA1"):
        _chosen(["UA1"], TWO)
    with pytest.raises(DeclarationError, match="found 0"):
        _chosen(["UA1"], [])
    with pytest.raises(DeclarationError, match="the pipeline comes first: tidemill explain flights UA1"):
        _chosen(["UA1", "flights"], TWO)
