"""Candidates of every kind, tried in processes of their own."""

import sys

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from tidemill.processors.frames import to_model_frame
from tidemill.processors.online_inference import Target, dump_model
from tidemill.processors.online_inference.scorer import Scorer
from tidemill.streams import trial_process
from tidemill.streams.trial_run import TrialProcess, run_trial

CLASSES = Target((False, True))
POISON = """
import os
import time
import numpy as np

print("a model may print what it likes")


class Dies:
    classes_ = np.array([False, True])

    def predict_proba(self, frame):
        if len(np.unique(frame["x"])) > 1:
            os.kill(os.getpid(), 9)
        return np.full((len(frame), 2), 0.5)


class Hangs(Dies):
    def predict_proba(self, frame):
        time.sleep(3600)
"""


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return pa.table({"x": rng.normal(size=300), "z": pa.array(rng.integers(0, 9, 300))})


@pytest.fixture
def poison(tmp_path, monkeypatch):
    (tmp_path / "poisoned_models.py").write_text(POISON)
    monkeypatch.syspath_prepend(str(tmp_path))
    import poisoned_models

    yield poisoned_models
    del sys.modules["poisoned_models"]


def test_a_good_candidate(rows):
    frame = to_model_frame(rows, ["x", "z"])
    model = LogisticRegression(max_iter=500).fit(frame, frame["x"] > 0)
    run = run_trial(dump_model(model), ["x", "z"], CLASSES, rows, rows.slice(0, 70))
    assert run.trial.failure == ""
    assert (run.trial.scored, run.trial.failed, run.trial.extremes_failed, run.trial.differing) == (300, 0, 0, 0)
    assert run.trial.compared > 300
    assert run.trial.batch_rows == 10_000
    assert min(run.trial.load_ms, run.trial.row_p99_ms, run.trial.batch_p99_ms, run.trial.memory_mb) > 0
    here, _ = Scorer(model, CLASSES).score(frame)
    assert np.array_equal(run.scores, here)
    assert np.array_equal(run.fresh_scores, here[:70])


def test_what_workers_would_not_load_is_refused_here_too(rows, poison, monkeypatch):
    monkeypatch.setattr(TrialProcess, "run", lambda self, seconds: trial_process.main(self.folder) or "")
    artefact = dump_model(poison.Dies())
    run = run_trial(artefact, ["x"], CLASSES, rows)
    assert f"start with --trust-model {artefact.sha256}" in run.trial.failure
    assert run.scores.shape == (300, 2)
    assert np.isnan(run.scores).all()


def test_a_candidate_that_takes_its_process_with_it(rows, poison):
    artefact = dump_model(poison.Dies())
    run = run_trial(artefact, ["x"], CLASSES, rows, trusted=[artefact.sha256])
    assert run.trial.failure == "its process was ended by SIGKILL while it scored the mature rows"
    assert run.trial.load_ms > 0


def test_a_candidate_that_hangs(rows, poison):
    artefact = dump_model(poison.Hangs())
    run = run_trial(artefact, ["x"], CLASSES, rows, trusted=[artefact.sha256], seconds=1)
    assert run.trial.failure.startswith("its time of 1 s was over while it ")
