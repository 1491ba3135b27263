"""When a new model is wanted: alerts, performance, time, labels and requests, to triggers with their reasons."""

from tidemill.processors.retraining.declaration import Retrain
from tidemill.processors.retraining.policy import RetrainPolicy
from tidemill.processors.retraining.trigger import Request, Trigger

__all__ = ["Request", "Retrain", "RetrainPolicy", "Trigger"]
