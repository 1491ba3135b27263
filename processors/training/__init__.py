"""Training: from the features that serving computed, and labels, to a fitted model and what it is worth.

columns      the columns of a data set
chance       draws that depend on nothing but a seed and the event
preparation  merge, clean, balance
selection    which rows, and what they weigh
splits       in two by time, without a leak
ipc          rows as bytes that are always the same
dataset      rows with the manifest that builds them again
difference   how two data sets differ
"""

from tidemill.processors.training.dataset import Dataset, Recipe
from tidemill.processors.training.fit import Training, evaluate, fit
from tidemill.processors.training.join import join_decided, join_labels
from tidemill.processors.training.preparation import balance, clean, merge
from tidemill.processors.training.selection import Selection, decayed, last_rows, since, stratified
from tidemill.processors.training.splits import Split, split_by_time

__all__ = [
    "Dataset",
    "Recipe",
    "Selection",
    "Split",
    "Training",
    "balance",
    "clean",
    "decayed",
    "evaluate",
    "fit",
    "join_decided",
    "join_labels",
    "last_rows",
    "merge",
    "since",
    "split_by_time",
    "stratified",
]
