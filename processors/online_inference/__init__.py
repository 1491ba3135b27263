"""Online inference: features in, predictions out, by the model that was last announced."""

from tidemill.processors.online_inference.artefact import Artefact, dump_model, load_model
from tidemill.processors.online_inference.scorer import Scorer
from tidemill.processors.online_inference.stage import OnlineInference, ServedModel
from tidemill.processors.online_inference.target import Target

__all__ = ["Artefact", "OnlineInference", "Scorer", "ServedModel", "Target", "dump_model", "load_model"]
