"""What answers, or would like to: a place for each member, who fills it, and the blend of all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation.blend import LEAST, Blend

_Floats = NDArray[np.float64]


@dataclass
class Portfolio:
    """Members by place. `version` names the model in each place, `blend` mixes the places."""

    version: dict[str, str]
    blend: Blend

    @property
    def models(self) -> set[str]:
        """The names of its models."""
        return set(self.version.values())

    def predict(self, answers: Mapping[str, _Floats]) -> _Floats:
        """Mix the answers of its models, which are given by name."""
        return self.blend.predict(self._placed(answers))

    def _placed(self, answers: Mapping[str, _Floats]) -> dict[str, _Floats]:
        return {place: answers[name] for place, name in self.version.items()}

    def learn(
        self, answers: Mapping[str, _Floats], labels: NDArray[np.int64]
    ) -> tuple[_Floats, tuple[_Floats, _Floats]]:
        """Take labels; what it answered to each row just before, and the logarithmic loss and error (0 or 1) of it."""
        mixed = self.blend.learn(self._placed(answers), labels)
        return mixed, _outcome(mixed, labels)

    def interleave(
        self, asked: Mapping[str, _Floats], answers: Mapping[str, _Floats], labels: NDArray[np.int64]
    ) -> tuple[_Floats, tuple[_Floats, _Floats]]:
        """For each place: predict the row asked, then learn the other. What those methods give."""
        given, mixed = self.blend.interleave(self._placed(asked), self._placed(answers), labels)
        return given, _outcome(mixed, labels)

    def with_models(self, models: Mapping[str, str], *, like: str) -> "Portfolio":
        """A portfolio in which the places named have other models. A new place begins with the losses of `like`."""
        losses = self.blend.losses
        version = self.version | dict(models)
        begin = {place: losses.get(place, losses[like]) for place in version}
        return Portfolio(version, self.blend.over(tuple(version), begin))

    def saved(self) -> dict[str, Any]:
        """Who fills which place, and the losses of each, as JSON can hold it."""
        return {"version": dict(self.version), "losses": self.blend.losses}

    def restored(self, saved: Mapping[str, Any]) -> "Portfolio":
        """The portfolio that was saved, with a blend of this one's settings."""
        version = {str(place): str(name) for place, name in saved["version"].items()}
        losses = {place: float(saved["losses"][place]) for place in version}
        return Portfolio(version, self.blend.over(tuple(version), losses))


def _outcome(mixed: _Floats, labels: NDArray[np.int64]) -> tuple[_Floats, _Floats]:
    losses = -np.log(np.maximum(mixed[np.arange(len(labels)), labels], LEAST))
    return losses, (mixed.argmax(axis=1) != labels).astype(np.float64)
