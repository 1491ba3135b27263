"""Models on the log: artefacts in chunks on P.model-artefacts, announcements on P.models, and who follows them."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from tidemill.processors.frames import fits_models
from tidemill.processors.online_inference.artefact import Artefact, load_model
from tidemill.processors.online_inference.scorer import Scorer
from tidemill.processors.online_inference.stage import Call, OnlineInference, ServedModel, at_once
from tidemill.schemas.builtin import MODEL_EVENT
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import ModelError
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.plan import Plan
from tidemill.streams.ports import LogReader, RecordStream, Sender

CHUNK_BYTES = 512 * 1024
_MOST_CHUNKS = 20_000
log = logging.getLogger(__name__)
_codec = Codec(MODEL_EVENT, KnownSchemas([MODEL_EVENT]))


def announce(plan: Plan, artefact: Artefact, event: Mapping[str, Any], now: datetime, sender: Sender) -> dict[str, Any]:
    """Put the artefact's chunks on the log, then announce the model: workers serve it from their next transaction on.

    `event` holds what is known of the training; the version, which is the start of the artefact's hash, and where
    its chunks lie are filled in. Returns the announcement.
    """
    topic = plan.topic("model-artefacts")
    chunks = [artefact.data[i : i + CHUNK_BYTES] for i in range(0, len(artefact.data), CHUNK_BYTES)]
    for number, chunk in enumerate(chunks):
        sender.send(topic, _chunk_key(artefact.sha256, number), chunk, partition=0)
    sender.flush()
    announcement = {
        **event,
        "model_version": artefact.sha256[:12],
        "status": "champion",
        "artefact_sha256": artefact.sha256,
        "artefact_format": artefact.format,
        "artefact_offset": sender.first_offset(topic),
        "artefact_chunks": len(chunks),
        "artefact_bytes": len(artefact.data),
        "pipeline_version": plan.version,
        "features_fingerprint": plan.contracts["features"].fingerprint_hex,
        "announced_at": now,
    }
    value = _codec.encode_rows([announcement])[0]
    sender.send(plan.topic("models"), announcement["model_version"].encode(), value, partition=0)
    sender.flush()
    return announcement


def announcements(stream: RecordStream, *, wait: bool) -> list[dict[str, Any]]:
    """New announcements, in order; what cannot be read is logged and passed over."""
    records = stream.catch_up() if wait else stream.poll()
    decoded = _codec.decode([record.value for record in records])
    for bad in decoded.bad:
        record = records[bad.row]
        log.error("models[%d]@%d is not an announcement: %s", record.partition, record.offset, bad.message)
    found: list[dict[str, Any]] = []
    for place, row in enumerate(decoded.rows):
        try:
            found += decoded.table.slice(place, 1).to_pylist()
        except (ValueError, OverflowError) as error:  # a time that no calendar holds
            log.error("models[%d]@%d cannot be read: %s", records[row].partition, records[row].offset, error)
    return found


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
    """Keeps the inference stage on the model that was last announced and can be trusted.

    A model that is altered, not trusted, or asks for features that the pipeline does not have is refused: the one in
    service stays, and the refusal is logged and counted.
    """

    def __init__(
        self,
        plan: Plan,
        stage: OnlineInference,
        stream: RecordStream,
        reader: LogReader,
        trusted: Collection[str] = (),
        on_change: Callable[[str, bool], None] = lambda version, served: None,  # noqa: ARG005
        make_call: Callable[[], Call] = lambda: at_once,
    ) -> None:
        """`make_call` says how a model is called, once for each: what one of them holds up must not concern another."""
        self._plan, self._stage, self._stream, self._reader = plan, stage, stream, reader
        self._trusted, self._on_change, self._make_call = trusted, on_change, make_call

    def start(self) -> None:
        """Serve the newest announced model that can be served."""
        for event in reversed([e for e in announcements(self._stream, wait=True) if e["status"] == "champion"]):
            if self._serve(event):
                return

    def poll(self) -> None:
        """Between two transactions: take over what was announced meanwhile."""
        for event in announcements(self._stream, wait=False):
            if event["status"] == "champion":
                self._serve(event)

    def _serve(self, event: Mapping[str, Any]) -> bool:
        version = event["model_version"]
        try:
            self._require_features(event["features"])
            artefact = fetch_artefact(self._plan.topic("model-artefacts"), event, self._reader)
            model = load_model(artefact, event["artefact_sha256"], self._trusted)
            self._stage.serve(ServedModel(version, tuple(event["features"]), self._scorer(model), self._make_call()))
        except ModelError as error:
            serving = self._stage.model.version if self._stage.model else None
            log.error("model %s is refused, %s stays in service: %s", version, serving or "the prior", error)
            self._on_change(version, False)
            return False
        log.info("model %s is in service", version)
        self._on_change(version, True)
        return True

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
