from datetime import timedelta

import pytest

from tidemill.processors.duration import duration
from tidemill.schemas.errors import DeclarationError


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("250ms", 250_000),
        ("5s", 5_000_000),
        ("90m", 5_400_000_000),
        ("12h", 43_200_000_000),
        ("3d", 259_200_000_000),
        ("2w", 1_209_600_000_000),
        ("1h30m", 5_400_000_000),
        ("1d2h3m4s5ms", 93_784_005_000),
        ("0s", 0),
        (timedelta(hours=1, microseconds=1), 3_600_000_001),
    ],
)
def test_reads_units_combinations_and_timedeltas(text, microseconds):
    assert duration(text) == microseconds


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "12",
        "h",
        "1.5h",
        "12 h",
        "-1h",
        "30m1h",
        "1h1h",
        "1H",
        "1y",
        "١h",
        "99999999999w",
        timedelta(seconds=-1),
        12,
        None,
    ],
)
def test_refuses_everything_else_and_says_what_was_expected(wrong):
    with pytest.raises(DeclarationError, match=r"expected a duration.*got ") as caught:
        duration(wrong)
    assert repr(wrong) in str(caught.value)
    assert "1h30m" in str(caught.value)
