"""Gates: what a model must pass before it serves, and the card that tells how it did."""

from tidemill.processors.training.gates.card import Origin, Tried, card
from tidemill.processors.training.gates.declaration import Fairness, Gates
from tidemill.processors.training.gates.examination import Examination, Parity
from tidemill.processors.training.gates.examine import examine
from tidemill.processors.training.gates.measures import measures
from tidemill.processors.training.gates.probes import probe
from tidemill.processors.training.gates.trial import Trial
from tidemill.processors.training.gates.verdict import GateResult, Verdict

__all__ = [
    "Examination",
    "Fairness",
    "GateResult",
    "Gates",
    "Origin",
    "Parity",
    "Trial",
    "Tried",
    "Verdict",
    "card",
    "examine",
    "measures",
    "probe",
]
