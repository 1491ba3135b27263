import polars as pl
import pyarrow as pa
import pytest

import tidemill as tm
from tidemill.processors.sanity_check import SanityCheck
from tidemill.processors.sanity_check.constraints import ContractCheck, calendar_range
from tidemill.schemas.contract import Contract

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "constraints", "good", "bad", "reason", "message"),
    [
        ("int", {"minimum": 1}, [1, 9], [0], "out_of_range", "expected x at least 1, got x=0"),
        ("int", {"minimum": 1, "maximum": 3}, [1, 3], [0, 4], "out_of_range", "expected x between 1 and 3, got x=0"),
        ("double", {"exclusiveMinimum": 1}, [1.5], [1.0, 0.5], "out_of_range", "expected x above 1, got x=1.0"),
        ("double", {"exclusiveMaximum": 1}, [0.5], [1.0, 2.0], "out_of_range", "expected x below 1, got x=1.0"),
        ("string", {"enum": ["a", "b"]}, ["a"], ["c", ""], "not_in_set", "expected x one of 'a', 'b', got x='c'"),
        ("string", {"pattern": "^a"}, ["ab"], ["ba"], "pattern_mismatch", "expected x to match '^a', got x='ba'"),
        ("string", {"minLength": 2}, ["éé"], ["é"], "out_of_range", "expected x of at least 2 characters, got x='é'"),
        ("string", {"maxLength": 2}, ["éé"], ["eee"], "out_of_range", "expected x of at most 2 characters"),
        (["null", "int"], {"required": True}, [0], [None], "missing_value", "expected a value in x, got x=None"),
        (["null", "int"], {"minimum": 1}, [1, None], [0], "out_of_range", "expected x at least 1, got x=0"),
    ],
)
def test_every_word_of_a_contract_is_checked(contract_with, batch, kind, constraints, good, bad, reason, message):
    contract = contract_with(kind, constraints)
    events = [{"x": value} for value in [*good, *bad]]
    done = SanityCheck(contract, event_id="id", event_time="at").process(batch(*events, contract=contract))
    assert done.accepted.table["x"].to_pylist() == good
    assert [r.reason for r in done.rejected] == [reason] * len(bad)
    assert done.rejected[0].message.startswith(message)


def test_a_contract_comes_before_the_declared_checks(contract_with, batch):
    contract = contract_with("int", {"minimum": 1})
    stage = SanityCheck(contract, event_id="id", event_time="at", checks=[tm.one_of("x", [5])])
    done = stage.process(batch({"x": 0}, {"x": 1}, {"x": 5}, contract=contract))
    assert [(r.row, r.reason) for r in done.rejected] == [(0, "out_of_range"), (1, "not_in_set")]


@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize(
    ("policy", "nullable", "accepted"),
    [
        ("reject", False, [1.0]),
        ("reject", True, [1.0, None]),
        ("null", True, [1.0, None, None, None, None]),
        ("null", False, [1.0]),
        ("allow", False, [1.0, NAN, INF, -INF]),
        ("allow", True, [1.0, NAN, INF, -INF, None]),
    ],
)
def test_policies_for_nan(contract_with, batch, kind, policy, nullable, accepted):
    contract = contract_with(["null", kind] if nullable else kind)
    events = [{"x": value} for value in (1.0, NAN, INF, -INF, *([None] if nullable else []))]
    done = SanityCheck(contract, event_id="id", event_time="at", nan=policy).process(batch(*events, contract=contract))
    assert repr(done.accepted.table["x"].to_pylist()) == repr(accepted)
    assert {r.reason for r in done.rejected} <= {"not_finite"}
    assert len(done.rejected) == len(events) - len(accepted)
    assert all("expected a finite number in x" in r.message for r in done.rejected)
    # What was accepted can be written under the contract.
    done.accepted.table.cast(contract.arrow).validate(full=True)


DATES = {
    "date": ({"type": "int", "logicalType": "date"}, 1),
    "millis": ({"type": "long", "logicalType": "timestamp-millis"}, 86_400_000),
    "micros": ({"type": "long", "logicalType": "timestamp-micros"}, 86_400_000_000),
    "local": ({"type": "long", "logicalType": "local-timestamp-millis"}, 86_400_000),
}


@pytest.mark.parametrize("kind", DATES)
def test_dates_lie_in_the_years_1_to_9999(contract_with, batch, kind):
    avro, day = DATES[kind]
    first, last = -719_162 * day, 2_932_897 * day - 1
    widest = 2**31 - 1 if kind == "date" else 2**63 - 1
    values = [first, last, 0, first - 1, last + 1, widest, -widest - 1]
    done = run_raw(contract_with(avro), batch, values)
    assert done.accepted.origin.row.tolist() == [0, 1, 2]
    assert [r.reason for r in done.rejected] == ["out_of_range"] * 4
    assert all(r.message.startswith("expected x in the years 1 to 9999, got x=") for r in done.rejected)
    assert str(widest) in done.rejected[2].message


@pytest.mark.parametrize("kind", ["array", "map", "record"])
def test_a_rejection_can_show_dates_that_lie_within_a_value(contract_with, batch, kind):
    avro, _ = DATES["millis"]
    wrapped = {
        "array": {"type": "array", "items": avro},
        "map": {"type": "map", "values": avro},
        "record": {"type": "record", "name": "Inner", "fields": [{"name": "y", "type": avro}]},
    }[kind]
    contract = contract_with(["null", wrapped])
    inner = pa.array([2**62], pa.int64()).view(pa.timestamp("ms", "UTC"))
    offsets = pa.array([0, 1], pa.int32())
    value = {
        "array": lambda: pa.ListArray.from_arrays(offsets, inner),
        "map": lambda: pa.MapArray.from_arrays(offsets, pa.array(["k"]), inner),
        "record": lambda: pa.StructArray.from_arrays([inner], ["y"]),
    }[kind]()
    given = batch({}, contract=contract)
    given = given.with_table(given.table.set_column(2, "x", value.cast(contract.arrow.field("x").type)))
    check = tm.check("absent", pl.col("x").is_null())
    done = SanityCheck(contract, event_id="id", event_time="at", checks=[check]).process(given)
    assert "<value out " in done.rejected[0].message


def test_the_events_own_time_beyond_any_calendar_is_rejected(reading, batch):
    for seconds in (2**63 // 1000, -(2**63) // 1000 + 1, 2**62 // 1000):
        done = SanityCheck(reading, event_id="id", event_time="at").process(batch({"at": seconds}))
        assert [r.reason for r in done.rejected] == ["out_of_range"]


@pytest.mark.parametrize("unit", ["timestamp-nanos", "local-timestamp-nanos", "local-timestamp-millis"])
def test_the_events_time_may_have_any_unit(contract_with, batch, unit):
    contract = contract_with({"type": "long", "logicalType": unit})
    stage = SanityCheck(contract, event_id="id", event_time="x", checks=[tm.not_late("10s"), tm.not_in_future("1m")])
    done = stage.process(batch({"x": 100}, {"x": 90}, {"x": 89}, {"x": 1000}, contract=contract))
    assert [(r.row, r.reason) for r in done.rejected] == [
        (0, "in_future"),
        (1, "in_future"),
        (2, "in_future"),
        (3, "in_future"),
    ]
    done = stage.process(batch(*({"x": x, "sent": 200} for x in (100, 90, 89)), contract=contract))
    assert [(r.row, r.reason) for r in done.rejected] == [(2, "too_late")]


def run_raw(contract, batch, values):
    kind = contract.arrow.field("x").type
    given = batch(*({} for _ in values), contract=contract_without(contract))
    raw = pa.array(values, pa.int32() if pa.types.is_date(kind) else pa.int64()).view(kind)
    given = given.with_table(given.table.append_column(contract.arrow.field("x"), raw))
    return SanityCheck(contract, event_id="id", event_time="at").process(given)


def contract_without(contract):
    return Contract.parse({**contract.schema, "fields": contract.schema["fields"][:-1]})


def test_a_producer_can_check_before_it_sends(contract_with, batch):
    contract = contract_with("int", {"minimum": 1})
    given = batch({"x": 1}, {"x": 0}, {"x": -1}, contract=contract)
    faults = ContractCheck(contract).faults(given.table)
    assert [(f.row, f.reason) for f in faults] == [(1, "out_of_range"), (2, "out_of_range")]


def test_the_calendars_range_in_every_unit():
    assert calendar_range(pa.timestamp("us"))[1] == 1000 * calendar_range(pa.timestamp("ms"))[1] + 999
    low, high = (pa.scalar(n, pa.int64()).cast(pa.timestamp("ms")) for n in calendar_range(pa.timestamp("ms")))
    assert (low.as_py().year, low.as_py().month, low.as_py().day) == (1, 1, 1)
    assert high.as_py().isoformat() == "9999-12-31T23:59:59.999000"
