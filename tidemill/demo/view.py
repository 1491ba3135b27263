"""What the demo shows while it runs, on a terminal and elsewhere."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tidemill.demo.watcher import Quality
from tidemill.results import Alert

_SHOWN_INCIDENTS = 4
_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_TABLES = 1.0


@dataclass(frozen=True)
class Snapshot:
    """Everything that is shown at one moment; rates are per second, latencies in milliseconds."""

    step: str
    day: str
    total: int
    sent: int
    predictions: int
    rejections: int
    reasons: Mapping[str, int]
    rate: float
    lag: int
    latency_ms: tuple[float, float]
    batch_ms: float
    model: str
    quality: Quality | None
    outcomes: int
    incidents: Sequence[Alert]

    def line(self) -> str:
        """One line, for logs."""
        text = (
            f"{self.step}: {self.day}, {self.sent:,} sent, {self.predictions:,} predicted, {self.rejections:,} rejected"
        )
        text += (
            f", {self.rate:,.0f}/s, lag {self.lag:,}, p50 {self.latency_ms[0]:.0f} ms, p99 {self.latency_ms[1]:.0f} ms"
        )
        text += f", log-loss {self.quality.log_loss:.3f}, AUC {self.quality.auc:.3f}" if self.quality else ""
        return text + (f", {len(self.open)} incidents open" if self.open else "")

    @property
    def open(self) -> list[Alert]:
        """The incidents that are not over."""
        return [incident for incident in self.incidents if incident.state != "resolved"]


class View:
    """A live table on a terminal, a line every few seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._shown = -_SECONDS_BETWEEN_LINES

    def say(self, text: str) -> None:
        """A step that has begun or ended."""
        self._console.print(text)

    @property
    def due(self) -> bool:
        """Whether it is time to show how things are: to find that out takes time which the work wants."""
        between = _SECONDS_BETWEEN_LINES if self._live is None else _SECONDS_BETWEEN_TABLES
        return time.monotonic() - self._shown >= between

    def show(self, snapshot: Snapshot) -> None:
        """The state of things."""
        self._shown = time.monotonic()
        if self._live is not None:
            self._live.update(render(snapshot), refresh=True)
        else:
            self._console.print(snapshot.line())

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


def render(now: Snapshot) -> Group:
    """The live table."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right")
    grid.add_column()
    grid.add_row("", ProgressBar(total=max(1, now.total), completed=now.predictions + now.rejections, width=72))
    grid.add_row(
        "flights", f"{now.sent:,} sent of {now.total:,}, {now.predictions:,} predicted, {now.rejections:,} rejected"
    )
    grid.add_row(
        "rejected", ", ".join(f"{reason} {count:,}" for reason, count in sorted(now.reasons.items())) or "none"
    )
    grid.add_row("rate", f"{now.rate:,.0f} answers/s, {now.lag:,} behind")
    grid.add_row(
        "latency",
        f"p50 {now.latency_ms[0]:,.0f} ms, p99 {now.latency_ms[1]:,.0f} ms from send to subscriber;"
        f" {now.batch_ms:,.0f} ms a batch",
    )
    grid.add_row("model", now.model)
    if now.quality is None:
        grid.add_row("quality", "no labels yet for the model's predictions")
    else:
        q = now.quality
        grid.add_row(
            "quality",
            f"log-loss {q.log_loss:.3f} (base rate {q.base_log_loss:.3f}), AUC {q.auc:.3f} on the last {q.labelled:,}"
            f" of {now.outcomes:,} labelled",
        )
    grid.add_row("drift", f"{len(now.open)} incidents open, {len(now.incidents) - len(now.open)} over")
    for incident in now.open[-_SHOWN_INCIDENTS:]:
        grid.add_row("", Text(f"{incident.severity}: {incident.message}", overflow="ellipsis", no_wrap=True))
    title = Text.assemble((now.step, "bold"), "   ", (now.day, "cyan"))
    return Group(title, grid)
