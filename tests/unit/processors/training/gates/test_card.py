import re
from dataclasses import replace

import numpy as np
import pytest

from tidemill.processors.training.gates import Fairness, Gates, Origin, Tried, card, examine, measures

GATES = Gates(slices={"origin": 0.02}, sensitive={"sex": Fairness(0.1, 0.1)}, resamples=200)
ORIGIN = Origin(
    "flights",
    "boosting",
    version="abc123",
    parameters={"max_depth": 4},
    dataset="d41d8cd9",
    ranges={"event times": "2013-01-01 to 2013-01-31", "partition 0": "offsets 0 to 999"},
    tried=[Tried("boosting", 12, 0.4211), Tried("broken", 3, None)],
    trigger="t1",
    job="j1",
    notes=["Weather was missing on 3 days."],
)


@pytest.fixture
def examined(world):
    return world.examination(gates=GATES)


def test_a_card_tells_all(examined):
    verdict = examine(examined)
    page = card(ORIGIN, examined, verdict)
    assert page.startswith("# Model card: boosting for flights\n\n**Let through**: it has passed all 13 gates")
    headings = re.findall(r"^##+ (.*)$", page, re.MULTILINE)
    assert headings == [
        *("What it is", "What was tried", "How good it is", "By slice", "Gates", "Fairness", "By sex", "Limits")
    ]
    for said in ("`abc123`", "`t1`", "`j1`", "`d41d8cd9`", "offsets 0 to 999", "| boosting | 12 | 0.4211 |", "failed"):
        assert said in page
    assert "parameter `max_depth` | `4`" in page
    assert "| origin=JFK | " in page
    assert all(result.message in page for result in verdict.results)
    assert "- Weather was missing on 3 days." in page
    made = measures(examined)["all"]["log_loss"]
    assert f"| **log_loss** | {made.value:.4f} ({made.low:.4f} to {made.high:.4f}) |" in page


def test_tables_are_whole(examined):
    for line in card(ORIGIN, examined, examine(examined)).splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_a_refused_candidate_has_a_card_too(examined, world, sigmoid):
    refused = replace(examined, candidate=np.where((world.origin == "JFK")[:, None], 0.5, examined.candidate))
    refused = replace(refused, champion=sigmoid(world.truth), trial=None)
    page = card(ORIGIN, refused, examine(refused))
    assert "**Refused** by champion, slices." in page
    assert "| slices | **refused** | log_loss is worse than the champion's in origin=JFK" in page
    assert "| latency | not tried | It needs a trial run. |" in page
    assert "The gate latency was not tried" in page


def test_private_fields_are_never_named_with_values(world):
    world.sex = np.where(world.sex == "f", "Amazonian", "Martian")
    world.origin = np.where(world.origin == "JFK", "Atlantis", world.origin)
    given = world.examination(gates=GATES, private={"sex", "origin"})
    verdict = examine(given)
    page = card(ORIGIN, given, verdict)
    for value in ("Amazonian", "Martian", "Atlantis", "EWR"):
        assert value not in page + verdict.to_json()
    assert "| sex=#1 | " in page
    assert "Private fields are never shown with values: `origin`, `sex`." in page


def test_values_of_events_do_no_harm(world):
    world.origin = world.origin.astype(object)
    world.origin[:500] = "<img src=x>|\nx"
    page = card(ORIGIN, world.examination(gates=GATES), examine(world.examination(gates=GATES)))
    assert "<img" not in page
    assert "origin=&lt;img src=x>\\| x" in page


def test_the_first_model_and_numbers(world):
    first = world.examination(champion=None)
    page = card(Origin("p", "m"), first, examine(first))
    assert "| metric | candidate | baseline |" in page
    assert "No sensitive field is declared" in page
    assert "No slices are declared" in page


def test_nothing_answered(world):
    given = world.examination(candidate=np.full((2_000, 2), np.nan))
    assert "It has answered no row" in card(Origin("p", "m"), given, examine(given))


def test_measures_by_slice(examined, world):
    made = measures(examined)
    assert list(made) == ["all", "origin=EWR", "origin=JFK", "origin=LGA"]
    accuracy = made["origin=JFK"]["accuracy"]
    right = examined.candidate.argmax(axis=1) == world.labels
    assert accuracy.value == pytest.approx(right[world.origin == "JFK"].mean())
    assert accuracy.low < accuracy.value < accuracy.high
