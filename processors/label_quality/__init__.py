"""How far labels can be relied on that people gave: several answers per event, brought to one label or to a dispute.

answers      what each annotator last said of each event
consensus    one label per event by weighted majority, or why there is none
dawid_skene  the same by a model of who confuses what with what
agreement    how much the annotators agree beyond chance
gold         annotators against events whose label is known
weights      how much each annotator counts
requests     which events are to be labelled again, blind
assessment   all of it for a stretch of labels
"""

from tidemill.processors.label_quality.agreement import krippendorff_alpha
from tidemill.processors.label_quality.answers import last_answers
from tidemill.processors.label_quality.assessment import Assessment, assess
from tidemill.processors.label_quality.consensus import DisputeRule, consensus
from tidemill.processors.label_quality.dawid_skene import DawidSkene, dawid_skene
from tidemill.processors.label_quality.gold import gold_accuracy, wilson_interval
from tidemill.processors.label_quality.requests import AuditRule, in_sample, label_requests
from tidemill.processors.label_quality.weights import annotator_weights

__all__ = [
    "Assessment",
    "AuditRule",
    "DawidSkene",
    "DisputeRule",
    "annotator_weights",
    "assess",
    "consensus",
    "dawid_skene",
    "gold_accuracy",
    "in_sample",
    "krippendorff_alpha",
    "label_requests",
    "last_answers",
    "wilson_interval",
]
