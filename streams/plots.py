"""Pictures of how a model did on rows that it was not fitted on, as PNGs; drawn without a display."""

from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.schemas.errors import StreamError

_BINS = 10
Numbers = NDArray[np.float64]


def pictures(labels: NDArray[Any], scores: Numbers, classes: tuple[Any, ...] = ()) -> dict[str, bytes]:
    """What there is to draw, by name: for classes calibration, ROC and precision and recall; else residuals.

    `labels` are n labels, `scores` n rows of probabilities in the order of `classes`, or of one number. Of more than
    two classes each is drawn against all others. Nothing is drawn of no rows.

    Raises:
        StreamError: matplotlib is not installed.

    """
    if not len(labels):
        return {}
    if not classes:
        return {"residuals": _residuals(labels.astype(float), scores[:, 0])}
    wanted = range(1, 2) if len(classes) == 2 else range(len(classes))
    happened = {str(classes[k]): np.array([label == classes[k] for label in labels.tolist()]) for k in wanted}
    said = {str(classes[k]): scores[:, k] for k in wanted}
    drawn = {"calibration": _calibration(happened, said)}
    both = {name: seen for name, seen in happened.items() if 0 < seen.sum() < len(seen)}
    if both:
        drawn |= {"roc": _roc(both, said), "precision_recall": _precision_recall(both, said)}
    return drawn


def _axes() -> tuple[Any, Any]:
    try:
        figure = import_module("matplotlib.figure").Figure(figsize=(5, 4), dpi=100, layout="constrained")
    except ImportError as error:
        raise StreamError("pictures need matplotlib: pip install 'tidemill[training]'") from error
    return figure, figure.subplots()


def _png(figure: Any, axes: Any, x: str, y: str) -> bytes:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    held = BytesIO()
    figure.savefig(held, format="png", metadata={"Software": None})
    return held.getvalue()


def _calibration(happened: dict[str, NDArray[Any]], said: dict[str, Numbers]) -> bytes:
    """Means of ten bins with as many rows each."""
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for name, seen in happened.items():
        parts = [part for part in np.array_split(np.argsort(said[name], kind="stable"), _BINS) if len(part)]
        axes.plot([said[name][part].mean() for part in parts], [seen[part].mean() for part in parts], "o-", label=name)
    return _png(figure, axes, "probability", "share that happened")


def _roc(happened: dict[str, NDArray[Any]], said: dict[str, Numbers]) -> bytes:
    curve = import_module("sklearn.metrics").roc_curve
    figure, axes = _axes()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for name, seen in happened.items():
        false, true, _ = curve(seen, said[name])
        axes.plot(false, true, label=name)
    return _png(figure, axes, "false positive rate", "true positive rate")


def _precision_recall(happened: dict[str, NDArray[Any]], said: dict[str, Numbers]) -> bytes:
    curve = import_module("sklearn.metrics").precision_recall_curve
    figure, axes = _axes()
    for name, seen in happened.items():
        precision, recall, _ = curve(seen, said[name])
        axes.plot(recall, precision, label=name)
    return _png(figure, axes, "recall", "precision")


def _residuals(labels: Numbers, said: Numbers) -> bytes:
    figure, axes = _axes()
    axes.axhline(0, color="grey", linewidth=1)
    axes.plot(said, labels - said, ".", markersize=3, alpha=0.5)
    return _png(figure, axes, "predicted", "happened − predicted")
