"""What is told of a training job to a tracking server, and which models its aliases stand for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any, Protocol

_PACKAGES = (
    "tidemill",
    "scikit-learn",
    "numpy",
    "scipy",
    "pandas",
    "polars",
    "pyarrow",
    "skops",
    "optuna",
    "river",
    "diffprivlib",
)
_OPEN = ("shadow", "canary")


class TrackedTrial(Protocol):
    """A trial of a search, as `processors.training.search.Trial` is one."""

    @property
    def number(self) -> int:
        """Its number, -1 for the baseline."""

    @property
    def candidate(self) -> str:
        """The candidate's name."""

    @property
    def params(self) -> Mapping[str, Any]:
        """Its parameters; empty for one as declared."""

    @property
    def state(self) -> str:
        """One of complete, pruned, failed."""

    @property
    def score(self) -> float | None:
        """The metric, if it is complete."""

    @property
    def folds(self) -> Sequence[float]:
        """The metric fold by fold."""

    @property
    def error(self) -> str:
        """Why it failed."""


@dataclass(frozen=True)
class TrackedJob:
    """A training job, whichever way it ended.

    `metrics` are figures by name, `intervals` their confidence intervals where they have one. `dataset` is the data
    set's id and `manifest` what it consists of. `plots` are PNGs by name, `model` the artefact's bytes, `version` the
    model's, `card` Markdown, `profile` any JSON text. `verdict` is "passed", "refused" or what else the job says.
    """

    job_id: str
    trigger_id: str = ""
    verdict: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    metric: str = "score"
    trials: Sequence[TrackedTrial] = ()
    dataset: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    profile: str = ""
    plots: Mapping[str, bytes] = field(default_factory=dict)
    card: str = ""
    version: str = ""
    model: bytes = field(default=b"", repr=False)
    model_format: str = "skops"


def environment() -> dict[str, str]:
    """The versions of Python and of what a model's bytes depend on, of those that are installed."""
    found = {"python": python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Aliases:
    """The versions that serve and that may be next, and each version's status."""

    champion: str | None
    challenger: str | None
    statuses: Mapping[str, str]


def aliases(records: Iterable[Mapping[str, Any]]) -> Aliases:
    """What records of P.models say, in the order of the log: each version's last status counts.

    The champion is the last version that became it and still is. The challenger is the newest canary, or else the
    newest shadow; not a former champion that is only kept to compare.

    >>> log = [("a", "champion"), ("b", "shadow"), ("b", "canary"), ("c", "refused")]
    >>> found = aliases({"model_version": version, "status": status} for version, status in log)
    >>> found.champion, found.challenger
    ('a', 'b')
    """
    statuses: dict[str, str] = {}
    champions: set[str] = set()
    for record in records:
        name, status = record["model_version"], record["status"]
        statuses.pop(name, None)
        statuses[name] = status
        if status == "champion":
            champions.add(name)
    serving = [name for name, status in statuses.items() if status == "champion"]
    waiting = {
        wanted: [name for name, status in statuses.items() if status == wanted and name not in champions]
        for wanted in _OPEN
    }
    challengers = waiting["canary"] or waiting["shadow"]
    return Aliases(serving[-1] if serving else None, challengers[-1] if challengers else None, statuses)
