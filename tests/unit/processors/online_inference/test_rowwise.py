"""What is asked of scikit-learn once must not change a bit of its answers, nor be asked of the wrong models."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler

from tidemill.processors.online_inference.rowwise import without_names
from tidemill.processors.online_inference.scorer import Scorer
from tidemill.processors.online_inference.target import Target

RANDOM = np.random.default_rng(3)
FRAME = pd.DataFrame(RANDOM.normal(size=(300, 4)), columns=list("wxyz"))
LABELS = (FRAME["x"] - FRAME["z"] > 0).to_numpy()


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
        RandomForestClassifier(5, random_state=0),
        HistGradientBoostingClassifier(max_iter=5),
    ],
    ids=lambda model: type(model).__name__,
)
def test_arrays_lead_to_the_same_bytes_without_a_warning(model):
    fitted = model.fit(FRAME, LABELS)
    bare = without_names(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bare.predict_proba(FRAME.to_numpy()).tobytes() == fitted.predict_proba(FRAME).tobytes()
    assert list(fitted.feature_names_in_) == list("wxyz")


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(make_column_transformer((StandardScaler(), ["z", "x"])), LogisticRegression()),
        make_pipeline(FunctionTransformer(lambda frame: frame[["z"]]), LogisticRegression()),
        make_pipeline(PolynomialFeatures(2), LogisticRegression()),
        CalibratedClassifierCV(LogisticRegression(), cv=2),
        object(),
    ],
    ids=lambda model: type(model).__name__ + str(len(getattr(model, "steps", ""))),
)
def test_what_might_go_by_names_is_left_alone(model):
    if hasattr(model, "fit"):
        model.fit(FRAME, LABELS)
    assert without_names(model) is None


def test_columns_in_another_order_are_still_found_by_name():
    scorer = Scorer(LogisticRegression().fit(FRAME, LABELS), Target((False, True)))
    turned = FRAME[list("zyxw")]
    scores, failures = scorer.score(turned)
    assert len(failures) == len(FRAME)
    assert "feature names" in failures[0].message
    assert np.isnan(scores).all()
