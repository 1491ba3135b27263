from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.online_inference import OnlineInference, Scorer, ServedModel, Target
from tidemill.processors.stage import Stage
from tidemill.schemas.batch import Batch, Origin
from tidemill.schemas.errors import ModelDeadline

FEATURES = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("event_key", pa.string()),
        pa.field("event_time", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("source_partition", pa.int32(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
        pa.field("pipeline_version", pa.string(), nullable=False),
        pa.field("x", pa.float64()),
        pa.field("n", pa.int64()),
    ]
)


def batch(*xs, n=1):
    count = len(xs)
    offsets = np.arange(count, dtype=np.int64)
    columns = [
        [f"e{i}" for i in range(count)],
        [None] * count,
        [datetime(2026, 1, 1, tzinfo=UTC)] * count,
        [0] * count,
        offsets,
        ["v1"] * count,
        list(xs),
        [n] * count,
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, FEATURES, strict=True)]
    origin = Origin(np.zeros(count, np.int32), offsets, offsets, offsets)
    return Batch(pa.table(arrays, schema=FEATURES), origin)


class Model:
    def __init__(self, answer):
        self.answer = answer

    def predict_proba(self, frame):
        return self.answer(frame)

    def predict(self, frame):
        return self.answer(frame)


def served(answer, target, features=("x",)):
    stage = OnlineInference(target)
    stage.serve(ServedModel("m1", features, Scorer(Model(answer), target)))
    return stage


def by_x(frame):
    return np.stack([1 - frame["x"], frame["x"]], axis=1)


def test_a_class_with_its_probabilities():
    stage: Stage = served(by_x, Target((False, True)))
    done = stage.process(batch(0.25, 0.75))
    assert stage.name == "online_inference"
    assert done.accepted.table.schema == pa.schema(stage.prediction_fields(FEATURES))
    assert done.accepted.table.to_pylist()[1] == {
        "event_id": "e1",
        "event_key": None,
        "event_time": datetime(2026, 1, 1, tzinfo=UTC),
        "source_partition": 0,
        "source_offset": 1,
        "model_version": "m1",
        "value": True,
        "probability_false": 0.25,
        "probability_true": 0.75,
    }


@pytest.mark.parametrize("classes", [("low", "high"), (0, 1), (False, True)])
def test_values_are_of_the_classes_type(classes):
    values = served(by_x, Target(classes)).process(batch(0.25, 0.75)).accepted.table["value"]
    assert values.to_pylist() == list(classes)
    assert values.type == Target(classes).value_type()


def test_a_number():
    done = served(lambda frame: frame["x"].to_numpy() * 2, Target()).process(batch(1.5))
    assert done.accepted.table["value"].to_pylist() == [3.0]
    assert done.accepted.table.column_names[-1] == "value"


def test_rows_without_an_answer_are_rejected_and_name_the_model():
    done = served(by_x, Target((False, True))).process(batch(0.25, None, float("inf"), 0.75))
    assert done.accepted.table["event_id"].to_pylist() == ["e0", "e3"]
    assert [(r.row, r.reason) for r in done.rejected] == [(1, "model_not_finite"), (2, "model_not_finite")]
    assert done.rejected[0].message == "expected finite scores from the model, got nan, nan (model m1)"


def test_a_batch_that_the_model_did_not_answer_in_time_is_rejected_as_a_whole():
    def too_late(score):
        score()
        raise ModelDeadline("expected an answer within 1 s, got none")

    stage = OnlineInference(Target((False, True)))
    scorer = Scorer(Model(lambda frame: np.tile([0.2, 0.8], (len(frame), 1))), Target((False, True)))
    stage.serve(ServedModel("m1", ("x",), scorer, too_late))
    done = stage.process(batch(1.0, 2.0))
    assert len(done.accepted) == 0
    assert done.accepted.table.schema == pa.schema(stage.prediction_fields(FEATURES))
    assert [(r.row, r.reason, r.message) for r in done.rejected] == [
        (row, "model_deadline", "expected an answer within 1 s, got none (model m1)") for row in (0, 1)
    ]


def test_when_every_row_fails():
    def answer(frame):
        raise ValueError("no")

    done = served(answer, Target((False, True))).process(batch(0.25, 0.5))
    assert len(done.accepted) == 0
    assert done.accepted.table.schema == pa.schema(OnlineInference(Target((False, True))).prediction_fields(FEATURES))
    assert [r.message for r in done.rejected] == ["the model raised ValueError: no (model m1)"] * 2


def test_whole_numbers_that_floats_cannot_hold_spoil_nothing():
    stage = served(lambda frame: frame["n"].to_numpy(), Target(), ("n",))
    done = stage.process(batch(1.0, n=2**63 - 1))
    assert done.accepted.table["value"].to_pylist() == [2.0**63]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Target((False, True), 0.25), {"value": False, "probability_false": 0.75, "probability_true": 0.25}),
        (Target(("a", "b", "c"), {"c": 1}), {"value": "c", "probability_a": 0, "probability_b": 0, "probability_c": 1}),
        (Target((), 7), {"value": 7.0}),
    ],
)
def test_the_prior_answers_until_there_is_a_model(target, expected):
    done = OnlineInference(target).process(batch(1.0, 2.0))
    assert done.rejected == ()
    rows = done.accepted.table.to_pylist()
    assert [row["model_version"] for row in rows] == ["prior", "prior"]
    assert {name: rows[1][name] for name in expected} == expected


@pytest.mark.parametrize("target", [Target(()), Target((False, True))])
def test_without_a_prior_events_before_the_first_model_are_rejected(target):
    stage = OnlineInference(target)
    done = stage.process(batch(1.0, 2.0))
    assert [(r.row, r.reason) for r in done.rejected] == [(0, "no_model"), (1, "no_model")]
    assert "tidemill train" in done.rejected[0].message
    assert len(done.accepted) == 0
    assert done.accepted.table.schema == pa.schema(stage.prediction_fields(FEATURES))


def test_another_model_takes_over_with_the_next_batch():
    stage = served(by_x, Target((False, True)))
    stage.serve(ServedModel("m2", ("x",), Scorer(Model(lambda frame: by_x(frame)[:, ::-1]), Target((False, True)))))
    rows = stage.process(batch(0.25)).accepted.table.to_pylist()
    assert (rows[0]["model_version"], rows[0]["probability_true"]) == ("m2", 0.75)
    stage.serve(None)
    assert [r.reason for r in stage.process(batch(0.25)).rejected] == ["no_model"]


def test_an_empty_batch():
    assert len(served(by_x, Target((False, True))).process(batch()).accepted) == 0
    assert len(OnlineInference(Target((False, True), 0.5)).process(batch()).accepted) == 0


def test_it_keeps_no_state():
    stage = OnlineInference(Target())
    stage.restore_clock(0, {"watermark": 3})
    stage.drop(0)
    assert (dict(stage.stores(0)), stage.clock(0)) == ({}, {})
