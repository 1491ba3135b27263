"""Training jobs in MLflow: a run for each with one inside for each trial, and aliases that follow P.models.

The only place that imports MLflow. Nothing here may break a job: what MLflow cannot take is logged, and the job goes
on. P.models says which model serves; MLflow only shows it.
"""

import json
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tidemill.schemas.errors import StreamError
from tidemill.streams.tracked import TrackedJob, TrackedTrial, aliases, environment

JOB, VERSION, STATUS = "tidemill.job_id", "tidemill.version", "tidemill.status"
_STATES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_LONGEST_PARAM = 500
_QUIET = {
    # No word to anybody about what is done here.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # A server that is away must not hold a job up for the minutes that MLflow would try.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
log = logging.getLogger(__name__)


def home() -> Path:
    """The folder for runs where no server is named: `mlflow` in TIDEMILL_HOME, by default `.tidemill`."""
    return Path(os.environ.get("TIDEMILL_HOME", ".tidemill")).absolute() / "mlflow"


def store_uri(uri: str | None = None, folder: Path | None = None) -> str:
    """Where runs are kept: `uri`, else what MLFLOW_TRACKING_URI says, else an SQLite file in the folder."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder or home()) / 'mlflow.db'}"


def ui_command(uri: str | None = None, folder: Path | None = None, port: int = 5000) -> list[str]:
    """The command that shows the runs in a browser, on this machine only and without any network.

    >>> " ".join(ui_command("sqlite:///runs.db")[1:])
    '-m mlflow ui --backend-store-uri sqlite:///runs.db --host 127.0.0.1 --port 5000 --workers 1'
    """
    where = ["--backend-store-uri", store_uri(uri, folder), "--host", "127.0.0.1", "--port", f"{port}"]
    # By default MLflow starts four processes, each of which takes seconds to import all of it.
    return [sys.executable, "-m", "mlflow", "ui", *where, "--workers", "1"]


def quiet_environment() -> dict[str, str]:
    """The process's environment with MLflow's telemetry off."""
    return {**_QUIET, **os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


class Tracking:
    """A pipeline's experiment and its registered model, both of the pipeline's name."""

    def __init__(self, pipeline: str, uri: str | None = None, folder: Path | None = None) -> None:
        """`uri` is a server's or a database's; see `store_uri`. Nothing is opened before it is needed."""
        self._pipeline, self._folder = pipeline, (folder or home()).absolute()
        self._uri = store_uri(uri, self._folder)
        self._local = self._uri.startswith("sqlite:")
        self._opened: Any = None

    def record(self, job: TrackedJob) -> str | None:
        """Write a job down and register its model; the run's id, or None if MLflow cannot be reached.

        A job that is written down again, after another attempt, takes the place of the run before.
        """
        with self._guard(f"job {job.job_id}"):
            return self._record(self._client(), job)
        return None

    def follow(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Let the aliases `champion` and `challenger` stand for what the records of P.models say; True if they do.

        To do it again changes nothing. A version that is not registered yet gets an entry without bytes: these are on
        the log.
        """
        with self._guard("the state of P.models"):
            self._follow(self._client(), records)
            return True
        return False

    @contextmanager
    def _guard(self, what: str) -> Iterator[None]:
        with warnings.catch_warnings():
            # MLflow's own use of its libraries, which nobody here can change.
            warnings.simplefilter("ignore")
            try:
                yield
            except Exception as error:  # noqa: BLE001 - whatever MLflow raises, the job goes on
                said = re.sub(r"//[^/@\s]+@", "//***@", f"{type(error).__name__}: {error}")
                log.warning("%s is not in MLflow, all else goes on: %s", what, said.splitlines()[0][:500])

    def _client(self) -> Any:
        if self._opened is None:
            for name, value in _QUIET.items():
                os.environ.setdefault(name, value)
            try:
                tracking = import_module("mlflow.tracking")
            except ImportError as error:
                raise StreamError("MLflow is not installed: pip install 'tidemill[training]'") from error
            for name in ("mlflow", "alembic"):
                logging.getLogger(name).setLevel(logging.ERROR)
            if self._local:
                Path(self._uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            self._opened = tracking.MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        return self._opened

    def _experiment(self, client: Any) -> str:
        known = client.get_experiment_by_name(self._pipeline)
        if known is not None:
            return str(known.experiment_id)
        where = (self._folder / "artifacts").as_uri() if self._local else None
        try:
            return str(client.create_experiment(self._pipeline, artifact_location=where))
        except Exception:
            # Another runner was quicker.
            known = client.get_experiment_by_name(self._pipeline)
            if known is None:
                raise
            return str(known.experiment_id)

    def _record(self, client: Any, job: TrackedJob) -> str:
        experiment = self._experiment(client)
        self._forget(client, experiment, job.job_id)
        tags = {
            "mlflow.runName": job.job_id,
            JOB: job.job_id,
            VERSION: job.version,
            "tidemill.trigger_id": job.trigger_id,
            "tidemill.verdict": job.verdict,
        }
        run = client.create_run(experiment, tags={name: value for name, value in tags.items() if value})
        found = str(run.info.run_id)
        try:
            for trial in job.trials:
                self._trial(client, experiment, found, job, trial)
            self._describe(client, found, job)
            if job.model:
                self._register(client, found, str(run.info.artifact_uri), job)
        except BaseException:
            client.set_terminated(found, "FAILED")
            raise
        client.set_terminated(found, "FINISHED")
        return found

    def _forget(self, client: Any, experiment: str, job_id: str) -> None:
        """What an earlier attempt of the job has left."""
        quoted = job_id.replace("'", "")
        for run in client.search_runs([experiment], f"tags.`{JOB}` = '{quoted}'", max_results=10_000):
            client.delete_run(run.info.run_id)

    def _trial(self, client: Any, experiment: str, parent: str, job: TrackedJob, trial: TrackedTrial) -> None:
        name = trial.candidate if trial.number < 0 else f"{trial.candidate} {trial.number}"
        tags = {"mlflow.parentRunId": parent, "mlflow.runName": name, JOB: job.job_id, "tidemill.error": trial.error}
        tags = {key: value[:5000] for key, value in tags.items() if value}
        run = client.create_run(experiment, tags=tags)
        figures = [(f"{job.metric}_fold", value, step) for step, value in enumerate(trial.folds)]
        if trial.score is not None:
            figures.append((job.metric, trial.score, 0))
        self._figures(client, run.info.run_id, {"candidate": trial.candidate, **trial.params}, figures)
        client.set_terminated(run.info.run_id, _STATES[trial.state])

    def _describe(self, client: Any, run: str, job: TrackedJob) -> None:
        figures = [(name, value, 0) for name, value in job.metrics.items()]
        for name, (low, high) in job.intervals.items():
            figures += [(f"{name}_low", low, 0), (f"{name}_high", high, 0)]
        versions = environment()
        self._figures(client, run, job.params, figures)
        for name, number in versions.items():
            client.set_tag(run, f"environment.{name}", number)
        if job.dataset:
            client.log_inputs(run, datasets=[self._dataset(job)])
        texts = {
            "environment.json": json.dumps(versions, indent=1),
            "model_card.md": job.card,
            "profile.json": job.profile,
            "dataset.json": json.dumps(job.manifest, indent=1, default=str) if job.manifest else "",
        }
        for name, text in texts.items():
            if text:
                client.log_text(run, text, name)
        with TemporaryDirectory() as folder:
            for name, picture in job.plots.items():
                path = Path(folder) / f"{name}.png"
                path.write_bytes(picture)
                client.log_artifact(run, str(path), "plots")

    def _figures(
        self, client: Any, run: str, params: Mapping[str, Any], figures: Sequence[tuple[str, float, int]]
    ) -> None:
        entities, now = import_module("mlflow.entities"), time.time_ns() // 1_000_000
        client.log_batch(
            run,
            metrics=[entities.Metric(_named(name), value, now, step) for name, value, step in figures],
            params=[entities.Param(_named(name), str(value)[:_LONGEST_PARAM]) for name, value in params.items()],
        )

    def _dataset(self, job: TrackedJob) -> Any:
        entities = import_module("mlflow.entities")
        source = json.dumps({"tidemill": job.dataset})
        # The digest has 36 characters at most.
        made = entities.Dataset(job.dataset[:500], job.dataset[:36], "tidemill", source, None, None)
        return entities.DatasetInput(made, [entities.InputTag("mlflow.data.context", "training")])

    def _register(self, client: Any, run: str, artefacts: str, job: TrackedJob) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"model.{job.model_format}"
            path.write_bytes(job.model)
            client.log_artifact(run, str(path), "model")
        self._model(client)
        if not job.version:
            return
        known = self._entries(client).get(job.version)
        if known is not None and JOB in known.tags:
            return
        made = client.create_model_version(
            self._pipeline, f"{artefacts}/model", run, tags={VERSION: job.version, JOB: job.job_id}
        )
        if known is not None:
            # An entry without bytes, of a runner that saw the announcement first.
            self._replace(client, known, str(made.version))

    def _replace(self, client: Any, known: Any, by: str) -> None:
        """Let another entry stand for what this one stood for."""
        if STATUS in known.tags:
            client.set_model_version_tag(self._pipeline, by, STATUS, known.tags[STATUS])
        for alias, version in dict(client.get_registered_model(self._pipeline).aliases).items():
            if str(version) == str(known.version):
                client.set_registered_model_alias(self._pipeline, alias, by)
        client.delete_model_version(self._pipeline, str(known.version))

    def _model(self, client: Any) -> Any:
        """The registered model; made if there is none."""
        try:
            return client.get_registered_model(self._pipeline)
        except Exception:  # noqa: BLE001 - MLflow has one exception for all; if it is another, the next call raises it
            return client.create_registered_model(self._pipeline)

    def _entries(self, client: Any) -> dict[str, Any]:
        """MLflow's entry of each version of ours."""
        found = client.search_model_versions(f"name = '{self._pipeline}'", max_results=10_000)
        return {entry.tags[VERSION]: entry for entry in found if VERSION in entry.tags}

    def _follow(self, client: Any, records: Sequence[Mapping[str, Any]]) -> None:
        wanted = aliases(records)
        if not wanted.statuses:
            return
        self._model(client)
        entries = self._entries(client)
        numbers = {name: str(entry.version) for name, entry in entries.items()}
        told = {name: entry.tags.get(STATUS) for name, entry in entries.items()}
        for name, status in wanted.statuses.items():
            if name not in numbers:
                source = (self._folder / "on-the-log" / name).as_uri() if self._local else f"runs:/{name}/model"
                made = client.create_model_version(self._pipeline, source, tags={VERSION: name, STATUS: status})
                numbers[name] = str(made.version)
            elif told.get(name) != status:
                client.set_model_version_tag(self._pipeline, numbers[name], STATUS, status)
        now = dict(client.get_registered_model(self._pipeline).aliases)
        for alias, version in (("champion", wanted.champion), ("challenger", wanted.challenger)):
            if version is None and alias in now:
                client.delete_registered_model_alias(self._pipeline, alias)
            elif version is not None and str(now.get(alias)) != numbers[version]:
                client.set_registered_model_alias(self._pipeline, alias, numbers[version])


def _named(name: str) -> str:
    """As MLflow takes names: letters, digits and a few signs."""
    return re.sub(r"[^\w\-. /]", "_", name)[:250]
