"""What a pipeline declares of drift: what is looked at, by which detector, and from which effect on it is an alarm."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from tidemill.processors.drift.detectors import DEFAULT, Detector, Kind, Sequential, sequential
from tidemill.processors.drift.distances import distance_named
from tidemill.processors.drift.findings import FindingKind
from tidemill.processors.drift.incident import Severity
from tidemill.processors.drift.rates import THRESHOLD as RATE_THRESHOLD
from tidemill.schemas.errors import DeclarationError, nearest

KINDS: tuple[str, ...] = get_args(FindingKind)
TWO_PROPORTIONS = "two_proportions"
CBPE = "cbpe"
GROUP_FIGURES = ("demographic_parity", "equalised_odds")
_CONCEPT_THRESHOLD = 0.15
_ESTIMATE_THRESHOLD = 0.2
_LARGEST = 100.0
_CRITICAL = 2.0


def severity_of(effect: float, threshold: float) -> Severity:
    """How bad an effect is, for a threshold from which on it counts."""
    return "critical" if abs(effect) >= _CRITICAL * threshold else "warning"


@dataclass(frozen=True)
class Drift:
    """One thing to look for; made by `data_drift`, `prediction_drift`, `concept_drift` and their like.

    `detector` is a distance for data and predictions, and a sequential detector, or what makes one, for concepts.
    `threshold` is the least effect that is an alarm; `columns` are those that are compared, None for all of them.
    """

    kind: FindingKind
    detector: str | Callable[[], Detector]
    threshold: float
    columns: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DeclarationError(f"there is no drift of the kind {self.kind!r}{nearest(self.kind, KINDS)}")
        given = self.threshold
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= _LARGEST:
            raise DeclarationError(
                f"{self.kind}(threshold={given!r}): expected an effect above 0 and at most {_LARGEST:g}"
            )

    @property
    def name(self) -> str:
        """The detector's name."""
        if isinstance(self.detector, str):
            return self.detector
        return str(getattr(self.detector, "__name__", type(self.detector).__name__))

    def sequential(self, kind: Kind, baseline: tuple[float, float] | None = None) -> Sequential:
        """A new sequential detector as declared, for outcomes of this kind."""
        return sequential(self.detector, kind=kind, baseline=baseline, **self.settings)

    def check_columns(self, known: Sequence[str]) -> None:
        """Raise DeclarationError unless all named columns are there."""
        for name in self.columns or ():
            if name not in known:
                raise DeclarationError(f"{self.kind} names a column {name!r} that is not there{nearest(name, known)}")


def data_drift(distance: str = "psi", *, threshold: float | None = None, columns: Sequence[str] | None = None) -> Drift:
    """Features that are distributed otherwise than in training.

    `distance` is psi, jensen_shannon, chi_square, ks or wasserstein. Each column is tested; an alarm needs a difference
    that is significant among all tests of a window, and an effect of `threshold` (each distance has its own default).

    >>> data_drift("ks", threshold=0.1, columns=["distance"]).threshold
    0.1
    """
    return _distance("data_drift", distance, threshold, columns)


def prediction_drift(distance: str = "psi", *, threshold: float | None = None) -> Drift:
    """Predictions that are distributed otherwise than on the rows that the model was evaluated on."""
    return _distance("prediction_drift", distance, threshold, None)


def concept_drift(
    detector: str | Callable[[], Detector] = DEFAULT, *, threshold: float = _CONCEPT_THRESHOLD, **settings: Any
) -> Drift:
    """Predictions that are wrong more often than they were, in the order in which labels come.

    `detector` is a name, with the detector's own settings, or a function or class that makes one: an object with
    `update(value)` and `drift_detected`. What it finds is an alarm if the errors' rate has risen by a Cohen's h of
    `threshold` (of .2, to .26), or a regression's mean loss by this share.

    >>> concept_drift("adwin", delta=0.001).name
    'adwin'
    """
    declared = Drift("concept_drift", detector, threshold, settings=dict(settings))
    declared.sequential("errors")
    return declared


def missing_rate(*, threshold: float = RATE_THRESHOLD, columns: Sequence[str] | None = None) -> Drift:
    """Features that are missing more, or less, often than in training. The effect is Cohen's h."""
    return Drift("missing_rate", TWO_PROPORTIONS, threshold, _columns(columns))


def rejection_rate(*, threshold: float = RATE_THRESHOLD) -> Drift:
    """Events that are rejected more, or less, often than in the windows before. The effect is Cohen's h."""
    return Drift("rejection_rate", TWO_PROPORTIONS, threshold)


def estimated_performance(*, threshold: float = _ESTIMATE_THRESHOLD) -> Drift:
    """Losses expected from the scores alone, before labels come, against those of the evaluation.

    `threshold` is the share by which the loss must have changed. The alarms are marked as estimates.
    """
    return Drift("estimated_performance", CBPE, threshold)


def group_fairness(column: str, figure: str = "equalised_odds", *, threshold: float = 0.1) -> Drift:
    """Groups of a sensitive field that are answered too differently, in a window of outcomes.

    `figure` is equalised_odds or demographic_parity. An alarm needs a difference between groups of `threshold`, from 0
    to 1, that chance does not explain. The field must be among those by which profiles are sliced.

    >>> group_fairness("sex", "demographic_parity").kind
    'fairness'
    """
    if figure not in GROUP_FIGURES:
        raise DeclarationError(f"there is no figure of fairness {figure!r}{nearest(figure, GROUP_FIGURES)}")
    return Drift("fairness", figure, threshold, (column,))


def _distance(kind: FindingKind, distance: str, threshold: float | None, columns: Sequence[str] | None) -> Drift:
    found = distance_named(distance)
    return Drift(kind, distance, found.threshold if threshold is None else threshold, _columns(columns))


def _columns(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    if columns is not None and (isinstance(columns, str) or not columns):
        raise DeclarationError(f"columns: expected a list of names with one at least, got {columns!r}")
    return None if columns is None else tuple(columns)


def default_policy(*, model: bool, labels: bool, classes: bool) -> tuple[Drift, ...]:
    """What is looked for where nothing is declared: all that the pipeline has something for."""
    found = [data_drift(), missing_rate(), rejection_rate()] if model else []
    if model:
        found.append(prediction_drift())
    if model and classes:
        found.append(estimated_performance())
    if labels and model:
        found.append(concept_drift())
    return tuple(found)


def check_policy(declared: Sequence[Drift], *, model: bool, labels: bool, classes: bool) -> None:
    """Raise DeclarationError for what cannot be found in such a pipeline, and for what is declared twice."""
    seen = set()
    for drift in declared:
        if not isinstance(drift, Drift):
            raise DeclarationError(f"drift=[...]: expected tm.data_drift(...) or its like, got {drift!r}")
        if not model:
            raise DeclarationError(f"{drift.kind} compares with what a model was made of: add model=tm.Model(...)")
        if drift.kind == "concept_drift":
            if not labels:
                raise DeclarationError(
                    "concept_drift needs labels, which say what was wrong: add labels=tm.Labels(...)"
                )
            drift.sequential("errors" if classes else "losses")
        if drift.kind == "estimated_performance" and not classes:
            raise DeclarationError("estimated_performance is made of probabilities; a regression has none")
        if drift.kind == "fairness" and not (labels and classes):
            raise DeclarationError(
                "group_fairness needs labels that are classes: it compares how often groups get them"
            )
        key = drift.kind, drift.name, drift.columns if drift.kind == "fairness" else None
        if key in seen and (drift.columns is None or drift.kind != "data_drift"):
            raise DeclarationError(f"{drift.kind} by {drift.name} is declared twice; leave one out")
        seen.add(key)
