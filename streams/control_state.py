"""What the control plane knows, and what follows from each record. No Kafka, no clock."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tidemill.processors.drift.incident import Action, Incident
from tidemill.processors.drift.incidents import Incidents
from tidemill.processors.drift.sequences import Sequences
from tidemill.processors.drift.verdict import Judge
from tidemill.processors.drift.windows import Delta, Mergeable, Merged, WindowKey, Windows
from tidemill.processors.retraining import Request, RetrainPolicy, Trigger

T = TypeVar("T", bound=Mergeable)
_PROGRESS, _WINDOW, _RETRAIN = "progress", "window|", "retrain"


@dataclass
class Step:
    """What some records have led to: alerts and triggers to send, then entries to keep (None is deleted)."""

    alerts: list[Incident] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)
    entries: list[tuple[str, bytes | None]] = field(default_factory=list)


def next_profile(entries: Mapping[bytes | None, bytes | None]) -> int:
    """The offset of the first record of P.profiles that is not in a state of these entries."""
    progress = entries.get(_PROGRESS.encode())
    places = json.loads(progress)["windows"]["places"] if progress else []
    return max((offset for _, offset in places), default=-1) + 1


class ControlState(Generic[T]):
    """The state of the control plane, moved on by one record at a time.

    `drain` says what to do after some records: send the alerts, then keep the entries, in order, and only then give
    the records back as read. Whenever that is cut off, `restore` with the entries that were kept, and all records again
    that were not given back, lead to the same alerts, with the same ids and revisions.
    """

    def __init__(
        self,
        windows: Windows[T],
        sequences: Sequences,
        incidents: Incidents,
        judge: Judge[T],
        pack: Callable[[T], bytes],
        unpack: Callable[[bytes], T],
        retrain: RetrainPolicy | None = None,
    ) -> None:
        self._retrain = retrain
        self.windows, self.incidents, self._sequences, self._judge = windows, incidents, sequences, judge
        self._pack, self._unpack = pack, unpack
        self._dirty: set[WindowKey] = set()
        self._saved: set[WindowKey] = set()
        self._gone: list[WindowKey] = []
        self._moved = False
        self._told: list[Incident] = []
        self.next_action = 0
        """The offset of the first action that was not seen."""
        self.next_request = 0
        """The offset of the first request for a model that was not seen."""
        self.next_job = 0
        """The offset of the first record of P.training-jobs that was not seen."""

    def take(self, delta: Delta[T]) -> None:
        """A profile of a partition."""
        if self.windows.has(delta.place):
            return
        self._moved = True
        if self.windows.add(delta):
            self._dirty.add(delta.key)
        which = delta.key.slice, delta.key.model_version
        told = self._heed("profiles", delta.place[1])
        if told is not None and delta.blocks and not delta.key.slice:
            told.outcomes(sum(block.rows for block in delta.blocks), delta.key.model_version, delta.key.start)
        for number, block in enumerate(delta.blocks):
            self._sequences.add(block, delta.task, (delta.place[1], number), delta.seen, which)
        self._judge_all(told)

    def act(self, action: Action) -> None:
        """Somebody's action."""
        if action.place < self.next_action:
            return
        self.next_action, self._moved = action.place + 1, True
        self._tell(self.incidents.act(action), self._heed("actions", action.place))

    def ask(self, request: Request) -> None:
        """Somebody asks for a new model."""
        if request.place < self.next_request:
            return
        self.next_request, self._moved = request.place + 1, True
        if self._retrain is not None:
            self._retrain.request(request)

    def job(self, job: str, place: int, *, ended: bool, succeeded: bool = False) -> None:
        """How a training job stands."""
        if place < self.next_job:
            return
        self.next_job, self._moved = place + 1, True
        policy = self._heed("jobs", place)
        if policy is not None and ended:
            policy.job_ended(job, succeeded=succeeded)

    def _heed(self, source: str, offset: int) -> RetrainPolicy | None:
        """The policy, if it has not been told of this record yet: its state may be ahead of the rest."""
        return self._retrain if self._retrain is not None and self._retrain.news(source, offset) else None

    def pass_over(self, request: int) -> None:
        """The request at this offset is none for this plane."""
        if request >= self.next_request:
            self.next_request, self._moved = request + 1, True

    def silence(self, milliseconds: int) -> None:
        """No profile has come for so long, and none is left to read."""
        self.windows.silence(milliseconds)
        self._sequences.silence(milliseconds)
        self._judge_all(self._retrain)

    def drain(self) -> Step:
        """What has to be done since this was last asked."""
        step = Step(self._told, [] if self._retrain is None else self._retrain.drain())
        if self._moved and self._retrain is not None:
            # First of all: what was sent is known to it, however few of the other entries are kept.
            step.entries.append((_RETRAIN, json.dumps(self._retrain.saved()).encode()))
        kept = sorted(self._dirty & self.windows.pending.keys())
        step.entries += [(f"{_WINDOW}{key}", self._packed(self.windows.pending[key])) for key in kept]
        step.entries += self.incidents.entries().items()
        if self._moved:
            progress = {
                "windows": self.windows.progress(),
                "sequences": self._sequences.saved(),
                "judge": self._judge.save(),
                "next_action": self.next_action,
                "next_request": self.next_request,
                "next_job": self.next_job,
            }
            step.entries.append((_PROGRESS, json.dumps(progress).encode()))
        step.entries += [(f"{_WINDOW}{key}", None) for key in self._gone if key in self._saved]
        self._saved = (self._saved | set(kept)).difference(self._gone)
        self._told, self._dirty, self._gone, self._moved = [], set(), [], False
        return step

    def restore(self, entries: Mapping[str, bytes]) -> None:
        """Begin with what was kept."""
        found = {WindowKey.parse(key[len(_WINDOW) :]): v for key, v in entries.items() if key.startswith(_WINDOW)}
        windows = {key: self._unpacked(value) for key, value in found.items()}
        self.incidents.restore(
            {key: value for key, value in entries.items() if not key.startswith((_WINDOW, _PROGRESS, _RETRAIN))}
        )
        if self._retrain is not None and _RETRAIN in entries:
            self._retrain.restore(json.loads(entries[_RETRAIN]))
        if _PROGRESS in entries:
            progress = json.loads(entries[_PROGRESS])
            self.windows.restore(progress["windows"], windows)
            self._sequences.restore(progress["sequences"])
            self._judge.restore(progress["judge"])
            self.next_action, self.next_request = progress["next_action"], progress.get("next_request", 0)
            self.next_job = progress.get("next_job", 0)
        else:
            self.windows.take_back(windows)
        self._saved = set(windows)
        self._gone += [key for key in windows if key not in self.windows.pending]

    def _judge_all(self, told: RetrainPolicy | None) -> None:
        blocks = list(self._sequences.due())
        if blocks:
            self._moved = True
            for span, alarm in self._judge.outcomes(blocks):
                self._tell(self.incidents.found(span, [alarm]), told)
        for span, kind, profiles in self.windows.due():
            judgement = self._judge.window(span, kind, profiles)
            self._tell(self.incidents.judged(span, judgement.covered, judgement.alarms, judgement.offsets), told)
            if told is not None:
                told.window(span.end, judgement.metrics)
            self._gone += profiles
            self._moved = True

    def _tell(self, incidents: Sequence[Incident], policy: RetrainPolicy | None) -> None:
        self._told += incidents
        if policy is not None:
            for incident in incidents:
                policy.incident(incident)

    def _packed(self, merged: Merged[T]) -> bytes:
        return json.dumps(sorted(merged.places.items())).encode() + b"\n" + self._pack(merged.profile)

    def _unpacked(self, value: bytes) -> Merged[T]:
        places, _, profile = value.partition(b"\n")
        return Merged(self._unpack(profile), dict(json.loads(places)))
