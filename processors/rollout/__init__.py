"""How a new model takes over: what the rollout log says, how two models are compared, and what follows from it."""

from tidemill.processors.rollout.state import Rollout, Standing, Status

__all__ = ["Rollout", "Standing", "Status"]
