"""Jobs on Kubernetes: each is a Job made from a manifest, and talks by its log.

Only `kubectl` is used, with whatever access it is configured for. The manifest is a Job as JSON or YAML that kubectl
takes; `{{id}}`, `{{attempt}}` and `{{spec}}` in it are replaced by the job's id, its attempt, and its specification in
base64, which `tidemill job` finds in TIDEMILL_JOB. Limits of memory are the manifest's own.
"""

import base64
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tidemill.schemas.errors import DeclarationError
from tidemill.streams.jobs.launcher import JobSpec, Limits, LocalJob, Told

_PLACES = ("{{id}}", "{{spec}}")
_SECONDS = 60.0


class KubernetesJob:
    """A `Launcher` by way of `kubectl`."""

    def __init__(
        self,
        manifest: str | None,
        limits: Limits,
        kubectl: Sequence[str] = ("kubectl",),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if manifest is None:
            raise DeclarationError(
                "--launcher kubernetes: give a Job's --manifest; deploy/kubernetes/ has one to begin with"
            )
        text = Path(manifest).read_text(encoding="utf-8")
        for place in _PLACES:
            if place not in text:
                raise DeclarationError(f"{manifest}: expected {place} somewhere in the manifest, found none")
        self._text, self._limits, self._kubectl, self._clock = text, limits, list(kubectl), clock

    def launch(self, spec: JobSpec) -> "ClusterJob":
        """Create the Job, and follow its log."""
        encoded = base64.b64encode(spec.line().encode()).decode()
        text = self._text.replace("{{id}}", spec.id).replace("{{attempt}}", str(spec.attempt))
        made = subprocess.run(
            [*self._kubectl, "create", "-o", "name", "-f", "-"],
            input=text.replace("{{spec}}", encoded),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        return ClusterJob(made.stdout.strip(), made.stderr.strip(), spec, self._limits, self._kubectl, self._clock)


class ClusterJob:
    """A Job of a cluster."""

    def __init__(
        self,
        name: str,
        problem: str,
        spec: JobSpec,
        limits: Limits,
        kubectl: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        self._name, self._problem, self._kubectl = name, problem, list(kubectl)
        self._log: LocalJob | None = None
        if name:
            follow = [*kubectl, "logs", "--follow", f"--pod-running-timeout={limits.seconds:g}s", name]
            process = subprocess.Popen(
                follow, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            self._log = LocalJob(process, spec, Limits(limits.seconds), clock)

    def poll(self) -> Told:
        """See `Running.poll`."""
        if self._log is None:
            return Told(failure=f"kubectl could not create the job: {self._problem}")
        told = self._log.poll()
        if told.result is not None or told.failure is not None:
            self._delete()
        return told

    def cancel(self) -> None:
        """See `Running.cancel`."""
        if self._log is not None:
            self._log.cancel()
        self._delete()

    def _delete(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [*self._kubectl, "delete", "--ignore-not-found", "--wait=false", self._name],
                capture_output=True,
                timeout=_SECONDS,
            )
