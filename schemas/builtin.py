"""The contracts that do not depend on a pipeline's declaration."""

from importlib.resources import files

from tidemill.schemas.contract import Contract


def _builtin(name: str) -> Contract:
    return Contract.parse(files("tidemill.schemas").joinpath(name).read_text(encoding="utf-8"))


REJECTION = _builtin("rejection.avsc")
"""What subscribers see of a record on `P.rejected`; most of it travels as Kafka headers."""

MODEL_EVENT = _builtin("model_event.avsc")
"""A record on `P.models`."""

MODEL_EVENT_1 = _builtin("model_event_1.avsc")
"""The same before the log was chained; only read."""

PROFILE = _builtin("profile.avsc")
"""A record on `P.profiles`, and a reference profile inside a model's artefact."""

DRIFT_ALERT = _builtin("drift_alert.avsc")
"""A record on `P.drift-alerts`: an incident as it stands."""

ALERT_ACTION = _builtin("alert_action.avsc")
"""A record on `P.alert-actions`: what somebody does about an incident."""

LABEL_REQUEST = _builtin("label_request.avsc")
"""A record on `P.label-requests`."""

RETRAIN_REQUEST = _builtin("retrain_request.avsc")
"""A record on `P.retrain-requests`."""

RETRAIN_TRIGGER = _builtin("retrain_trigger.avsc")
"""A record on `P.retrain-triggers`: why a new model is wanted, or why it is not."""

TRAINING_JOB = _builtin("training_job.avsc")
"""A record on `P.training-jobs`: how a job stands."""
