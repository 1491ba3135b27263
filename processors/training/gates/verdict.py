"""What gates say: a result each, with its figures and a sentence, and the verdict over all of them."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class GateResult:
    """What one gate says of a candidate.

    `figures` are what it decided by, by name; `message` is a sentence with them, for people.
    """

    name: str
    passed: bool
    figures: Mapping[str, float]
    message: str

    def record(self) -> dict[str, Any]:
        """The result as JSON can hold it; figures that are not finite are None."""
        figures = {name: value if math.isfinite(value) else None for name, value in self.figures.items()}
        return {"name": self.name, "passed": self.passed, "figures": figures, "message": self.message}


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate may serve, the result of each gate, and which gates had nothing to decide by.

    >>> refused = Verdict((GateResult("latency", False, {"row_p99_ms": 812.0}, "One row takes 812 ms."),))
    >>> refused.passed, refused.reason
    (False, 'latency: One row takes 812 ms.')
    """

    results: tuple[GateResult, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Gates that were not tried, and what was missing for them."""

    @property
    def passed(self) -> bool:
        """Whether every gate was passed, and there was one at least."""
        return bool(self.results) and all(result.passed for result in self.results)

    @property
    def refused_by(self) -> tuple[str, ...]:
        """The names of the gates that were not passed."""
        return tuple(result.name for result in self.results if not result.passed)

    @property
    def reason(self) -> str:
        """Why, in one line: what each gate says that was not passed, or that all were."""
        said = [f"{result.name}: {result.message}" for result in self.results if not result.passed]
        return " ".join(said) or f"All {len(self.results)} gates are passed."

    def result(self, name: str) -> GateResult:
        """The result of this gate; raises KeyError if it was not tried."""
        return {result.name: result for result in self.results}[name]

    def to_json(self) -> str:
        """The list of results, as it stands in the field `gates` of P.models."""
        return json.dumps([result.record() for result in self.results])
