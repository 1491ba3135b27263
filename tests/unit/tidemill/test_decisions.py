"""Several annotators: `tidemill train` and data sets learn from the same rows with the same labels."""

from datetime import timedelta

import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.labelling import read_decided
from tidemill.processors.training import join_decided
from tidemill.processors.training.dataset import Recipe
from tidemill.processors.training.decisions import settle
from tidemill.schemas.errors import StreamError
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.archive import Archive
from tidemill.streams.datasets import DatasetStore, build_dataset
from tidemill.streams.memory import MemoryReader

SAID = {"e0": "tft", "e1": "tf", "e2": "t", "e3": "fff", "e4": "tt", "e5": "ffft"}
"""What ada, bo, cy and di said of each event: a majority, two that differ, one alone, and three without dispute."""


@pytest.fixture
def driver(declare, schemas, tmp_path):
    labels = tm.Labels(
        schemas("Flood", id="string", who="string", over="boolean"),
        id="id",
        label=pl.col("over"),
        annotator="who",
        annotators=tm.Annotators(least=2, agree=0.6),
        within="3d",
    )
    model = tm.Model(LogisticRegression(), ["height"], prior=0.5)
    made = tm.testing.Driver(declare(labels=labels, model=model, base=tmp_path))
    for number, event in enumerate(SAID):
        made.send({"id": event, "station": "s", "at": made.now, "height": number, "due": None})
        made.advance(timedelta(minutes=1))
    made.run()
    for place, who in enumerate(("ada", "bo", "cy", "di")):
        made.send_labels(
            [{"id": e, "who": who, "over": said[place] == "t"} for e, said in SAID.items() if place < len(said)]
        )
        made.advance(timedelta(hours=1))
        made.run()
    return made


def made_of(driver, root, **recipe):
    archive, reader = Archive(str(root)), MemoryReader(driver.log)
    archive.catch_up(driver.plan, reader, driver._schemas)
    contracts = KnownSchemas([driver.plan.contracts["labels"]])
    decided = read_decided(driver.pipeline, reader, contracts, recipe.get("known_before"))
    return archive, build_dataset(archive, driver.plan, Recipe({}, **recipe), features=["height"], decided=decided)


def test_a_data_set_has_the_consensus_and_leaves_out_disputes(driver, tmp_path):
    _, dataset = made_of(driver, tmp_path / "archive")
    rows = {row["event_id"]: row["label"] for row in dataset.rows.to_pylist()}
    assert rows == {"e0": True, "e3": False, "e4": True, "e5": False}
    # One says yes and one says no, and one of them has been right a little more often.
    assert dataset.manifest["dropped"] == {"disputed_few": 1, "disputed_split": 1}
    assert dataset.manifest["events"] == 6
    assert dataset.manifest["decisions"]["events"] == 6


def test_train_learns_from_the_same(driver, tmp_path):
    _, dataset = made_of(driver, tmp_path / "archive")
    contracts = KnownSchemas([driver.plan.contracts["labels"]])
    decided = read_decided(driver.pipeline, MemoryReader(driver.log), contracts)
    settled = settle(join_decided(pl.DataFrame({"event_id": list(SAID), "event_time": 0, "source_partition": 0,
        "source_offset": range(6)}).to_arrow(), pl.DataFrame(decided)), decided)  # fmt: skip
    assert dict(zip(settled.rows["event_id"].to_pylist(), settled.rows["label"].to_pylist(), strict=True)) == {
        row["event_id"]: row["label"] for row in dataset.rows.to_pylist()
    }
    assert settled.dropped == dataset.manifest["dropped"]


def test_a_label_is_known_only_when_its_last_answer_was(driver, tmp_path):
    """The third "no" of e5 changed nothing and made no outcome; without it, the decision was another one's."""
    _, dataset = made_of(driver, tmp_path / "archive")
    _, earlier = made_of(driver, tmp_path / "archive", known_before=driver.now - timedelta(hours=2, minutes=30))
    times = {row["event_id"]: row["known_time"] for row in dataset.rows.to_pylist()}
    assert times["e5"] > times["e3"] > times["e4"]
    assert earlier.manifest["dropped"] == {"disputed_few": 1, "disputed_tie": 2}


def test_it_is_built_again_though_people_have_said_more(driver, tmp_path):
    archive, dataset = made_of(driver, tmp_path / "archive")
    store = DatasetStore(archive)
    store.save(dataset)
    driver.send_labels([{"id": "e1", "who": "cy", "over": True}])
    driver.run()
    archive.catch_up(driver.plan, MemoryReader(driver.log), driver._schemas)
    assert store.rebuild(dataset.id).to_bytes() == dataset.to_bytes()
    (kept,) = (tmp_path / "archive" / "datasets").glob("decisions-*.arrow")
    kept.unlink()
    with pytest.raises(StreamError, match="what annotators decided is gone"):
        store.rebuild(dataset.id)


def test_labels_of_annotators_are_kept(driver, declare):
    config = {spec.name: spec.config for spec in driver.plan.topics()}
    assert config["tides.labels"]["retention.ms"] == "-1"
