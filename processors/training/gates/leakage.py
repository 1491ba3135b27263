"""Leaks: a feature that knows the label where the candidate learnt or was examined, but not where it will serve.

A feature that tells the label nearly perfectly everywhere, always, may simply be a good one. A leak shows by where it
does *not* tell: in the features that serving computed, in older rows, or among the rows that were served since and
whose labels nobody knows yet, where what is only known with the label is missing or has another distribution.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tidemill.processors.training.gates.examination import Examination
from tidemill.processors.training.gates.telling import Bins, Shift, shift, telling
from tidemill.processors.training.gates.verdict import GateResult

FALL = 0.05
"""By how much a feature must tell less elsewhere, in AUC."""
MOVED = 0.2
"""How much of a feature's distribution must have moved (total variation)."""
TELLS = 0.7
GONE = 0.5
"""A feature that tells the label this well (AUC), and is missing in so much more of what is served now."""
LEAST_FRESH = 50
_CHANCE = 0.001


@dataclass(frozen=True)
class _Feature:
    """How well a feature tells the label, in what was learnt and in what it is examined on; None if it cannot be said.

    `since` and `onset` are how it is distributed in fresh rows against the examined ones, and in those against the
    learnt ones.
    """

    name: str
    learnt: float | None
    examined: float
    since: Shift | None
    onset: Shift | None


def leakage_gate(given: Examination) -> GateResult:
    """Whether nothing speaks for a leak, feature by feature, and of the candidate as a whole."""
    limit = given.gates.leakage
    assert limit is not None
    assert given.rows is not None
    features = [_feature(given, name) for name in given.features if given.rows.schema.get_field_index(name) >= 0]
    figures: dict[str, float] = {"limit": limit, "features": len(features)}
    for each in features:
        figures[f"{each.name}.examined"] = each.examined
        if each.learnt is not None:
            figures[f"{each.name}.learnt"] = each.learnt
        if each.since is not None:
            figures[f"{each.name}.moved_since"] = each.since.distance
    found = [said for each in features for said in _suspicion(each, limit, len(features))]
    found += _too_good(given, limit, figures)
    if found:
        return GateResult("leakage", False, figures, f"{'; '.join(found)}.")
    return GateResult("leakage", True, figures, _clean(given, features, limit))


def _feature(given: Examination, name: str) -> _Feature:
    assert given.rows is not None
    tables = [table for table in (given.trained, given.rows, given.fresh) if table is not None]
    tables = [table for table in tables if name in table.column_names and table.num_rows]
    bins = Bins.of(*(table[name] for table in tables))
    classes = bool(given.target.classes)
    here = bins.places(given.rows[name])
    learnt, onset = None, None
    if given.trained is not None and name in given.trained.column_names and "label" in given.trained.column_names:
        before = bins.places(given.trained[name])
        if len(before) >= given.gates.least_rows:
            learnt = telling(before, given.trained["label"].to_numpy(zero_copy_only=False), classes=classes)
            onset = shift(before, here, bins)
    since = None
    if _fresh(given) is not None and name in _fresh(given).column_names:
        since = shift(here, bins.places(_fresh(given)[name]), bins)
    return _Feature(name, learnt, telling(here, np.asarray(given.labels), classes=classes), since, onset)


def _fresh(given: Examination) -> pa.Table:
    return given.fresh if given.fresh is not None and given.fresh.num_rows >= LEAST_FRESH else None


def _suspicion(each: _Feature, limit: float, tests: int) -> list[str]:
    """What speaks against a feature; at most one thing, the plainest."""
    learnt = 0.5 if each.learnt is None else each.learnt
    best = max(learnt, each.examined)
    if each.learnt is not None and each.learnt >= limit and each.examined < each.learnt - FALL:
        return [
            f"{each.name} alone tells the label in what was learnt (AUC {each.learnt:.3f}), but not in what was served"
            f" ({each.examined:.3f})"
        ]
    certain = each.since is not None and each.since.p_value <= _CHANCE / tests
    if each.since is not None and certain and best >= TELLS and each.since.missing >= GONE:
        return [
            f"{each.name} tells the label (AUC {best:.3f}) where that is known, but is missing in"
            f" {each.since.missing:.0%} more of the rows served since, whose labels are not: it may come with the label"
        ]
    if each.since is not None and certain and best >= limit and each.since.distance >= MOVED:
        return [
            f"{each.name} alone tells the label (AUC {best:.3f}) where that is known, and is distributed otherwise in"
            f" {each.since.distance:.0%} of the rows served since, whose labels are not"
        ]
    onset = each.onset is not None and each.onset.p_value <= _CHANCE / tests and each.onset.distance >= MOVED
    if each.learnt is not None and onset and each.examined >= limit and each.learnt < limit - FALL:
        return [
            f"{each.name} alone tells the label in the newest rows (AUC {each.examined:.3f}), did not in those learnt"
            f" ({each.learnt:.3f}), and is distributed otherwise than there"
        ]
    return []


def _too_good(given: Examination, limit: float, figures: dict[str, float]) -> list[str]:
    """A candidate that is nearly perfect where labels are known, and answers otherwise where they are not."""
    from scipy.stats import ks_2samp

    if given.fresh_scores is None or len(given.fresh_scores) < LEAST_FRESH:
        return []
    scores = given.candidate[given.answered]
    labels = np.asarray(given.labels)[given.answered]
    fresh = given.fresh_scores[np.isfinite(given.fresh_scores).all(axis=1)]
    moved, told = 0.0, 0.5
    for place in range(scores.shape[1]):
        if not len(fresh) or not len(scores):
            break
        test = ks_2samp(scores[:, place], fresh[:, place], method="asymp")
        if test.pvalue <= _CHANCE / scores.shape[1]:
            moved = max(moved, float(test.statistic))
        bins = Bins.of(pa.chunked_array([scores[:, place]]))
        said = labels == given.target.classes[place] if given.target.classes else labels
        order = telling(bins.places(pa.chunked_array([scores[:, place]])), said, classes=bool(given.target.classes))
        told = max(told, order)
    figures |= {"candidate.examined": told, "candidate.moved_since": moved}
    if told < limit or moved < MOVED:
        return []
    return [
        f"the candidate is nearly perfect where labels are known (AUC {told:.3f}), but its scores of the rows served"
        f" since are others (Kolmogorov-Smirnov {moved:.2f}): it may have what comes with the label"
    ]


def _clean(given: Examination, features: list[_Feature], limit: float) -> str:
    said = f"None of {len(features)} features tells the label only where it is known"
    without = [
        word
        for word, there in (("the rows learnt", given.trained), ("rows served since", _fresh(given)))
        if there is None
    ]
    if without:
        said = f"{said}, as far as can be seen without {' and '.join(without)}"
    alone = [f"{each.name} (AUC {each.examined:.3f})" for each in features if each.examined >= limit]
    if alone:
        return f"{said}; alone, nearly perfectly and everywhere: {', '.join(alone)}. Is that known before the label?"
    return f"{said}."
