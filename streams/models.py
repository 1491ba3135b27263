"""Models on the log: artefacts in chunks on P.model-artefacts, announcements on P.models, and who follows them."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from tidemill.processors.frames import fits_models
from tidemill.processors.online_inference.artefact import Artefact, load_model
from tidemill.processors.online_inference.scorer import Scorer
from tidemill.processors.online_inference.stage import Call, Challenger, OnlineInference, ServedModel, at_once
from tidemill.processors.rollout.state import Rollout, Standing, Status
from tidemill.schemas.errors import ModelError
from tidemill.streams.last_calls import MOST_DEATHS, LastCalls
from tidemill.streams.plan import Plan
from tidemill.streams.ports import LogReader, RecordStream, Sender
from tidemill.streams.rollout_log import RolloutLog, model_events

T = TypeVar("T")
CHUNK_BYTES = 512 * 1024
_MOST_CHUNKS = 20_000
log = logging.getLogger(__name__)
_MAY_ANSWER = (Status.CHAMPION, Status.SHADOW, Status.RETIRED)
"""Of those that were champion: what may answer while none that came after it can be served."""


def announce(
    plan: Plan, artefact: Artefact, event: Mapping[str, Any], now: datetime, sender: Sender, rollouts: RolloutLog
) -> dict[str, Any]:
    """Put the artefact's chunks on the log, then announce the model: workers take it in from their next transaction on.

    `event` is as in `stored`. Returns the announcement.

    Raises:
        ModelError: the version stands in a way that this status may not follow on.

    """
    (made,) = rollouts.append([stored(plan, artefact, event, now, sender)])
    return made


def stored(plan: Plan, artefact: Artefact, event: Mapping[str, Any], now: datetime, sender: Sender) -> dict[str, Any]:
    """Put the artefact's chunks on the log; returns the announcement, for the rollout log to take.

    `event` holds what is known of the training, and its "status" if that is not to be champion; the version, which is
    the start of the artefact's hash, and where its chunks lie are filled in.
    """
    topic = plan.topic("model-artefacts")
    chunks = [artefact.data[i : i + CHUNK_BYTES] for i in range(0, len(artefact.data), CHUNK_BYTES)]
    for number, chunk in enumerate(chunks):
        sender.send(topic, _chunk_key(artefact.sha256, number), chunk, partition=0)
    sender.flush()
    return {
        "status": "champion",
        "by": "train",
        **event,
        "model_version": artefact.sha256[:12],
        "artefact_sha256": artefact.sha256,
        "artefact_format": artefact.format,
        "artefact_offset": sender.first_offset(topic),
        "artefact_chunks": len(chunks),
        "artefact_bytes": len(artefact.data),
        "pipeline_version": plan.version,
        "features_fingerprint": plan.contracts["features"].fingerprint_hex,
        "announced_at": now,
    }


def announcements(stream: RecordStream, *, wait: bool) -> list[dict[str, Any]]:
    """New model events, in order; what cannot be read is logged and passed over."""
    records = stream.catch_up() if wait else stream.poll()
    return [event for event in model_events(records) if event is not None] if records else []


def fetch_artefact(topic: str, event: Mapping[str, Any], reader: LogReader) -> Artefact:
    """Collect an announced model's chunks from the topic of artefacts.

    Raises:
        ModelError: the log does not have all of them.

    """
    count = event["artefact_chunks"]
    wanted = {_chunk_key(event["artefact_sha256"], number) for number in range(min(count, _MOST_CHUNKS))}
    chunks: dict[bytes | None, bytes] = {}
    for record in reader.read(topic, 0, event["artefact_offset"]):
        if record.key in wanted and record.value is not None:
            chunks[record.key] = record.value
        if len(chunks) == count:
            parts = [chunks[_chunk_key(event["artefact_sha256"], number)] for number in range(count)]
            return Artefact(b"".join(parts), event["artefact_format"])
    raise ModelError(f"model {event['model_version']}: expected {count} chunks on the log, found {len(chunks)}")


def _chunk_key(sha256: str, number: int) -> bytes:
    return f"{sha256}/{number}".encode()


class ModelFollower:
    """Keeps the inference stage on what the rollout log says: champion, canary and shadows.

    A model that is altered, not trusted, or asks for features that the pipeline does not have is refused: the champion
    in service stays, and the refusal is logged and counted. A canary or shadow that is refused fails on every event, so
    that the judge learns of it.
    """

    def __init__(
        self,
        plan: Plan,
        stage: OnlineInference,
        stream: RecordStream,
        reader: LogReader,
        trusted: Collection[str] = (),
        on_change: Callable[[str, bool], None] = lambda version, served: None,  # noqa: ARG005
        make_call: Callable[[float], Call] = lambda seconds: at_once,  # noqa: ARG005
        last_calls: LastCalls | None = None,
    ) -> None:
        """`make_call` says how a model is called that has so many seconds for a batch, once for each model.

        What one of them holds up must not concern another. By `last_calls` a model is known that ends the process.
        """
        self._last_calls = last_calls
        self._plan, self._stage, self._stream, self._reader = plan, stage, stream, reader
        self._trusted, self._on_change, self._make_call = trusted, on_change, make_call
        self.rollout = Rollout()
        self._loaded: dict[tuple[str, bool], ServedModel] = {}
        """By version, and whether it answers as champion: a challenger has another deadline."""

    def start(self) -> None:
        """Serve as the log says; for a champion that cannot be served, the one before it."""
        self._follow(announcements(self._stream, wait=True))

    def poll(self) -> None:
        """Between two transactions: take over what was announced meanwhile."""
        self._follow(announcements(self._stream, wait=False))

    def _follow(self, events: Sequence[Mapping[str, Any]]) -> None:
        if not events:
            return
        told = {event["model_version"] for event in events}
        for event in events:
            self.rollout = self.rollout.then(event)
        for version in told:
            # Whoever announces a version again may have mended what it was refused for.
            for key in [key for key, model in self._loaded.items() if key[0] == version and model.fault]:
                del self._loaded[key]
        rollout, before = self.rollout, self._stage.model
        champion = self._champion(told)
        challengers = [self._challenger(standing) for standing in (rollout.canary, *rollout.shadows) if standing]
        probation = rollout.probation
        if probation is not None and (champion is None or champion.version != probation[0].version):
            # It cannot be served, and the former one answers: the judge learns of it as of any challenger that fails.
            challengers.append(Challenger(self._load(probation[0], challenger=True), probation[1].since))
        # What is neither champion nor challenger is given up, and with it the thread that it is called on.
        in_service = [champion, *(challenger.model for challenger in challengers)]
        self._loaded = {key: model for key, model in self._loaded.items() if model in in_service}
        self._stage.serve(champion, challengers)
        if champion is not None and (before is None or before.version != champion.version):
            log.info("model %s is in service", champion.version)
            self._on_change(champion.version, True)

    def _champion(self, told: Collection[str]) -> ServedModel | None:
        """The newest champion that can be served; one that cannot is not tried again until it is announced again."""
        serving = self._stage.model
        for version in reversed(self.rollout.champions):
            standing = self.rollout.versions[version]
            if serving is not None and serving.version == version:
                return serving
            if standing.status in _MAY_ANSWER and (serving is None or version in told):
                model = self._load(standing, challenger=False)
                if not model.fault:
                    return model
        return serving

    def _challenger(self, standing: Standing) -> Challenger:
        return Challenger(self._load(standing, challenger=True), standing.since, standing.share)

    def _load(self, standing: Standing, *, challenger: bool) -> ServedModel:
        version, event = standing.version, standing.event
        if (version, challenger) in self._loaded:
            return self._loaded[version, challenger]
        plan, features = self._plan, tuple(event["features"])
        seconds = plan.challenger_deadline_seconds if challenger else plan.model_deadline_seconds
        try:
            self._require_features(features)
            key = f"{version}/{standing.since}"
            if challenger or self._is_on_probation(version):
                self._require_harmless(key)
            scorer = self._other(version, challenger=challenger) or self._during(key, lambda: self._fetched(event))
            made = ServedModel(version, features, scorer, self._noted(key, self._make_call(seconds)))
        except ModelError as error:
            serving = self._stage.model.version if self._stage.model else None
            log.error("model %s is refused, %s stays in service: %s", version, serving or "the prior", error)
            self._on_change(version, False)
            made = ServedModel(version, features, None, fault=str(error))
        if challenger or not made.fault:
            self._loaded[version, challenger] = made
        return made

    def _is_on_probation(self, version: str) -> bool:
        # Any other champion has answered for long, or has none to give way to: whoever kills workers does not end it.
        return self.rollout.probation is not None and self.rollout.probation[0].version == version

    def _require_harmless(self, key: str) -> None:
        deaths = 0 if self._last_calls is None else self._last_calls.deaths(key)
        if deaths >= MOST_DEATHS:
            raise ModelError(f"the worker's process has died {deaths} times while it was asked, so it is asked no more")

    def _during(self, key: str, work: Callable[[], T]) -> T:
        return work() if self._last_calls is None else self._last_calls.during(key, work)

    def _noted(self, key: str, call: Call) -> Call:
        """The same call, known to be under way for as long as the model takes, even where nobody waits any longer."""
        return call if self._last_calls is None else lambda work: call(lambda: self._during(key, work))

    def _other(self, version: str, *, challenger: bool) -> Scorer | None:
        """What scores the version already, in its other role."""
        other = self._loaded.get((version, not challenger))
        return None if other is None else other.scorer

    def _fetched(self, event: Mapping[str, Any]) -> Scorer:
        artefact = fetch_artefact(self._plan.topic("model-artefacts"), event, self._reader)
        return self._scorer(load_model(artefact, event["artefact_sha256"], self._trusted))

    def _require_features(self, names: Sequence[str]) -> None:
        known = self._plan.contracts["features"].arrow
        missing = [name for name in names if name not in known.names]
        if missing or not names:
            raise ModelError(
                f"it asks for features that the pipeline does not have: {', '.join(missing) or 'none at all'}"
            )
        unfit = [f"{name} ({known.field(name).type})" for name in names if not fits_models(known.field(name).type)]
        if unfit:
            raise ModelError(f"it asks for what is neither a number, a boolean nor text: {', '.join(unfit)}")

    def _scorer(self, model: Any) -> Scorer:
        try:
            return Scorer(model, self._plan.target)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"it cannot be asked for predictions ({type(error).__name__}: {error})") from error
