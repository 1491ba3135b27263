"""A model with moods: slow, or hanging, for as long as a file says so."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin

MOOD = Path(os.environ.get("CHAOS_FOLDER", ".")) / "mood"


class Moody(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The logistic function of what was spent; its mood is read at each call, {"seconds": 0.5} or {"hang": true}."""

    def fit(self, _: pd.DataFrame, labels: Any) -> "Moody":
        """Learn nothing."""
        self.classes_ = np.unique(labels)
        return self

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
        """The probabilities, as soon as the mood allows."""
        mood = current_mood()
        time.sleep(mood.get("seconds", 0.0))
        while current_mood().get("hang"):
            time.sleep(0.02)
        yes = 1 / (1 + np.exp(-(frame["amount"].to_numpy() + frame["spent"].to_numpy()) / 1000))
        return np.column_stack([1 - yes, yes])


def current_mood() -> dict[str, Any]:
    """What the file says, nothing without one."""
    try:
        return dict(json.loads(MOOD.read_text()))
    except FileNotFoundError:
        return {}
