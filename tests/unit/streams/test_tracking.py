import logging
import os
import socket
import warnings

import numpy as np
import pytest

from tidemill.processors.training.search import Trial
from tidemill.streams.plots import pictures
from tidemill.streams.tracked import TrackedJob, aliases
from tidemill.streams.tracking import Tracking, store_uri
from tidemill.streams.tracking_spool import leave, left, record_left

TRIALS = (
    Trial(-1, "baseline", {}, "complete", 0.69, (0.7, 0.68)),
    Trial(0, "tree", {"max_depth": 3}, "complete", 0.5, (0.55, 0.45)),
    Trial(1, "tree", {"max_depth": 9}, "pruned", None, (0.9,)),
    Trial(2, "net", {}, "failed", None, (), "ValueError: no"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def tracking(folder):
    """One store for all: to make its tables takes MLflow seconds. Whoever calls anybody else fails."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"a call over the network: {args}")

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield Tracking("tides", folder=folder)


@pytest.fixture(scope="module")
def client(tracking):
    assert tracking.follow([]) is True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield tracking._client()


def job(job_id="job-1", **changes):
    given = {
        "trigger_id": "trigger-1",
        "verdict": "passed",
        "params": {"candidate": "tree", "max_depth": 3},
        "metrics": {"log_loss": 0.5},
        "intervals": {"log_loss": (0.4, 0.6)},
        "metric": "log_loss",
        "trials": TRIALS,
        "dataset": "abc123",
        "manifest": {"rows": 10},
        "profile": "{}",
        "plots": pictures(np.array([True, False] * 10), np.tile([[0.4, 0.6]], (20, 1)), (False, True)),
        "card": "# A card",
        "version": "v-" + job_id,
        "model": b"bytes",
    }
    return TrackedJob(job_id, **(given | changes))


def runs(client, job_id):
    experiment = client.get_experiment_by_name("tides").experiment_id
    found = client.search_runs([experiment], f"tags.`tidemill.job_id` = '{job_id}'")
    return {run.info.run_name: run for run in found}


def test_a_job_is_a_run_with_one_inside_for_each_trial(tracking, client, folder):
    run_id = tracking.record(job())
    found = runs(client, "job-1")
    assert set(found) == {"job-1", "baseline", "tree 0", "tree 1", "net 2"}
    run = found["job-1"]
    assert run.info.run_id == run_id
    assert run.data.params == {"candidate": "tree", "max_depth": "3"}
    assert run.data.metrics == {"log_loss": 0.5, "log_loss_low": 0.4, "log_loss_high": 0.6}
    assert run.data.tags["tidemill.verdict"] == "passed"
    assert run.data.tags["environment.numpy"] == np.__version__
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("abc123", "abc123")
    assert {name: found[name].info.status for name in found} == {
        "job-1": "FINISHED",
        "baseline": "FINISHED",
        "tree 0": "FINISHED",
        "tree 1": "KILLED",
        "net 2": "FAILED",
    }
    assert all(found[name].data.tags["mlflow.parentRunId"] == run_id for name in found if name != "job-1")
    assert found["tree 0"].data.metrics == {"log_loss": 0.5, "log_loss_fold": 0.45}
    assert found["net 2"].data.tags["tidemill.error"] == "ValueError: no"
    stored = folder / "artifacts" / run_id / "artifacts"
    assert (stored / "model" / "model.skops").read_bytes() == b"bytes"
    assert (stored / "model_card.md").read_text() == "# A card"
    assert {path.stem for path in (stored / "plots").iterdir()} == {"calibration", "roc", "precision_recall"}
    assert client.get_model_version("tides", "1").tags["tidemill.version"] == "v-job-1"


def test_another_attempt_takes_the_place_of_the_one_before(tracking, client):
    first = tracking.record(job("job-2", trials=TRIALS[:2]))
    second = tracking.record(job("job-2", trials=TRIALS[:2], verdict="refused"))
    found = runs(client, "job-2")
    assert set(found) == {"job-2", "baseline", "tree 0"}
    assert found["job-2"].info.run_id == second != first
    versions = client.search_model_versions("name = 'tides'")
    assert len([each for each in versions if each.tags["tidemill.version"] == "v-job-2"]) == 1


def records(*pairs):
    return [{"model_version": version, "status": status} for version, status in pairs]


def test_a_job_that_was_left_in_a_folder_takes_the_place_of_an_entry_without_bytes(tracking, client, tmp_path):
    told = job("late")
    tracking.follow([{"model_version": told.version, "status": "champion"}])
    bare = client.get_model_version_by_alias("tides", "champion")
    leave(tmp_path / "left", told)
    assert [found for _, found in left(tmp_path / "left")] == [told]
    assert record_left(tmp_path / "left", tracking)
    assert list(left(tmp_path / "left")) == []
    now = client.get_model_version_by_alias("tides", "champion")
    assert now.version != bare.version
    assert now.tags["tidemill.version"] == told.version
    assert now.tags["tidemill.status"] == "champion"
    assert now.run_id
    assert bare.version not in [each.version for each in client.search_model_versions("name='tides'")]
    client.delete_model_version("tides", now.version)


def test_what_cannot_be_written_down_stays_in_the_folder(tmp_path):
    (tmp_path / "file").write_text("")
    leave(tmp_path, job("stays"))
    assert not record_left(tmp_path, Tracking("tides", f"sqlite:///{tmp_path / 'file' / 'no.db'}"))
    assert len(list(left(tmp_path))) == 1


def test_the_aliases_follow_the_log(tracking, client):
    def said():
        numbers = {
            str(each.version): each.tags["tidemill.version"] for each in client.search_model_versions("name='tides'")
        }
        return {alias: numbers[str(n)] for alias, n in client.get_registered_model("tides").aliases.items()}

    log = records(("v-job-1", "champion"), ("v-job-2", "shadow"))
    assert tracking.follow(log)
    assert tracking.follow(log)
    assert said() == {"champion": "v-job-1", "challenger": "v-job-2"}
    log += records(("v-job-2", "canary"), ("v-job-2", "champion"), ("v-job-1", "shadow"))
    tracking.follow(log)
    assert said() == {"champion": "v-job-2"}
    # Rolled back; and a version that MLflow has never heard of.
    log += records(("v-job-2", "rolled_back"), ("v-job-1", "champion"), ("unheard", "shadow"))
    tracking.follow(log)
    assert said() == {"champion": "v-job-1", "challenger": "unheard"}
    tracking.follow([*log, *records(("v-job-1", "retired"), ("unheard", "refused"))])
    assert said() == {}
    statuses = {
        each.tags["tidemill.version"]: each.tags["tidemill.status"]
        for each in client.search_model_versions("name='tides'")
    }
    assert statuses == {"v-job-1": "retired", "v-job-2": "rolled_back", "unheard": "refused"}


def test_what_the_log_says():
    assert aliases([]).champion is None
    found = aliases(records(("a", "champion"), ("b", "champion"), ("c", "shadow"), ("d", "canary"), ("e", "shadow")))
    assert (found.champion, found.challenger) == ("b", "d")


def test_a_server_that_is_away_does_not_break_a_job(caplog, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        away = Tracking("tides", f"http://user:hunter2@127.0.0.1:{taken.getsockname()[1]}")
        with caplog.at_level(logging.WARNING):
            assert away.record(job()) is None
            assert away.follow(records(("a", "champion"))) is False
    assert "job job-1 is not in MLflow" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_store_that_cannot_be_written_does_not_break_a_job(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert Tracking("tides", folder=tmp_path / "file").record(job()) is None
    assert "all else goes on" in caplog.text


def test_where_runs_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    assert store_uri() == "http://localhost:1"
    assert store_uri("http://localhost:2") == "http://localhost:2"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert store_uri(folder=tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


def test_telemetry_is_off(client):
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == os.environ["DO_NOT_TRACK"] == "true"


def test_pictures_of_classes_and_of_numbers():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1, 1, 1], 50)
    labels = np.array(["a", "b", "c"])[scores.argmax(axis=1)]
    drawn = pictures(labels, scores, ("a", "b", "c"))
    assert set(drawn) == {"calibration", "roc", "precision_recall"}
    drawn |= pictures(rng.normal(size=20), rng.normal(size=(20, 1)))
    assert all(picture.startswith(b"\x89PNG") for picture in drawn.values())
    assert set(pictures(np.array([True, True]), np.array([[0, 1], [0, 1.0]]), (False, True))) == {"calibration"}
    assert pictures(np.array([]), np.empty((0, 1))) == {}
