"""Models with differential privacy, as plain scikit-learn models: whoever serves one needs nothing of diffprivlib.

Noise is added while the parameters are found. To copy them into another object is post-processing, which costs no
privacy. Features are cut off at declared bounds and scaled by them, so nothing is learnt from the data but the
parameters; a missing value counts as the middle.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelBinarizer, MinMaxScaler
from sklearn.tree import DecisionTreeClassifier

from tidemill.processors.training.diffprivlib_import import diffprivlib
from tidemill.processors.training.privacy import DifferentialPrivacy
from tidemill.schemas.errors import DeclarationError, ModelError

Numbers = NDArray[np.float64]


def require_private(estimator: Any, *, classes: bool) -> None:
    """Raise DeclarationError unless there is a private way to fit the estimator with the parameters that it has."""
    kinds = ", ".join(f"{kind.__name__}({', '.join(kept)})" for kind, kept in OFFERED.items())
    if type(estimator) not in OFFERED:
        raise DeclarationError(
            f"private training of {type(estimator).__name__} is not offered; expected one of {kinds}, without steps"
            " before it: features are scaled by their bounds"
        )
    if (type(estimator) is LinearRegression) == classes:
        raise DeclarationError(
            f"{type(estimator).__name__} does not predict {'classes' if classes else 'a number'}; private training of"
            f" {'a number' if not classes else 'classes'} has {kinds}"
        )
    kept, plain = OFFERED[type(estimator)], type(estimator)().get_params()
    changed = [
        name
        for name, value in estimator.get_params().items()
        if name not in (*kept, "random_state", "n_jobs") and repr(value) != repr(plain[name])
    ]
    if changed:
        raise DeclarationError(
            f"private training of {type(estimator).__name__} does not know its {', '.join(changed)}; may be chosen:"
            f" {', '.join(kept) or 'nothing'}"
        )


def fit_private(
    estimator: Any,
    privacy: DifferentialPrivacy,
    frame: pd.DataFrame,
    labels: NDArray[Any],
    classes: tuple[Any, ...],
    noise: RandomState,
) -> Any:
    """Fit with epsilon-differential privacy of the rows; a scikit-learn pipeline.

    `noise` must come from the machine's entropy and be used once: who knows its seed can take the noise away.

    Raises:
        DeclarationError: the estimator is not offered.
        ModelError: labels are not of all classes.

    """
    require_private(estimator, classes=bool(classes))
    if classes and set(labels.tolist()) != set(classes):
        raise ModelError(
            f"private training needs labels of all classes {list(classes)}, got"
            f" {sorted(set(labels.tolist()), key=repr)}"
        )
    names = list(frame.columns)
    # Half as wide as makes a row with a constant beside its features one of length 1 at most.
    reach = 1 / np.sqrt(len(names) + 1)
    limits = pd.DataFrame(np.array(privacy.limits(names)), columns=names)
    scale = MinMaxScaler((-reach, reach), clip=True).fit(limits)
    fill = SimpleImputer(strategy="constant", fill_value=0.0).fit(scale.transform(limits))
    rows: Numbers = fill.transform(scale.transform(frame))
    model = _FITS[type(estimator)](estimator, privacy, rows, labels, classes, reach, noise)
    return Pipeline([("scale", scale), ("fill", fill), ("model", model)])


def _logistic(
    estimator: Any,
    privacy: DifferentialPrivacy,
    rows: Numbers,
    labels: NDArray[Any],
    classes: tuple[Any, ...],
    reach: float,
    noise: RandomState,
) -> Any:
    """Objective perturbation (Chaudhuri, Monteleoni and Sarwate 2011); of several classes each against the rest."""
    order = np.array(sorted(classes))
    against = order[1:] if len(order) == 2 else order
    fits = [
        _two_classes(estimator, privacy.epsilon / len(against), rows, labels == each, reach, noise) for each in against
    ]
    if len(fits) == 1:
        fits[0].classes_ = order
        return fits[0]
    model = OneVsRestClassifier(LogisticRegression(C=estimator.C))
    model.estimators_, model.classes_ = fits, order
    model.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(order)
    model.n_features_in_ = rows.shape[1]
    return model


def _two_classes(
    estimator: Any, epsilon: float, rows: Numbers, positive: NDArray[Any], reach: float, noise: RandomState
) -> Any:
    # The theorem wants rows of length 1 at most and a penalty on every parameter, so the intercept is one as well: its
    # feature is constant. diffprivlib's own model leaves it out of the penalty.
    wide = np.column_stack([rows, np.full(len(rows), reach)])
    sign = np.where(positive, 1.0, -1.0)
    weight = 1.0 / (estimator.C * len(rows))

    def loss(parameters: Numbers) -> tuple[float, Numbers]:
        margin = sign * (wide @ parameters)
        value = np.logaddexp(0, -margin).mean() + weight / 2 * parameters @ parameters
        return float(value), -(wide * (sign * expit(-margin))[:, None]).mean(axis=0) + weight * parameters

    mechanism = diffprivlib("mechanisms").Vector(
        epsilon=epsilon,
        dimension=wide.shape[1],
        alpha=1.0 / estimator.C,
        function_sensitivity=0.25,
        data_sensitivity=1.0,
        n=len(rows),
        random_state=noise,
    )
    found = minimize(mechanism.randomise(loss), np.zeros(wide.shape[1]), jac=True, method="L-BFGS-B").x
    model = LogisticRegression(C=estimator.C)
    model.classes_ = np.array([False, True])
    model.coef_, model.intercept_ = found[None, :-1], found[-1:] * reach
    model.n_features_in_, model.n_iter_ = rows.shape[1], np.array([0], dtype=np.int32)
    return model


def _bayes(
    estimator: Any,
    privacy: DifferentialPrivacy,
    rows: Numbers,
    labels: NDArray[Any],
    classes: tuple[Any, ...],  # noqa: ARG001 - all fits are called alike
    reach: float,
    noise: RandomState,
) -> Any:
    """Noisy counts, means and variances (Vaidya et al. 2013)."""
    made = diffprivlib("models").GaussianNB(
        epsilon=privacy.epsilon,
        bounds=(-reach, reach),
        priors=estimator.priors,
        var_smoothing=estimator.var_smoothing,
        random_state=noise,
    )
    made.fit(rows, labels)
    model = GaussianNB(priors=estimator.priors, var_smoothing=estimator.var_smoothing)
    for name in ("theta_", "var_", "class_count_", "class_prior_", "classes_", "epsilon_", "n_features_in_"):
        setattr(model, name, getattr(made, name))
    return model


def _forest(
    estimator: Any,
    privacy: DifferentialPrivacy,
    rows: Numbers,
    labels: NDArray[Any],
    classes: tuple[Any, ...],
    reach: float,
    noise: RandomState,
) -> Any:
    """Random splits, and a noisy vote in each leaf; each row is in one tree (Fletcher and Islam 2017)."""
    depth = 5 if estimator.max_depth is None else estimator.max_depth
    order = np.array(sorted(classes))
    made = diffprivlib("models").RandomForestClassifier(
        n_estimators=estimator.n_estimators,
        max_depth=depth,
        epsilon=privacy.epsilon,
        bounds=(-reach, reach),
        classes=np.arange(len(order)),
        shuffle=True,
        random_state=noise,
    )
    made.fit(rows, np.searchsorted(order, labels))
    model = RandomForestClassifier(n_estimators=estimator.n_estimators, max_depth=depth)
    model.estimators_ = [_tree(each, depth) for each in made.estimators_]
    model.estimator_ = DecisionTreeClassifier(max_depth=depth)
    model.classes_, model.n_classes_, model.n_outputs_ = order, len(order), 1
    model.n_features_in_ = rows.shape[1]
    return model


def _tree(made: Any, depth: int) -> Any:
    model = DecisionTreeClassifier(max_depth=depth)
    model.tree_, model.classes_, model.n_classes_ = made.tree_, np.arange(made.n_classes_), made.n_classes_
    model.n_outputs_, model.n_features_in_, model.max_features_ = 1, made.n_features_in_, made.n_features_in_
    return model


def _line(
    estimator: Any,  # noqa: ARG001
    privacy: DifferentialPrivacy,
    rows: Numbers,
    labels: NDArray[Any],
    classes: tuple[Any, ...],  # noqa: ARG001
    reach: float,
    noise: RandomState,
) -> Any:
    """The functional mechanism: noisy sums of squares and products (Zhang et al. 2012).

    diffprivlib measures how much a feature's square can change by the lower bound alone, and adds too little noise
    where the upper one is greater: so bounds are symmetric here, and the intercept belongs to a constant feature.
    """
    assert privacy.label_bounds is not None
    low, high = privacy.label_bounds
    middle, half = (low + high) / 2, (high - low) / 2
    wide = np.column_stack([rows, np.full(len(rows), reach)])
    made = diffprivlib("models").LinearRegression(
        epsilon=privacy.epsilon,
        bounds_X=(-reach, reach),
        bounds_y=(-1.0, 1.0),
        fit_intercept=False,
        random_state=noise,
    )
    made.fit(wide, np.clip((labels.astype(float) - middle) / half, -1, 1))
    model = LinearRegression()
    model.coef_, model.intercept_ = made.coef_[:-1] * half, float(made.coef_[-1] * reach * half + middle)
    model.n_features_in_ = rows.shape[1]
    return model


OFFERED: dict[type, tuple[str, ...]] = {
    LogisticRegression: ("C",),
    GaussianNB: ("priors", "var_smoothing"),
    RandomForestClassifier: ("n_estimators", "max_depth"),
    LinearRegression: (),
}
"""The estimators that can be fitted privately, and which of their parameters count."""
_FITS: dict[type, Callable[..., Any]] = {
    LogisticRegression: _logistic,
    GaussianNB: _bayes,
    RandomForestClassifier: _forest,
    LinearRegression: _line,
}
