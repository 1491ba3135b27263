"""Jobs as child processes: what they tell, their limits, and that nothing of them is left."""

import os
import sys
import time
from pathlib import Path

import pytest

from tidemill.streams.jobs.launcher import JobSpec, Limits, LocalProcess, Told, resident_megabytes

SPEC = JobSpec("0123456789abcdef", 2, {"cause": "request", "reason": "asked"})


def launch(source, limits=None, **more):
    return LocalProcess([sys.executable, "-u", "-c", source], limits or Limits(60), **more).launch(SPEC)


def until_end(job, seconds=30):
    told, deadline = Told(), time.monotonic() + seconds
    while told.result is None and told.failure is None:
        assert time.monotonic() < deadline
        new = job.poll()
        told = Told([*told.steps, *new.steps], new.result, new.failure)
        time.sleep(0.01)
    return told


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # Ended, and not yet waited for by whoever has inherited it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_it_reads_its_specification_and_tells_steps_and_a_result():
    told = until_end(
        launch(
            "import json, sys; spec = json.loads(sys.stdin.readline()); print('a word of a library');"
            "print(json.dumps({'step': 'fitting', 'progress': 0.5}));"
            "print(json.dumps({'result': {'state': 'succeeded', 'seen': spec}}))"
        )
    )
    assert [step["step"] for step in told.steps] == ["fitting"]
    assert told.result["seen"] == {"id": SPEC.id, "attempt": 2, "trigger": dict(SPEC.trigger)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("print('[1, 2]')", "without a result"),
    ],
)
def test_one_that_ends_without_a_result_has_failed(source, expected):
    assert expected in until_end(launch(source)).failure


def test_one_that_takes_too_long_is_ended():
    seconds = iter([0.0, 1.0, 61.0])
    job = launch("import time; time.sleep(60)", Limits(60), clock=lambda: next(seconds))
    assert job.poll() == Told()
    assert "longer than 60 s" in job.poll().failure


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not say how much memory is used")
def test_one_that_takes_too_much_memory_is_ended():
    told = until_end(launch("import time; held = bytearray(300_000_000); time.sleep(60)", Limits(60, 200)))
    assert "200 MB is the limit" in told.failure
    assert resident_megabytes(os.getpgid(0)) > 1


def test_its_own_children_end_with_it():
    source = (
        "import json, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(json.dumps({'step': str(child.pid)})); time.sleep(60)"
    )
    job, deadline, steps = launch(source), time.monotonic() + 30, []
    while not steps:
        assert time.monotonic() < deadline
        steps = job.poll().steps
    job.cancel()
    pid = int(steps[0]["step"])
    while not gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_that_is_started_ahead_takes_the_next_job_and_ends_with_the_launcher():
    source = (
        "import json, os, sys; line = sys.stdin.readline();"
        "print(json.dumps({'result': {'pid': os.getpid(), 'id': json.loads(line)['id']}})) if line else None"
    )
    launcher = LocalProcess([sys.executable, "-u", "-c", source], Limits(60), ahead=True)
    try:
        waiting = launcher._waiting.pid
        told = until_end(launcher.launch(SPEC))
        assert told.result == {"pid": waiting, "id": SPEC.id}
        following = launcher._waiting.pid
    finally:
        launcher.close()
    assert following != waiting
    assert gone(following)
