from datetime import timedelta

import pytest

import tidemill as tm
from tidemill.schemas.errors import DeclarationError
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.audit import audit
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.memory import MemoryReader
from tidemill.streams.plan import OUTPUTS, STAGES
from tidemill.training import Stretch, train


def run(pipeline, batch=10_000):
    driver = tm.testing.Driver(pipeline, partitions=2)
    for number in range(40):
        reading = {"id": f"r{number}", "station": f"s{number % 3}", "at": driver.now, "height": float(number % 11)}
        driver.send(reading)
        driver.advance(timedelta(minutes=1))
    driver.send_bytes(b"\xc3\x01garbage", key=b"s1")
    driver.run(batch)
    return driver


def values(driver, suffix):
    topic = driver.plan.topic(suffix)
    return [(p, r.key, r.value) for p in driver.log.partitions(topic) for r in driver.log.read(topic, p)]


@pytest.mark.parametrize("publish", [["predictions"], ["predictions", "features"], ["validated", "predictions"]])
def test_what_is_not_published_changes_nothing_else(declare, publish):
    everything, driver = run(declare()), run(declare(publish=publish), batch=3)
    assert driver.plan.version == everything.plan.version
    names = {spec.name for spec in driver.plan.topics()}
    for suffix in OUTPUTS:
        assert (driver.plan.topic(suffix) in names) == (suffix in publish)
    for suffix in publish:
        assert values(driver, suffix) == values(everything, suffix) != []
    assert [(r.reason, r.offset) for r in driver.rejections()] == [
        (r.reason, r.offset) for r in everything.rejections()
    ]


def test_the_audit_needs_predictions_and_rejections_only(declare):
    driver = run(declare(publish=["predictions"]))
    contracts = driver.plan.contracts
    known = KnownSchemas(list(contracts.values()))
    found = audit("tides", contracts["predictions"], known, MemoryReader(driver.log))
    assert sum(part.events for part in found) == 41
    assert all(part.holds and not part.waiting for part in found)
    assert sum(part.rejections for part in found) == len(list(driver.rejections())) > 1


@pytest.mark.parametrize(
    ("publish", "words"),
    [
        (["predictons"], "publish names 'predictons'; did you mean 'predictions'?"),
        (["events", "predictions"], "expected some of validated, features, predictions, outcomes"),
        (["features"], "publish must name 'predictions'"),
        ([], "publish must name 'predictions'"),
    ],
)
def test_other_choices_are_refused(declare, publish, words):
    with pytest.raises(DeclarationError) as error:
        declare(publish=publish)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("publish", "stages", "words"),
    [
        (["features", "predictions"], STAGES[:1], "a worker that begins with feature_enrichment reads tides.validated"),
        (["features", "predictions"], STAGES[1:], "a worker that begins with feature_enrichment reads tides.validated"),
        (["validated", "predictions"], STAGES[:2], "a worker that begins with online_inference reads tides.features"),
        (["predictions"], STAGES[2:], "publishes only predictions: add 'features' to publish=[...]"),
    ],
)
def test_stages_apart_need_the_topic_between_them(declare, publish, stages, words):
    plan = declare(publish=publish).plan()
    with pytest.raises(DeclarationError) as error:
        plan.require_layout(stages)
    assert words in str(error.value)
    plan.require_layout(STAGES)


def test_workers_check_it_before_they_start(declare):
    with pytest.raises(DeclarationError, match=r"reads tides\.validated"):
        tm.testing.Driver(declare(publish=["predictions"]), stages="each")


def test_training_needs_the_features(declare):
    with pytest.raises(DeclarationError, match=r"training reads tides\.features"):
        train(declare(publish=["predictions"]), Connection("nowhere:1"), Stretch())


def test_an_unpublished_topic_cannot_be_read(declare):
    with pytest.raises(DeclarationError, match="features"):
        run(declare(publish=["predictions"])).features()
