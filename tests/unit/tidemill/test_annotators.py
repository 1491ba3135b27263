import polars as pl
import pytest

import tidemill as tm
from tidemill.schemas.errors import DeclarationError, SchemaError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"least": 0}, "least=.*a whole number from 1 on, got 0"),
        ({"least": True}, "least=.*got True"),
        ({"agree": 0.0}, "agree=.*a share above 0"),
        ({"agree": 1.1}, "agree=.*1 at most, got 1.1"),
        ({"audit": -0.1}, "audit=.*from 0 to 1, got -0.1"),
        ({"experts": "eve"}, "experts=.*a list of names, got 'eve'"),
        ({"gold": "gold.cvs"}, r"gold='gold.cvs'.*did you mean '.csv'"),
        ({"guidelines": "guide.md"}, "without guidelines_version"),
        ({"guidelines_version": "3\n4"}, "text on one line"),
        ({"guidelines_version": 3}, "text on one line, got 3"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(DeclarationError, match=message):
        tm.Annotators(**given)


@pytest.fixture
def pipeline(declare, schemas):
    """A pipeline whose labels name who gave them."""

    def make(annotators, base=None, annotator="who", label=None, classes=None, **fields):
        contract = schemas("Flood", id="string", who=["null", "string"], over=["null", "int"], **fields)
        expression = pl.col("over") > 0 if label is None else label
        labels = tm.Labels(
            contract, id="id", label=expression, classes=classes, annotator=annotator, annotators=annotators
        )
        return declare(labels=labels, base=base, model=None)

    return make


def test_labels_must_say_who_gave_them_and_be_of_classes(pipeline):
    with pytest.raises(DeclarationError, match=r"annotators=\.\.\.\) without annotator"):
        pipeline(tm.Annotators(), annotator=None).plan()
    with pytest.raises(SchemaError, match="no field 'woh'; did you mean 'who'"):
        pipeline(tm.Annotators(), annotator="woh").plan()
    with pytest.raises(DeclarationError, match="agree on classes, and the label is a number"):
        pipeline(tm.Annotators(), label=pl.col("over")).plan()
    with pytest.raises(DeclarationError, match="guidelines_version: expected text, got int32"):
        pipeline(tm.Annotators(guidelines_version="3"), guidelines_version="int").plan()


def test_guidelines_go_out_with_the_contract(pipeline, tmp_path):
    (tmp_path / "guide.md").write_text("Wet is wet.")
    for given in ("guide.md", "Wet is wet."):
        made = pipeline(tm.Annotators(guidelines=given, guidelines_version="3"), tmp_path)
        assert made.plan().contracts["labels"].schema["tidemill"] == {
            "id": "id",
            "guidelines": {"version": "3", "text": "Wet is wet."},
        }
    assert pipeline(tm.Annotators()).plan().contracts["labels"].schema["tidemill"] == {"id": "id"}


def test_guidelines_that_cannot_be_published_are_refused(pipeline, tmp_path):
    (tmp_path / "guide.md").write_text("Wet is wet." * 10_000)
    with pytest.raises(DeclarationError, match=r"guid\.md cannot be read as text: .*; did you mean 'guide\.md'"):
        pipeline(tm.Annotators(guidelines="guid.md", guidelines_version="3"), tmp_path)
    with pytest.raises(DeclarationError, match="100,000 characters at most, got 110,000"):
        pipeline(tm.Annotators(guidelines="guide.md", guidelines_version="3"), tmp_path)


def test_requests_have_a_topic_if_annotators_are_declared(pipeline):
    assert "tides.label-requests" in {spec.name for spec in pipeline(tm.Annotators()).plan().topics()}
    assert "tides.label-requests" not in {spec.name for spec in pipeline(None).plan().topics()}


def test_annotators_do_not_decide_about_features(pipeline):
    assert pipeline(tm.Annotators(least=2)).plan().version == pipeline(None).plan().version
