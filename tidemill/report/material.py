"""What a report is made of: profiles as they add up, rejections as they are counted, alerts and announcements."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import Any

from tidemill.processors.drift import ClassQuality, Profile
from tidemill.processors.drift.fairness import Confusion
from tidemill.processors.drift.reference import Reference
from tidemill.processors.drift.slices import slice_name
from tidemill.schemas.errors import DeclarationError

PRIOR = "prior"
MOST_BINS = 4_096
_DAY = 86_400_000
_WIDTHS = (1_000, 5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000, _DAY // 4, _DAY, 7 * _DAY, 28 * _DAY)
Span = tuple[int, int]


@dataclass
class Windows:
    """Profiles of one slice by kind and window, deltas added up; only windows that begin in [since, until)."""

    slice: str = ""
    since: int | None = None
    until: int | None = None
    merged: dict[tuple[str, Span], dict[str, Profile]] = field(default_factory=dict)
    """By kind and window, then by model version."""
    sensitive: Collection[str] = ()
    """Fields whose groups are told apart."""
    slices: set[str] = field(default_factory=set)
    confusions: dict[tuple[str, Span], Confusion] = field(default_factory=dict)
    """Of the groups of sensitive fields, by slice and window: what happened, and what was said."""
    _together: dict[tuple[str, tuple[Span, ...], str | None], Profile | None] = field(default_factory=dict)

    def add(self, profiles: Iterable[Profile]) -> None:
        """Take profiles in, in any order."""
        self._together.clear()
        for profile in profiles:
            scope = profile.scope
            self.slices.add(scope.slice)
            outside = (self.since is not None and scope.window_start < self.since) or (
                self.until is not None and scope.window_start >= self.until
            )
            if outside:
                continue
            self._compare(profile)
            if scope.slice != self.slice:
                continue
            versions = self.merged.setdefault((profile.kind, (scope.window_start, scope.window_end)), {})
            known = versions.get(scope.model_version)
            versions[scope.model_version] = profile if known is None else known.merge(profile)

    def _compare(self, profile: Profile) -> None:
        scope, quality = profile.scope, profile.quality
        if not isinstance(quality, ClassQuality) or not any(
            scope.slice.startswith(slice_name(name, "")) for name in self.sensitive
        ):
            return
        place = scope.slice, (scope.window_start, scope.window_end)
        known = self.confusions.get(place)
        self.confusions[place] = quality.confusion if known is None else known + quality.confusion

    def groups(self, name: str, spans: Iterable[Span]) -> dict[str, Confusion]:
        """The confusion matrices of a sensitive field's groups in several windows together, by slice."""
        made: dict[str, Confusion] = {}
        wanted = set(spans)
        for (group, span), confusion in self.confusions.items():
            if span in wanted and group.startswith(slice_name(name, "")):
                made[group] = made[group] + confusion if group in made else confusion
        return dict(sorted(made.items()))

    @property
    def spans(self) -> list[Span]:
        """The windows, oldest first."""
        return sorted({span for _, span in self.merged})

    def profile(self, kind: str, spans: Iterable[Span], version: str | None = None) -> Profile | None:
        """The profile of several windows together, of one model version or of all."""
        chosen = (kind, tuple(spans), version)
        if chosen not in self._together:
            self._together[chosen] = self._put_together(*chosen)
        return self._together[chosen]

    def _put_together(self, kind: str, spans: Iterable[Span], version: str | None) -> Profile | None:
        made: Profile | None = None
        for span in spans:
            for name, profile in sorted(self.merged.get((kind, span), {}).items()):
                if version is None or name == version:
                    made = profile if made is None else made.merge(profile)
        return made

    def rows(self, spans: Iterable[Span]) -> int:
        """How many events: those that have features, or else predictions, or else outcomes."""
        return sum(self._rows(span) for span in spans)

    def _rows(self, span: Span) -> int:
        kinds = ("features", "predictions", "outcomes")
        found = (sum(p.rows for p in self.merged.get((kind, span), {}).values()) for kind in kinds)
        return next((rows for rows in found if rows), 0)

    def answered(self, spans: Iterable[Span]) -> Counter[str]:
        """Events by the model version that answered them."""
        counts: Counter[str] = Counter()
        for span in spans:
            for kind in ("predictions", "outcomes", "features"):
                found = {name: p.rows for name, p in self.merged.get((kind, span), {}).items() if name}
                if found:
                    counts.update(found)
                    break
        return counts

    def newest(self) -> list[Span]:
        """What counts as now: the newest windows that together have as many rows as a window usually has.

        So a window that has only begun does not stand alone.
        """
        spans = self.spans
        if not spans:
            return []
        usual = median_low([self.rows([span]) for span in spans])
        found: list[Span] = []
        for span in reversed(spans):
            found.insert(0, span)
            if self.rows(found) >= usual:
                break
        return found


def wider(width: int) -> int:
    """The next width of a bin of time: a multiple of this one, and round as people count time."""
    return next((each for each in _WIDTHS if each > width), width * 2)


@dataclass
class RejectionCounts:
    """Rejections by stage, reason and time, in constant memory: bins grow wider as more time has to be held.

    How wide they end does not depend on the order of counting.

    >>> counts = RejectionCounts()
    >>> counts.add("sanity_check", "late", 5_000)
    >>> counts.width, dict(counts.counts)
    (1000, {('sanity_check', 'late', 5): 1})
    """

    width: int = 1_000
    counts: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    _bins: set[int] = field(default_factory=set)

    def add(self, stage: str, reason: str, time: int) -> None:
        """Count one, by its time in epoch milliseconds."""
        place = time // self.width
        self.counts[stage, reason, place] += 1
        self._bins.add(place)
        while len(self._bins) > MOST_BINS:
            self.widen()

    def widen(self) -> None:
        """Put neighbouring bins together."""
        times = wider(self.width) // self.width
        self.width *= times
        self._bins = {place // times for place in self._bins}
        merged: Counter[tuple[str, str, int]] = Counter()
        for (stage, reason, place), count in self.counts.items():
            merged[stage, reason, place // times] += count
        self.counts = merged


@dataclass(frozen=True)
class Material:
    """All that a report is made of.

    `references` are by model version, in the order of their announcement; `models` are announcements as
    `schemas/model_event.avsc` has them, `alerts` records as `schemas/drift_alert.avsc` has them, both in log order.
    """

    pipeline: str
    windows: Windows
    references: Mapping[str, Reference] = field(default_factory=dict)
    models: Sequence[Mapping[str, Any]] = ()
    alerts: Sequence[Mapping[str, Any]] = ()
    rejections: RejectionCounts = field(default_factory=RejectionCounts)
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By sensitive field the limits of its figures of fairness, where there are any."""

    def reference_for(self, spans: Iterable[Span]) -> str | None:
        """The version whose reference some windows are compared with: that of most of their answers.

        Before the first model, or where its reference is lost, the one that was announced first stands in.
        """
        answered = self.windows.answered(spans)
        known = [version for version in self.references if answered[version]]
        if known:
            return max(known, key=lambda version: answered[version])
        return next(iter(self.references), None)

    def require_windows(self) -> None:
        """Raise DeclarationError where there is nothing to report on."""
        windows = self.windows
        if windows.merged:
            return
        if windows.slice not in windows.slices and windows.slices:
            there = ", ".join(sorted(name for name in windows.slices if name)[:10]) or "none"
            raise DeclarationError(f"there are no profiles of slice {windows.slice!r}; slices that have: {there}")
        if windows.slices:
            raise DeclarationError("no profiled window begins in the time asked for; see --from and --until")
        raise DeclarationError(
            f"{self.pipeline}.profiles has no profile yet; does the pipeline declare profiles=tm.Profiles(...),"
            " and have its workers run?"
        )
