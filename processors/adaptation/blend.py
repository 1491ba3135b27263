"""Several members that answer as one, by how they did on the newest labels."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation import blend_kernel

_Floats = NDArray[np.float64]

LEAST = 0.01
"""No member is charged more than the loss of this probability: one row must not decide."""


class Blend:
    """A vote in which a member's weight falls exponentially with the sum of its recent logarithmic losses.

    This is the exponentially weighted forecaster (Vovk, 1990; Cesa-Bianchi and Lugosi, 2006) with losses that are
    forgotten: after `half_life` rows a loss counts half. Members are named; `losses` is how each begins.

    >>> blend = Blend(("good", "bad"), half_life=100, rate=0.1)
    >>> answers = {"good": np.tile([0.9, 0.1], (50, 1)), "bad": np.tile([0.4, 0.6], (50, 1))}
    >>> mixed = blend.learn(answers, np.zeros(50, np.int64))
    >>> mixed[0].round(2).tolist(), mixed[-1].round(2).tolist()
    ([0.65, 0.35], [0.88, 0.12])
    """

    def __init__(
        self, members: tuple[str, ...], *, half_life: float, rate: float, losses: Mapping[str, float] | None = None
    ) -> None:
        self.members = members
        self._keep, self._rate = 0.5 ** (1 / half_life), rate
        self._half_life = half_life
        self._losses = np.array([(losses or {}).get(name, 0.0) for name in members])

    @property
    def losses(self) -> dict[str, float]:
        """The decayed sum of each member's losses."""
        return dict(zip(self.members, self._losses.tolist(), strict=True))

    @property
    def weights(self) -> dict[str, float]:
        """The part that each member has in the next answer."""
        parts = np.exp(-self._rate * (self._losses - self._losses.min()))
        return dict(zip(self.members, (parts / parts.sum()).tolist(), strict=True))

    def over(self, members: tuple[str, ...], losses: Mapping[str, float]) -> "Blend":
        """A blend of the same settings over other members, that begin with these losses."""
        return Blend(members, half_life=self._half_life, rate=self._rate, losses=losses)

    def learn(self, answers: Mapping[str, _Floats], labels: NDArray[np.int64]) -> _Floats:
        """Take each member's answers (n × classes) to rows in their order; the mixed ones, each before its label."""
        stacked = self._stack(answers)
        mixed = np.zeros((len(stacked), stacked.shape[2]))
        blend_kernel.learn(stacked, labels, self._keep, self._rate, LEAST, self._losses, mixed)
        return mixed

    def predict(self, answers: Mapping[str, _Floats]) -> _Floats:
        """Mix the members' answers (n × classes)."""
        stacked = self._stack(answers)
        mixed = np.zeros((len(stacked), stacked.shape[2]))
        blend_kernel.predict(stacked, self._losses, self._rate, mixed)
        return mixed

    def interleave(
        self, asked: Mapping[str, _Floats], answers: Mapping[str, _Floats], labels: NDArray[np.int64]
    ) -> tuple[_Floats, _Floats]:
        """For each place: mix the answers to the row asked, then learn the other. What those methods give."""
        wanted, stacked = self._stack(asked), self._stack(answers)
        shape = (len(stacked), stacked.shape[2])
        given, mixed = np.zeros(shape), np.zeros(shape)
        blend_kernel.interleave(wanted, stacked, labels, self._keep, self._rate, LEAST, self._losses, given, mixed)
        return given, mixed

    def _stack(self, answers: Mapping[str, _Floats]) -> _Floats:
        rows, classes = answers[self.members[0]].shape
        # Quicker than np.stack, which matters row by row.
        stacked = np.empty((rows, len(self.members), classes))
        for place, name in enumerate(self.members):
            stacked[:, place] = answers[name]
        return stacked
