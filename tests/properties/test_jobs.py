"""A job ends for good because of itself, whatever becomes of its runners in between."""

import importlib.util
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tidemill.streams.jobs.launcher import Told
from tidemill.streams.jobs.status import ENDED
from tidemill.streams.retraining import decode_jobs

_UNIT = Path(__file__).parents[1] / "unit" / "streams" / "jobs" / "test_runner.py"
_SPEC = importlib.util.spec_from_file_location("runner_world", _UNIT)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

ATTEMPTS, INTERRUPTIONS = 3, 5


def end_of(fates):
    """What should come of it: the first of its limits that is reached, else what it does when it is left alone."""
    failures = interruptions = 0
    for fate in fates:
        if interruptions == INTERRUPTIONS:
            break
        if fate == "fails":
            failures += 1
            if failures == ATTEMPTS:
                break
        elif fate != "stopped":
            interruptions += 1
    good = failures < ATTEMPTS and interruptions < INTERRUPTIONS
    return ("succeeded" if good else "failed"), failures


@given(st.lists(st.sampled_from(["fails", "killed", "revoked", "stopped"]), max_size=14))
def test_only_its_own_failures_and_many_interruptions_end_a_job(fates):
    world = _MODULE.World()
    world.add("a")

    def rows():
        return decode_jobs([record.value for record in world.written])

    for fate in fates:
        world.read, world.told = 0, [Told(failure="no")] if fate == "fails" else []
        runner = world.runner(attempts=ATTEMPTS, interruptions=INTERRUPTIONS, backoff=0)
        if rows() and rows()[-1]["state"] in ENDED:
            break
        runner.step()
        if fate == "fails":
            runner.step()
        elif fate == "revoked":
            runner.revoked(0)
        elif fate == "stopped":
            runner.hand_over()
    world.read, world.told = 0, [Told(result={"state": "succeeded", "reason": "", "model_version": "m"})]
    last = world.runner(attempts=ATTEMPTS, interruptions=INTERRUPTIONS, backoff=0)
    for _ in range(4):
        last.step()
    ended = [row for row in rows() if row["state"] in ENDED]
    assert [(row["state"], row["failures"]) for row in ended] == [end_of(fates)]
    assert len(world.published) == (ended[0]["state"] == "succeeded")
