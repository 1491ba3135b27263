import numpy as np
import pyarrow as pa
import pytest
from river import compose, drift, evaluate, forest, linear_model, metrics, preprocessing, tree
from river.datasets import synth

import tidemill as tm
from tidemill.processors.learning import Learning
from tidemill.processors.online_inference.target import Target
from tidemill.processors.training.arrivals import KNOWN, OFFSET, PARTITION
from tidemill.processors.training.learner import Learner
from tidemill.schemas.errors import DeclarationError, ModelError

NAMES = ["a", "b", "c"]
TRUTH = Target((False, True))
STREAM = [(dict(zip(NAMES, x.values(), strict=True)), y) for x, y in synth.SEA(seed=1).take(400)]


def outcomes(stream=STREAM, first=0):
    times = pa.array(range(first, first + len(stream)), pa.timestamp("us", "UTC"))
    columns = {name: [x[name] for x, _ in stream] for name in stream[0][0]}
    return pa.table(
        columns
        | {"label": [y for _, y in stream], "event_time": times, KNOWN: times.cast(pa.int64())}
        | {PARTITION: np.zeros(len(stream), np.int64), OFFSET: np.arange(first, first + len(stream))}
    )


def logistic():
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def learner(estimator=None, target=TRUTH, **learning):
    return Learner(logistic() if estimator is None else estimator, NAMES, NAMES, target, Learning(**learning))


@pytest.mark.parametrize("delay", [0, 1, 30])
@pytest.mark.parametrize("model", [logistic(), tree.HoeffdingAdaptiveTreeClassifier(grace_period=20, seed=1)])
def test_the_same_as_rivers_progressive_validation_bit_for_bit(model, delay):
    theirs = metrics.LogLoss()
    # River's delay of d + 1 is a label that is known before the event d + 1 rows later.
    evaluate.progressive_val_score(STREAM, model.clone(), theirs, delay=delay + 1)
    ours, made = metrics.LogLoss(), learner(model, every=7)
    table, learned, answers = outcomes(), 0, []
    for at, (x, _) in enumerate(STREAM):
        while learned < at - delay:
            count, version = made.take(table.slice(learned, at - delay - learned))
            learned += count
            if version is not None and learned % 3:
                made.accept(version)
        answers.append(made.model.predict_proba_one(x))
    for (_, y), answer in zip(STREAM, answers, strict=True):
        # As River does, which leaves out what a model cannot answer yet.
        if answer:
            ours.update(y, answer)
    assert ours.get() == theirs.get()


def test_a_version_says_what_it_is_made_of():
    made = learner(every=150)
    table = outcomes()
    count, version = made.take(table)
    assert count == version.training_rows == version.evaluation_rows == 150
    assert version.offsets == {0: (0, 149)}
    assert made.position == {0: 150}
    assert version.trained_until == table["event_time"][149].as_py()
    assert 0 < version.metrics["log_loss"] < version.metrics["base_log_loss"]
    made.accept(version)
    count, after = made.take(table.slice(150))
    assert (count, after.training_rows, after.offsets) == (150, 300, {0: (0, 299)})


def test_a_version_is_due_when_label_time_passes_a_bound():
    made = learner(every="1ms")
    assert made.take(outcomes(STREAM[:100], 950)) == (50, made_version(made))


def made_version(made):
    """Equal to any version, of which only that there is one matters here."""

    class Any:
        def __eq__(self, other):
            return other is not None and other.training_rows == 50

    return Any()


@pytest.mark.parametrize(
    "model",
    [forest.ARFClassifier(n_models=2, grace_period=20, seed=3), tm.AdaptiveClassifier()],
    ids=["forest", "adaptive"],
)
def test_who_goes_on_from_a_version_learns_the_same_bits(model):
    table = outcomes()
    whole = learner(model, every=100)
    _, version = whole.take(table)
    whole.accept(version)
    _, expected = whole.take(table.slice(100))
    again = learner(model, every=100)
    ranges = [{"partition": p, "first": a, "last": b} for p, (a, b) in version.offsets.items()]
    again.resume(
        version.artefact,
        {
            "artefact_sha256": version.artefact.sha256,
            "training_offsets": ranges,
            "training_rows": version.training_rows,
            "trained_from": version.trained_from,
            "trained_until": version.trained_until,
        },
    )
    for start, stop in ((100, 130), (130, 131), (131, 400)):
        count, found = again.take(table.slice(start, stop - start))
    assert count == 69
    assert found == expected


MIXED = [
    (
        {
            "a": None if n % 7 == 3 else x["a"],
            "kind": [None, "k1", "k2"][n % 3],
            "flag": [None, True, False, True][n % 4],
        },
        ["no", "yes", "unheard of"][2 if n % 50 == 9 else (x["a"] > 5) ^ (n % 3 == 1)],
    )
    for n, (x, _) in enumerate(STREAM)
]


def test_an_adaptive_model_takes_what_pipelines_have_in_any_cut():
    names, target, found = list(MIXED[0][0]), Target(("no", "yes")), []
    for cut in (1, 7, 300):
        made = Learner(tm.AdaptiveClassifier(), names, names, target, Learning(every=300))
        for start in range(0, 300, cut):
            _, version = made.take(outcomes(MIXED)[start : min(start + cut, 300)])
        found.append(version)
    assert len({version.artefact.sha256 for version in found}) == 1
    # Labels that are not declared are not learned; missing values are, from the first row on.
    assert (found[0].training_rows, found[0].skipped) == (294, 6)
    assert found[0].metrics == found[2].metrics
    assert found[0].done == "nothing was fitted or changed"


def test_text_is_learned_alike_however_it_was_cut():
    stream = [({**x, "kind": f"k{n % 3}"}, y) for n, (x, y) in enumerate(STREAM)]
    names = [*NAMES, "kind"]
    numbers = compose.SelectType(float) | preprocessing.StandardScaler()
    text = compose.SelectType(str) | preprocessing.OneHotEncoder()
    model = (numbers + text) | linear_model.LogisticRegression()
    found = []
    for cut in (1, 7, 200):
        made = Learner(model, names, names, TRUTH, Learning(every=200))
        for start in range(0, 200, cut):
            _, version = made.take(outcomes(stream)[start : min(start + cut, 200)])
        found.append(version.artefact.sha256)
    assert len(set(found)) == 1


def test_mini_batches_begin_anew_at_a_version_and_do_not_depend_on_the_cut():
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    single, several, cut = (learner(model, every=110, batch=batch) for batch in (1, 32, 32))
    table = outcomes()
    versions = [single.take(table)[1], several.take(table)[1]]
    for start in range(0, 110, 11):
        _, version = cut.take(table.slice(start, 11))
    assert version == versions[1]
    assert versions[0].artefact != versions[1].artefact


def test_what_serving_would_reject_is_not_learned():
    bad = [({"a": float("nan"), "b": 1.0, "c": 1.0}, True)]
    made, clean = learner(every=52), learner(every=50)
    _, version = made.take(outcomes([*bad, *STREAM[:50], *bad]))
    _, expected = clean.take(outcomes(STREAM[:50]))
    assert (version.skipped, version.training_rows) == (2, 50)
    assert version.artefact == expected.artefact


def test_a_model_that_can_learn_from_nothing_is_told():
    made = learner(every=5, target=Target(("yes", "no")))
    with pytest.raises(ModelError, match="could learn from none of 5 outcomes"):
        made.take(outcomes())


def test_a_regression():
    stream = [(x, 2 * x["a"] + 1) for x, _ in STREAM]
    made = learner(preprocessing.StandardScaler() | linear_model.LinearRegression(), Target(), every=400)
    _, version = made.take(outcomes(stream))
    assert version.metrics["mae"] < version.metrics["base_mae"]
    assert version.metrics["rmse"] < version.metrics["base_rmse"]


def test_a_model_without_a_seed_is_refused():
    with pytest.raises(ModelError, match="give it a seed"):
        learner(forest.ARFClassifier(n_models=2))


@pytest.mark.parametrize(
    ("learning", "said"),
    [
        ({"every": 0}, "at least one outcome"),
        ({"every": "0s"}, "at least one outcome"),
        ({"batch": 0}, "at least one"),
        ({"batch": 8}, "has no learn_many"),
        ({"every": "soon"}, "expected a duration"),
    ],
)
def test_what_cannot_be_is_refused(learning, said):
    with pytest.raises(DeclarationError, match=said):
        Learning(**learning).check(tree.HoeffdingTreeClassifier())


def test_only_rivers_models_learn_in_the_stream():
    with pytest.raises(DeclarationError, match="expected one of River's models"):
        Learning().check(drift)
