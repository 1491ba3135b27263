import json
from pathlib import Path

import pytest

from tidemill.processors import feature_enrichment as fe
from tidemill.schemas.errors import DeclarationError


def test_a_table_can_be_given_or_named():
    airports = fe.file_table("airports", Path("data") / "airports.csv", key=["faa"])
    given = fe.lookup(airports, on=["origin"], columns=["alt", "tz"])
    named = fe.lookup("airports", on=["origin"], columns=["alt", "tz"])
    assert (given.table, given.declaration) == ("airports", airports)
    assert (named.table, named.declaration) == ("airports", None)
    assert fe.lookup(airports, on=["dest"], columns=["alt"], prefix="dest_").names == ("dest_alt",)


@pytest.mark.parametrize(("path", "kind"), [("a.parquet", "parquet"), ("b/a.CSV", "csv"), ("a.feather", "feather")])
def test_the_file_name_says_the_format(path, kind):
    assert fe.file_table("t", path, key=["k"]).format == kind


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: fe.file_table("t", "rows.xlsx", key=["k"]), "'t'.*ends in .parquet, .csv.*'rows.xlsx'"),
        (lambda: fe.file_table("t", "rows.csv", key="k"), "key expected a list of names.*got 'k'"),
        (lambda: fe.topic_table("t", "row.avsc", key=[]), "key expected a list of names"),
        (lambda: fe.lookup("t", on="k", columns=["v"]), "on expected a list of names"),
        (lambda: fe.lookup("t", on=["k"], columns=[]), "columns expected a list of names"),
        (lambda: fe.lookup("t", on=["k"], columns=["v", "v"]), "names something twice: v, v"),
    ],
)
def test_refuses_what_cannot_be_looked_up(declare, message):
    with pytest.raises(DeclarationError, match=message):
        declare()


def test_descriptions_are_plain_json_and_tell_lookups_apart(flight):
    def described(table="t", on=("k",), columns=("v",), prefix=""):
        return json.dumps(fe.lookup(table, on=on, columns=columns, prefix=prefix).describe())

    made = [
        described(),
        described("u"),
        described(on=["j"]),
        described(columns=["v", "w"]),
        described(columns=["w", "v"]),
        described(prefix="p_"),
        described(fe.file_table("t", "t.csv", key=["k"])),
        described(fe.file_table("t", "t.csv", key=["j"])),
        described(fe.topic_table("t", flight, key=["k"])),
        described(fe.topic_table("t", "t.avsc", key=["k"])),
    ]
    assert len(set(made)) == len(made)
    # Where the file lies is not part of what it means.
    assert described(fe.file_table("t", "/elsewhere/t.csv", key=["k"])) == described(fe.file_table("t", "t.csv", ["k"]))
