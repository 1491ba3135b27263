"""Training: from the features that serving computed, and labels, to a fitted model and what it is worth."""

from tidemill.processors.training.fit import Training, evaluate, fit
from tidemill.processors.training.join import join_decided, join_labels

__all__ = ["Training", "evaluate", "fit", "join_decided", "join_labels"]
