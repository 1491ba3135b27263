"""Jobs by way of kubectl, of which a stand-in records what it is asked."""

import base64
import json
import stat
import sys
import time
from pathlib import Path

import pytest

from tidemill.schemas.errors import DeclarationError
from tidemill.streams.jobs.kubernetes import KubernetesJob
from tidemill.streams.jobs.launcher import JobSpec, Limits

MANIFEST = Path(__file__).parents[4] / "deploy/kubernetes/training-job.yaml"
SPEC = JobSpec("0123456789abcdef", 1, {"cause": "request", "reason": "asked"})
KUBECTL = """#!{python}
import json, pathlib, sys

folder = pathlib.Path(__file__).parent
with (folder / "asked").open("a") as asked:
    asked.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "create":
    (folder / "manifest").write_text(sys.stdin.read())
    if (folder / "refuses").exists():
        sys.exit("forbidden: jobs.batch")
    print("job.batch/tidemill-0123")
if sys.argv[1] == "logs":
    print(json.dumps({{"result": {{"state": "refused", "reason": "too little"}}}}))
"""


@pytest.fixture
def kubectl(tmp_path):
    made = tmp_path / "kubectl"
    made.write_text(KUBECTL.format(python=sys.executable))
    made.chmod(made.stat().st_mode | stat.S_IXUSR)
    return made


def asked(kubectl):
    return [json.loads(line) for line in (kubectl.parent / "asked").read_text().splitlines()]


def until_end(job):
    deadline = time.monotonic() + 30
    while True:
        told = job.poll()
        if told.result is not None or told.failure is not None:
            return told
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_is_created_followed_and_deleted(kubectl):
    job = KubernetesJob(str(MANIFEST), Limits(60), [str(kubectl)]).launch(SPEC)
    assert until_end(job).result == {"state": "refused", "reason": "too little"}
    assert [each[0] for each in asked(kubectl)] == ["create", "logs", "delete"]
    text = (kubectl.parent / "manifest").read_text()
    assert "{{" not in text
    encoded = text.split("name: TIDEMILL_JOB\n")[1].split('value: "')[1].split('"')[0]
    assert json.loads(base64.b64decode(encoded))["id"] == SPEC.id


def test_one_that_cannot_be_created_has_failed_with_what_kubectl_says(kubectl):
    (kubectl.parent / "refuses").touch()
    job = KubernetesJob(str(MANIFEST), Limits(60), [str(kubectl)]).launch(SPEC)
    assert "forbidden: jobs.batch" in until_end(job).failure


def test_a_manifest_without_a_place_for_the_job_is_refused(tmp_path):
    (tmp_path / "job.yaml").write_text("kind: Job")
    with pytest.raises(DeclarationError, match="somewhere in the manifest"):
        KubernetesJob(str(tmp_path / "job.yaml"), Limits(60))
    with pytest.raises(DeclarationError, match="--manifest"):
        KubernetesJob(None, Limits(60))
