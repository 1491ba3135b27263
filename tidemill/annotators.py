"""Several annotators per event, as declared: when they disagree too much, how they are tested, what they go by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tidemill.processors.label_quality import DisputeRule
from tidemill.schemas.errors import DeclarationError, nearest

_FORMATS = (".csv", ".parquet", ".feather", ".arrow")
_MOST_TEXT = 100_000


@dataclass(frozen=True)
class Annotators:
    """When labels that people gave are in dispute, how the annotators are tested, and which guidelines they go by.

    An event is in dispute while fewer than `least` annotators have labelled it, or while the winning label has less
    than the share `agree` of the votes. Events in dispute stay out of training.

    `gold` is a file (csv, parquet or feather) of events whose label is known, with the columns `event_id` and `label`;
    what `experts`, by their names as annotators, say of an event is known as well. `audit` is the share of labelled
    events that are to be labelled again; `seed` decides which, so keep it from annotators.

    `guidelines` are a file (relative to the pipeline file), or a text of more than one word. Their version goes out
    with every label.

    >>> Annotators(least=2, agree=0.7, audit=0.01, guidelines_version="3").rule
    DisputeRule(least=2, agree=0.7)

    Raises:
        DeclarationError: a number is out of its range, or something is missing.

    """

    least: int = 1
    agree: float = 0.6
    gold: str | Path | None = None
    experts: Sequence[str] = ()
    audit: float = 0.0
    seed: str = ""
    guidelines: str | Path | None = None
    guidelines_version: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.least, bool) or not isinstance(self.least, int) or self.least < 1:
            raise DeclarationError(f"Annotators(least=...): expected a whole number from 1 on, got {self.least!r}")
        if not 0 < self.agree <= 1:
            raise DeclarationError(f"Annotators(agree=...): expected a share above 0, 1 at most, got {self.agree!r}")
        if not 0 <= self.audit <= 1:
            raise DeclarationError(f"Annotators(audit=...): expected a share from 0 to 1, got {self.audit!r}")
        if isinstance(self.experts, str) or not all(isinstance(name, str) and name for name in self.experts):
            raise DeclarationError(f"Annotators(experts=...): expected a list of names, got {self.experts!r}")
        if self.gold is not None and Path(self.gold).suffix.lower() not in _FORMATS:
            kind = Path(self.gold).suffix
            raise DeclarationError(
                f"Annotators(gold={str(self.gold)!r}): expected a file that ends in {', '.join(_FORMATS)}"
                f"{nearest(kind, _FORMATS) if kind else ''}"
            )
        if self.guidelines is not None and not self.guidelines_version:
            raise DeclarationError(
                "Annotators(guidelines=...) without guidelines_version: labels could not say which they followed; give"
                " a version, and another one whenever the guidelines change"
            )
        if self.guidelines_version is not None and not (
            isinstance(self.guidelines_version, str) and self.guidelines_version.isprintable()
        ):
            raise DeclarationError(
                f"Annotators(guidelines_version=...): expected text on one line, got {self.guidelines_version!r}"
            )

    @property
    def rule(self) -> DisputeRule:
        """When an event is in dispute."""
        return DisputeRule(self.least, self.agree)

    def guidelines_text(self, base: Path) -> str | None:
        """What annotators go by, read from its file if it is one.

        Raises:
            DeclarationError: the file cannot be read, or it is too long to be published with the contract.

        """
        if self.guidelines is None:
            return None
        text = str(self.guidelines)
        if isinstance(self.guidelines, Path) or len(text.split()) < 2:
            path = base / self.guidelines
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as fault:
                near = sorted(p.name for p in path.parent.iterdir() if p.is_file()) if path.parent.is_dir() else []
                raise DeclarationError(
                    f"Annotators(guidelines=...): {path} cannot be read as text: {fault}{nearest(path.name, near)}"
                ) from None
        if len(text) > _MOST_TEXT:
            raise DeclarationError(
                f"Annotators(guidelines=...): expected {_MOST_TEXT:,} characters at most, got {len(text):,}; put them"
                " elsewhere, and give a text that says where"
            )
        return text
