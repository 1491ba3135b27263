"""Models that are scored beside the champion."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.online_inference import OnlineInference, Scorer, ServedModel, Target
from tidemill.processors.online_inference.share import in_share
from tidemill.processors.online_inference.stage import SHADOW_PREDICTIONS, Challenger
from tidemill.schemas.batch import Batch, Origin
from tidemill.schemas.errors import ModelDeadline

TARGET = Target((False, True))


class Model:
    def __init__(self, answer):
        self.predict = self.predict_proba = answer


def by_x(frame):
    return np.stack([1 - frame["x"], frame["x"]], axis=1)


def model(version, answer, **options):
    return ServedModel(version, ("x",), Scorer(Model(answer), TARGET), **options)


def reversed_x(frame):
    return by_x(frame)[:, ::-1]


def unlucky(frame):
    if (frame["x"] > 0.8).any():
        raise RuntimeError("too much")
    return reversed_x(frame)


def process(champion, *challengers, rows=40, target=TARGET):
    stage = OnlineInference(target)
    stage.serve(champion, challengers)
    given = keyed(rows)
    done = stage.process(given)
    return (
        done,
        done.accepted.table.to_pylist(),
        [row for told in done.beside.values() for row in told.table.to_pylist()],
    )


def keyed(rows):
    offsets = np.arange(rows, dtype=np.int64)
    columns = {
        "event_id": pa.array([f"e{n}" for n in range(rows)]),
        "event_key": pa.array([f"c{n}" if n % 7 else None for n in range(rows)]),
        "event_time": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * rows, pa.timestamp("us", "UTC")),
        "source_partition": pa.array([0] * rows, pa.int32()),
        "source_offset": pa.array(offsets),
        "x": pa.array(offsets / rows),
    }
    return Batch(pa.table(columns), Origin(np.zeros(rows, np.int32), offsets, offsets, offsets))


def chosen(rows, version, share):
    table = keyed(rows).table
    return in_share(table["event_key"], table["event_id"], version, share)


def test_without_challengers_nothing_is_told_beside():
    done, answers, beside = process(model("a", by_x))
    assert (len(answers), beside, done.beside) == (40, [], {})


def test_a_shadow_answers_nothing_and_is_told_beside():
    alone = process(model("a", by_x))[1]
    done, answers, beside = process(model("a", by_x), Challenger(model("b", reversed_x), 5))
    assert answers == alone
    assert list(done.beside) == [SHADOW_PREDICTIONS]
    assert [row["source_offset"] for row in beside] == list(range(40))
    assert {(row["model_version"], row["role"], row["stage"], row["failure"]) for row in beside} == {
        ("b", "shadow", 5, None)
    }
    assert [row["probability_true"] for row in beside] == [row["probability_false"] for row in answers]


def test_a_canary_answers_its_share_and_each_event_has_both_answers():
    _, answers, beside = process(model("a", by_x), Challenger(model("b", reversed_x), 5, share=0.4))
    mine = chosen(40, "b", 0.4)
    assert 5 < mine.sum() < 30
    assert [row["model_version"] for row in answers] == np.where(mine, "b", "a").tolist()
    assert [row["model_version"] for row in beside] == np.where(mine, "a", "b").tolist()
    assert [row["role"] for row in beside] == np.where(mine, "champion", "canary").tolist()
    for answer, other in zip(answers, beside, strict=True):
        assert answer["probability_true"] == pytest.approx(1 - other["probability_true"])


def test_a_canary_that_fails_on_a_row_leaves_it_to_the_champion():
    done, answers, beside = process(model("a", by_x), Challenger(model("b", unlucky), 5, share=0.4))
    failing = np.arange(40) / 40 > 0.8
    mine = chosen(40, "b", 0.4) & ~failing
    assert done.rejected == ()
    assert [row["model_version"] for row in answers] == np.where(mine, "b", "a").tolist()
    told = [row["failure"] for row in beside if row["failure"]]
    assert told == ["model_raised: the model raised RuntimeError: too much (model b)"] * int(failing.sum())
    assert all(row["value"] is None and row["probability_true"] is None for row in beside if row["failure"])


def test_where_the_champion_fails_the_event_is_rejected_but_for_the_canarys_share():
    done, answers, beside = process(model("a", unlucky), Challenger(model("b", by_x), 5, share=0.4))
    failing, mine = np.arange(40) / 40 > 0.8, chosen(40, "b", 0.4)
    assert (failing & mine).any()
    assert [rejection.row for rejection in done.rejected] == np.flatnonzero(failing & ~mine).tolist()
    assert {rejection.reason for rejection in done.rejected} == {"model_raised"}
    assert len(answers) == 40 - len(done.rejected)
    champions = [row for row in beside if row["role"] == "champion"]
    assert [row["source_offset"] for row in champions] == np.flatnonzero(failing | mine).tolist()
    assert [row["failure"] is not None for row in champions] == failing[failing | mine].tolist()


def test_both_fail_and_the_champions_reason_counts():
    done, _, beside = process(model("a", unlucky), Challenger(model("b", unlucky), 5, share=0.9))
    assert [rejection.row for rejection in done.rejected] == list(range(33, 40))
    assert all(rejection.message.endswith("(model a)") for rejection in done.rejected)
    assert sum(row["failure"] is not None for row in beside) == 14


def late(score):
    raise ModelDeadline("expected an answer within 5 s")


def leaves(frame):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("challenger", "said"),
    [
        (model("b", by_x, call=late), "model_deadline: expected an answer within 5 s (model b)"),
        (model("b", leaves), "model_raised: the model raised SystemExit: 3 (model b)"),
        (model("b", lambda frame: frame[:0]), "model_raised: the model raised ModelError: expected scores of shape"),
        (ServedModel("b", ("x",), None, fault="altered"), "model_refused: altered (model b)"),
        (ServedModel("b", ("y",), Scorer(Model(by_x), TARGET)), "model_raised: the model raised KeyError"),
    ],
    ids=["late", "exits", "shape", "refused", "no such feature"],
)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_nothing_that_a_challenger_does_spoils_an_event(challenger, said, share):
    alone = process(model("a", by_x))[1]
    done, answers, beside = process(model("a", by_x), Challenger(challenger, 5, share))
    assert (answers, done.rejected) == (alone, ())
    assert len(beside) == 40
    assert all(row["failure"].startswith(said) for row in beside)


def test_several_challengers_are_told_by_event():
    _, _, beside = process(
        model("a", by_x), Challenger(model("b", by_x), 5, share=0.5), Challenger(model("c", reversed_x), 6), rows=10
    )
    assert [row["source_offset"] for row in beside] == sorted(2 * list(range(10)))
    assert [row["model_version"] for row in beside[1::2]] == ["c"] * 10


def test_a_prior_meets_its_first_challenger():
    target = Target((False, True), prior=0.25)
    scorer = Scorer(Model(by_x), target)
    _, answers, beside = process(None, Challenger(ServedModel("b", ("x",), scorer), 0, 0.5), target=target)
    assert {row["model_version"] for row in answers} == {"prior", "b"}
    assert {(row["role"], row["model_version"]) for row in beside} == {("champion", "prior"), ("canary", "b")}


def test_a_challenger_cannot_help_where_nothing_answers():
    done, answers, beside = process(None, Challenger(model("b", by_x), 0))
    assert (answers, {rejection.reason for rejection in done.rejected}) == ([], {"no_model"})
    assert len(beside) == 40


def test_a_number_has_no_probabilities():
    target = Target(())
    numbers = ServedModel("b", ("x",), Scorer(Model(lambda frame: frame["x"]), target))
    _, _, beside = process(ServedModel("a", ("x",), numbers.scorer), Challenger(numbers, 3), rows=4, target=target)
    assert [row["value"] for row in beside] == [0.0, 0.25, 0.5, 0.75]
    assert "probability_true" not in beside[0]


def test_the_share_of_keys_is_sticky_and_another_one_for_another_version():
    keys = pa.chunked_array([[f"c{n}" for n in range(20_000)]])
    ids = pa.chunked_array([["x"] * 20_000])
    first, again, other = (in_share(keys, ids, version, 0.1) for version in ("a", "a", "b"))
    assert (first == again).all()
    assert (in_share(keys.slice(7, 100), ids.slice(7, 100), "a", 0.1) == first[7:107]).all()
    assert 0.09 < first.mean() < 0.11
    assert 0.005 < (first & other).mean() < 0.015
    more = in_share(keys, ids, "a", 0.2)
    assert (more | ~first).all(), "a greater share keeps the keys that were in"
    numbers = pa.chunked_array([list(range(5))])
    assert in_share(numbers, numbers, "a", 1.0).all()
    assert len(in_share(keys.slice(0, 0), ids.slice(0, 0), "a", 0.5)) == 0


class Rude(BaseException):
    """As a panic of a compiled library."""

    def __str__(self):
        raise ValueError("no words")


@pytest.mark.parametrize("fault", [SystemExit("bye"), Rude(), RecursionError()])
def test_a_model_that_wants_to_end_the_process_fails_on_its_rows_only(fault):
    """Also as champion: a worker that ends would be started again, with the same model."""

    def leaves(frame):
        if (frame["x"] > 0.8).any():
            raise fault
        return by_x(frame)

    done, answers, beside = process(model("a", leaves), Challenger(model("b", leaves), 5))
    assert len(answers) == 33
    assert {r.reason for r in done.rejected} == {"model_raised"}
    assert {type(fault).__name__ in row["failure"] for row in beside if row["failure"]} == {True}


@pytest.mark.parametrize("scores", [[1.0, 1.0], [1e9, 1e9], [-0.5, 1.5], [0.3, 0.3], [1, 0, 0], [[1], [0]]])
def test_scores_that_are_no_probabilities_are_failures(scores):
    """They would have no loss at all, whatever happens."""
    _, answers, beside = process(
        model("a", by_x), Challenger(model("b", lambda frame: np.array([scores] * len(frame))), 5, share=0.5)
    )
    assert {row["model_version"] for row in answers} == {"a"}
    assert all(row["failure"] for row in beside if row["model_version"] == "b")


def test_no_model_can_alter_what_another_one_is_shown():
    def spoils(frame):
        frame.loc[:, "x"] = 0.5
        return by_x(frame)

    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = pd.DataFrame({"x": np.linspace(0, 1, 50)})
    fitted = [
        make_pipeline(StandardScaler(copy=copy), LogisticRegression()).fit(frame.copy(), frame["x"] > 0.5)
        for copy in (True, False)
    ]
    for bare in (True, False):
        rude, polite = (ServedModel(n, ("x",), Scorer(m, TARGET)) for n, m in zip("rp", fitted[::-1], strict=True))
        if not bare:
            rude = model("r", spoils)
        _, _, alone = process(model("a", by_x), Challenger(polite, 5))
        _, _, after = process(model("a", by_x), Challenger(rude, 4), Challenger(polite, 5))
        assert [row for row in after if row["model_version"] == "p"] == alone
