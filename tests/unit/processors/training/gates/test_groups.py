import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.training.gates.groups import groups_of


@pytest.mark.parametrize(
    "given",
    [
        ["b", None, "a", "b"],
        np.array(["b", None, "a", "b"], dtype=object),
        pa.array(["b", None, "a", "b"]),
        pa.chunked_array([["b", None], ["a", "b"]]),
        pa.array(["b", None, "a", "b"]).dictionary_encode(),
    ],
    ids=lambda given: type(given).__name__,
)
def test_columns_of_any_kind(given):
    found = groups_of({"f": given}, "f")
    assert {name: rows.tolist() for name, rows in found.items()} == {"f=a": [2], "f=b": [0, 3]}


def test_booleans_and_numbers():
    assert list(groups_of({"f": np.array([True, False])}, "f")) == ["f=false", "f=true"]
    assert list(groups_of({"f": np.array([2, 1])}, "f")) == ["f=1", "f=2"]


def test_the_most_frequent_ones():
    assert list(groups_of({"f": list("aabbc")}, "f", most=2)) == ["f=a", "f=b"]
    assert list(groups_of({"f": list("aabbbc")}, "f", private={"f"}, most=2)) == ["f=#1", "f=#2"]
    assert groups_of({"f": pa.nulls(3, pa.string())}, "f") == {}
