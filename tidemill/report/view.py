"""What a report says, before anything is drawn: plain data, which `tidemill report --json` prints.

Times are epoch milliseconds of event time, stretches end before their `end`; shares are from 0 to 1, and None stands
for what is not known.
"""

from dataclasses import dataclass
from typing import Literal

Group = Literal["features", "predictions", "outcomes"]


@dataclass(frozen=True)
class Stretch:
    """Some time, and how many events it holds."""

    start: int
    end: int
    rows: int


@dataclass(frozen=True)
class ModelSpan:
    """A model version: since which window it answers, how many events, and whether it brought a reference."""

    version: str
    since: int
    rows: int
    has_reference: bool
    trained_from: int | None
    trained_until: int | None


@dataclass(frozen=True)
class Bar:
    """A bin of numbers, [low, high), and the shares of the numbers that are in it."""

    low: float
    high: float
    reference: float | None
    now: float


@dataclass(frozen=True)
class CategoryShare:
    """A category, and its share of the values."""

    name: str
    reference: float | None
    now: float


@dataclass(frozen=True)
class Column:
    """A feature, a prediction field or the label: what it looks like now, and in the reference.

    `effect` is the distance's effect size, `alarm` its verdict (significant and as large as `threshold`), `missing` the
    shares of missing values in the reference and now. Numbers have `bars`, the others `categories`.
    """

    name: str
    group: Group
    detector: str
    effect: float | None
    threshold: float | None
    p_value: float | None
    alarm: bool
    missing_reference: float | None
    missing: float
    missing_alarm: bool
    verdict: str
    change: str
    median_reference: float | None
    median: float | None
    bars: tuple[Bar, ...]
    categories: tuple[CategoryShare, ...]

    @property
    def drifted(self) -> bool:
        """Whether anything about it is an alarm."""
        return self.alarm or self.missing_alarm


@dataclass(frozen=True)
class ColumnHistory:
    """How far a column was from the reference in each stretch; None where it was not seen or had no reference."""

    name: str
    group: Group
    effects: tuple[float | None, ...]
    alarms: tuple[bool, ...]


@dataclass(frozen=True)
class Point:
    """A figure of a stretch: measured on the labels that have come, and estimated without them."""

    measured: float | None
    estimated: float | None
    rows: int
    provisional: bool


@dataclass(frozen=True)
class Metric:
    """A figure over time, one point for each stretch; `reference` is what the model reached when it was evaluated."""

    name: str
    higher_is_better: bool | None
    reference: float | None
    points: tuple[Point, ...]


@dataclass(frozen=True)
class FieldFairness:
    """How far the groups of a sensitive field are apart over time; the `reference` of a figure is its limit."""

    name: str
    figures: tuple[Metric, ...]


@dataclass(frozen=True)
class Maturity:
    """How many predictions have their label by stretch, and how many have in the end.

    `usual` is the share that stretches reach when no more labels come; `provisional` says which have not yet.
    """

    shares: tuple[float | None, ...]
    provisional: tuple[bool, ...]
    usual: float | None
    labelled: int
    predicted: int


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions with scores in one bin: the mean score, how often it came true, and how many they are."""

    score: float
    share: float
    rows: int


@dataclass(frozen=True)
class Calibration:
    """Scores against what happened, for the model that answers now and for its evaluation."""

    model_version: str
    rows: int
    error: float | None
    reference_error: float | None
    bins: tuple[CalibrationBin, ...]
    reference: tuple[CalibrationBin, ...]


@dataclass(frozen=True)
class Reason:
    """Rejections by stage and reason: how many in all, and in each bin of time."""

    stage: str
    reason: str
    count: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Rejections:
    """Rejections by the time of their events' records, in bins of `width` milliseconds from `start` on."""

    total: int
    start: int
    width: int
    bins: int
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Alert:
    """An incident as it stands; `until` is when it was resolved, None while it is open."""

    id: str
    kind: str
    subject: str
    slice: str
    detector: str
    severity: str
    message: str
    opened_at: int
    until: int | None
    muted: bool
    acknowledged_by: str | None
    estimated: bool
    effect: float | None
    threshold: float


@dataclass(frozen=True)
class Report:
    """Everything that a report says. `stretches` are the windows, put together where they are too many to show."""

    pipeline: str
    slice: str
    covered: Stretch
    window_ms: int
    windows: int
    stretches: tuple[Stretch, ...]
    now: Stretch
    models: tuple[ModelSpan, ...]
    reference_version: str | None
    reference: Stretch | None
    columns: tuple[Column, ...]
    history: tuple[ColumnHistory, ...]
    threshold: float
    metrics: tuple[Metric, ...]
    fairness: tuple[FieldFairness, ...]
    maturity: Maturity
    calibration: Calibration | None
    rejections: Rejections
    alerts: tuple[Alert, ...]

    @property
    def open_alerts(self) -> int:
        """How many incidents are open."""
        return sum(alert.until is None for alert in self.alerts)
