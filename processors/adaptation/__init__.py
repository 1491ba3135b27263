"""Adaptation to drift: what answers, what is fitted and when, what is promoted and what is rolled back."""

from tidemill.processors.adaptation.classifier import AdaptiveClassifier
from tidemill.processors.adaptation.estimators import ESTIMATORS, Estimator
from tidemill.processors.adaptation.events import Event, Kind
from tidemill.processors.adaptation.forest import AdaptiveForest
from tidemill.processors.adaptation.policy import Adaptation
from tidemill.processors.adaptation.settings import BUDGET, DEFAULT, Budget, Settings

__all__ = [
    "BUDGET",
    "DEFAULT",
    "ESTIMATORS",
    "Adaptation",
    "AdaptiveClassifier",
    "AdaptiveForest",
    "Budget",
    "Estimator",
    "Event",
    "Kind",
    "Settings",
]
