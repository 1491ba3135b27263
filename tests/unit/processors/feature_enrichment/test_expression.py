import json
import subprocess
import sys

import polars as pl
import pytest

from tidemill.processors import feature_enrichment as fe
from tidemill.schemas.errors import DeclarationError


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (1, "must be a polars expression, got 1"),
        (pl.all(), "selects columns by a pattern"),
        (pl.sum_horizontal(pl.selectors.numeric()), "selects columns by a pattern"),
        (pl.col("x").map_elements(abs, return_dtype=pl.Int64), "calls a Python function"),
        (pl.col("x").map_batches(abs), "calls a Python function"),
        (pl.col("x").cast(pl.Categorical).to_physical(), "Categorical, whose codes depend on which values came first"),
    ],
)
def test_refuses_what_cannot_be_computed_or_fingerprinted(wrong, message):
    with pytest.raises(DeclarationError, match=f"late .*{message}|late {message}"):
        fe.expression(late=wrong)


def test_refuses_to_declare_nothing():
    with pytest.raises(DeclarationError, match="has no features"):
        fe.expression()
    with pytest.raises(DeclarationError, match="names of event fields"):
        fe.fields()
    with pytest.raises(DeclarationError, match="names of event fields"):
        fe.fields(pl.col("x"))


def test_text_that_looks_like_an_operation_is_fine():
    fe.expression(a=pl.col("AnonymousFunction") == "Categorical", b=pl.col("Categorical").alias("AnonymousFunction"))


def test_the_description_tells_expressions_apart_and_keeps_their_order():
    x = pl.col("x")
    made = [fe.expression(a=x > 1, b=x), fe.expression(b=x, a=x > 1), fe.expression(a=x > 2, b=x), fe.fields("a", "b")]
    described = [json.dumps(one.describe()) for one in made]
    assert len(set(described)) == len(described)
    assert json.dumps(fe.expression(a=pl.col("x") > 1, b=pl.col("x")).describe()) == described[0]


def test_the_description_is_the_same_in_another_process():
    made = 'pl.col("x").is_in([1, 2]) & pl.col("t").cast(pl.Enum(["u", "v"])).is_null() | (pl.lit(0.1) > pl.col("y"))'
    script = f"import polars as pl; print(({made}).meta.serialize(format='json'))"
    elsewhere = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout
    described = fe.expression(a=eval(made)).describe()
    assert described["expressions"] == [["a", json.loads(elsewhere)]]
