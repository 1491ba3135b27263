"""Sequential detectors by name: the shipped one, River's, and those of users.

A detector has two methods: `update` takes a value, `drift_detected` says whether that brought an alarm. After an alarm
it begins anew by itself. Whatever has both fits, so River's detectors do as they are.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol, runtime_checkable

from tidemill.processors.drift.shiryaev_roberts import ShiryaevRoberts
from tidemill.schemas.errors import DeclarationError, nearest

DEFAULT = "shiryaev_roberts"
Kind = Literal["errors", "losses"]
_MOST_OUTCOMES = 100


@runtime_checkable
class Detector(Protocol):
    """What a sequential detector must have."""

    @property
    def drift_detected(self) -> bool:
        """Whether the last update brought an alarm."""

    def update(self, value: float) -> Any:
        """Take the next value of the sequence."""


@dataclass(frozen=True)
class _River:
    module: str
    cls: str
    source: str
    binary: bool = False
    of_successes: bool = False
    settings: Mapping[str, Any] | None = None


RIVER = {
    "adwin": _River("drift", "ADWIN", "Bifet and Gavaldà, SDM 2007"),
    "kswin": _River("drift", "KSWIN", "Raab, Heusinger and Schleif, Neurocomputing 2020", settings={"seed": 1}),
    "page_hinkley": _River("drift", "PageHinkley", "Page, Biometrika 1954"),
    "ddm": _River("drift.binary", "DDM", "Gama, Medas, Castillo and Rodrigues, SBIA 2004", binary=True),
    "eddm": _River("drift.binary", "EDDM", "Baena-García et al., IWKDDS 2006", binary=True),
    "hddm_a": _River("drift.binary", "HDDMA", "Frías-Blanco et al., TKDE 2015", binary=True),
    "hddm_w": _River("drift.binary", "HDDMW", "Frías-Blanco et al., TKDE 2015", binary=True),
    "fhddm": _River(
        "drift.binary", "FHDDM", "Pesaranghader and Viktor, ECML PKDD 2016", binary=True, of_successes=True
    ),
}
NAMES = (DEFAULT, *RIVER)
"""Every detector that can be named."""


class Sequential:
    """A detector with the checks and conveniences that every detector gets.

    `update` takes an outcome (0 or 1, or a loss), `update_block` the sum of several. The shipped detector takes a block
    as it is. River's ADWIN, KSWIN and PageHinkley, and users' own, take its mean, as one value. River's binary ones
    need single outcomes: they get the block's errors spread evenly over it, at most 100 outcomes a block. `state` is
    known only of the shipped one.

    >>> detector = sequential("shiryaev_roberts")
    >>> detector.update(0), detector.drift_detected
    (None, False)
    """

    def __init__(self, detector: Detector, name: str, *, binary: bool = False, of_successes: bool = False) -> None:
        self.detector, self.name, self.binary, self._of_successes = detector, name, binary, of_successes
        self.rows = 0

    @property
    def drift_detected(self) -> bool:
        """Whether the last update brought an alarm."""
        return bool(self.detector.drift_detected)

    @property
    def change_point(self) -> int | None:
        """The row at which the change most likely began, counted from 0, where the detector estimates it."""
        found: int | None = getattr(self.detector, "change_point", None)
        return found

    def update(self, value: float) -> None:
        """Take one outcome. Raises ValueError for NaN and infinity, and for binary detectors unless it is 0 or 1."""
        self.update_block(value, 1)

    def update_block(self, total: float, rows: int) -> None:
        """Take the sum of several outcomes; raises ValueError as `update` does."""
        if not (math.isfinite(total) and rows >= 1):
            raise ValueError(f"{self.name}: an outcome must be a finite number; got the sum {total!r} of {rows!r} rows")
        if self.binary and not (0 <= total <= rows and total == int(total)):
            raise ValueError(f"{self.name}: an outcome must be 0 or 1; got the sum {total!r} of {rows!r} rows")
        if isinstance(self.detector, ShiryaevRoberts):
            self.detector.update_block(total, rows)
        elif self.binary:
            self._spread(total / rows, min(rows, _MOST_OUTCOMES))
        else:
            self.detector.update(total / rows)
        self.rows += rows

    def _spread(self, rate: float, outcomes: int) -> None:
        errors = round(rate * outcomes)
        for i in range(outcomes):
            wrong = (i + 1) * errors // outcomes > i * errors // outcomes
            self.detector.update(wrong != self._of_successes)
            if self.detector.drift_detected:
                return


def sequential(
    detector: str | Callable[[], Detector] = DEFAULT,
    *,
    kind: Kind = "errors",
    baseline: tuple[float, float] | None = None,
    **settings: Any,
) -> Sequential:
    """A detector by its name, with its settings, or from a factory of the user's.

    `kind` says what the outcomes are, `baseline` their mean level and its rows in the reference; only the shipped
    detector heeds them. Raises DeclarationError for an unknown name, a setting that is none, a binary detector of
    losses, a library that is not there, or a factory that makes no detector.
    """
    if not isinstance(detector, str):
        return _own(detector)
    if detector == DEFAULT:
        return Sequential(_made(detector, ShiryaevRoberts, {"kind": kind, "baseline": baseline, **settings}), detector)
    if detector not in RIVER:
        raise DeclarationError(f"there is no sequential detector {detector!r}{nearest(detector, NAMES)}")
    wrapped = RIVER[detector]
    if wrapped.binary and kind == "losses":
        able = [DEFAULT, *(name for name, each in RIVER.items() if not each.binary)]
        raise DeclarationError(f"{detector} takes errors, which are 0 or 1, not losses; for those: {', '.join(able)}")
    try:
        cls = getattr(import_module(f"river.{wrapped.module}"), wrapped.cls)
    except ImportError:
        raise DeclarationError(
            f"the detector {detector!r} is River's, which is not installed: pip install 'tidemill[control]'"
        ) from None
    made = _made(detector, cls, {**(wrapped.settings or {}), **settings})
    return Sequential(made, detector, binary=wrapped.binary, of_successes=wrapped.of_successes)


def _made(name: str, cls: Callable[..., Detector], settings: Mapping[str, Any]) -> Detector:
    try:
        return cls(**settings)
    except TypeError as error:
        raise DeclarationError(f"the detector {name} cannot be made so: {error}") from None


def _own(factory: Callable[[], Detector]) -> Sequential:
    name = getattr(factory, "__name__", type(factory).__name__)
    made = factory() if callable(factory) else factory
    if isinstance(made, type) or not isinstance(made, Detector) or not callable(made.update):
        raise DeclarationError(
            f"{name}: expected a function or class that makes a detector, an object with the method update(value) and"
            f" the property drift_detected; it made {made!r}"
        )
    if made in (factory, factory()):
        raise DeclarationError(f"{name} must make a new detector at each call: every slice gets one of its own")
    return Sequential(made, name)
