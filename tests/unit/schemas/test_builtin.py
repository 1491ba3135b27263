import json
from datetime import UTC, datetime

from tidemill.schemas.builtin import MODEL_EVENT, MODEL_EVENT_1, PROFILE, REJECTION
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas


def test_a_rejections_headers_are_those_of_kafka_streams_dead_letter_queues():
    headers = {field["name"]: field["header"] for field in REJECTION.schema["fields"] if "header" in field}
    assert headers == {
        "stage": "__streams.errors.stage",
        "reason": "__streams.errors.exception",
        "message": "__streams.errors.message",
        "topic": "__streams.errors.topic",
        "partition": "__streams.errors.partition",
        "offset": "__streams.errors.offset",
    }
    assert json.loads(REJECTION.text) == REJECTION.schema


def test_every_field_is_explained():
    assert all(field.doc for contract in (REJECTION, MODEL_EVENT, PROFILE) for field in contract.fields)


def test_a_model_event_goes_through_its_codec():
    event = {
        "model_version": "late-7",
        "status": "champion",
        "artefact_sha256": "0" * 64,
        "artefact_format": "skops",
        "artefact_offset": 12,
        "artefact_chunks": 2,
        "artefact_bytes": 1_500_000,
        "estimator": "sklearn.pipeline.Pipeline",
        "features": ["hour", "distance"],
        "classes": ["False", "True"],
        "features_fingerprint": "0" * 16,
        "pipeline_version": "3",
        "trained_from": None,
        "trained_until": datetime(2013, 1, 31, tzinfo=UTC),
        "training_offsets": [{"partition": 0, "first": 0, "last": 99}],
        "training_rows": 100,
        "evaluation_rows": 20,
        "metrics": {"log_loss": 0.4, "auc": 0.7},
        "announced_at": datetime(2013, 2, 1, 12, tzinfo=UTC),
    }
    codec = Codec(MODEL_EVENT, KnownSchemas())
    read = codec.decode(codec.encode_rows([event])).table.to_pylist()[0]
    assert read | event | {"metrics": dict(read["metrics"])} == read | {"metrics": event["metrics"]}
    assert (read["sequence"], read["previous"], read["share"], read["gates"]) == (-1, "", 0.0, "")


def test_a_model_event_of_before_the_chain_is_read():
    fields = {field.name: field for field in MODEL_EVENT_1.fields}
    assert [f.name for f in MODEL_EVENT.fields][: len(fields)] == list(fields)
    event = {
        "model_version": "0123456789ab", "status": "retired", "artefact_sha256": "0" * 64, "artefact_format": "skops",
        "artefact_offset": 0, "artefact_chunks": 1, "artefact_bytes": 1, "estimator": "e", "features": ["a"],
        "classes": [], "features_fingerprint": "0" * 16, "pipeline_version": "3", "trained_from": None,
        "trained_until": None, "training_offsets": [], "training_rows": 1, "evaluation_rows": 0, "metrics": {},
        "announced_at": datetime(2013, 2, 1, 12, tzinfo=UTC),
    }  # fmt: skip
    value = Codec(MODEL_EVENT_1, KnownSchemas()).encode_rows([event])
    (row,) = Codec(MODEL_EVENT, KnownSchemas([MODEL_EVENT_1])).decode(value).table.to_pylist()
    assert (row["model_version"], row["status"], row["sequence"]) == ("0123456789ab", "retired", -1)
