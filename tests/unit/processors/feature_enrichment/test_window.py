import json

import pytest

from tidemill.processors import feature_enrichment as fe
from tidemill.schemas.errors import DeclarationError


def test_the_resolution_defaults_to_a_64th_and_buckets_cover_the_whole_span():
    day = fe.window("k", "1d", n=fe.count())
    assert (day.resolution, day.buckets) == (1_350_000_000, 64)
    uneven = fe.window("k", "10s", "3s", n=fe.count())
    assert (uneven.buckets, uneven.kept_buckets) == (4, 4)
    assert fe.window("k", "10s", "3s", "4s", n=fe.count()).kept_buckets == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"over": "1h"}, "has no features"),
        ({"over": "1h", "n": "flights"}, "n must be one of count"),
        ({"over": "1h", "n": fe.count}, "n must be one of count"),
        ({"over": "0s", "n": fe.count()}, "longer than zero"),
        ({"over": "1h", "resolution": "0s", "n": fe.count()}, "longer than zero"),
        ({"over": "1w", "resolution": "1ms", "n": fe.count()}, "604,800,000 steps.*coarser"),
        ({"over": "soon", "n": fe.count()}, "expected a duration"),
        ({"over": "1h", "n": "x"}, r"std\(\).*time_since_last\(\); got 'x'"),
        (
            {"over": "1h", "n": fe.distinct("x", 2000), "m": fe.distinct("y", 1000), "l": fe.distinct("y", 1)},
            r"keep 192,000 values in 64 steps.*150,000.*lower limit",
        ),
    ],
)
def test_refuses_what_cannot_be_a_window(arguments, message):
    with pytest.raises(DeclarationError, match=message):
        fe.window("k", **arguments)


def test_aggregates_take_field_names_not_expressions():
    with pytest.raises(DeclarationError, match=r"mean\(\) expected the name of a field.*expression"):
        fe.mean(object())
    with pytest.raises(DeclarationError, match="half_life longer than zero"):
        fe.decayed_mean("x", "0s")
    for limit in (0, -1, 2.5, True, "3"):
        with pytest.raises(DeclarationError, match=r"distinct\(\) expected a limit of at least 1.*got"):
            fe.distinct("x", limit)


def test_the_description_is_plain_json_and_tells_windows_apart():
    def make(**changes):
        return fe.window(**{"key": "k", "over": "1h", "n": fe.count(), "m": fe.decayed_mean("x"), **changes})

    assert json.loads(json.dumps(make().describe())) == make(over="60m").describe()
    changed = [
        make(over="2h"),
        make(resolution="1s"),
        make(grace="1s"),
        make(key="j"),
        make(n=fe.count("x")),
        make(m=fe.decayed_mean("x", "1h")),
        make(m=fe.distinct("x")),
        make(m=fe.distinct("x", 7)),
        make(m=fe.std("x")),
        make(m=fe.time_since_last()),
        fe.window("k", "1h", m=fe.decayed_mean("x"), n=fe.count()),
    ]
    described = [json.dumps(w.describe()) for w in (make(), *changed)]
    assert len(set(described)) == len(described)


def test_the_state_keeps_its_name_while_it_means_the_same():
    state = fe.window("k", "1h", n=fe.count(), m=fe.mean("x")).state_name
    assert fe.window("k", "60m", renamed=fe.mean("x"), n=fe.count()).state_name == state
    assert fe.window("k", "2h", n=fe.count(), m=fe.mean("x")).state_name != state
    others = [fe.min("x"), fe.std("x"), fe.first("x"), fe.distinct("x"), fe.distinct("x", 7), fe.time_since_last()]
    named = [fe.window("k", "1h", n=fe.count(), m=other).state_name for other in others]
    assert len({state, *named}) == 1 + len(others)
    # What a bucket keeps of a field's values depends on the largest limit alone.
    few = fe.window("k", "1h", n=fe.count(), m=fe.distinct("x", 7), few=fe.distinct("x", 3))
    assert few.state_name == named[4]
