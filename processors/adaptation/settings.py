"""What can be set; the defaults are meant for every stream, however long."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Budget:
    """What may be spent in each period of `rows` labels: fits of batch models, and changes of what answers.

    The first period begins with the first label; each next one has the whole budget again.
    """

    rows: int = 50_000
    promotions: int = 20
    fits: int = 45


@dataclass(frozen=True)
class Settings:
    """The policy's constants; rows are labelled rows."""

    trees: int = 30
    half_life: float = 300.0
    """Rows after which a loss counts half in the blend."""
    rate: float = 0.1
    """How quickly a member loses its part; see `Blend`."""
    first: int = 1_000
    """Rows before the first batch models are fitted; until then the forest answers alone."""
    growth: float = 0.5
    """All batch models are fitted anew when there are by this share more rows than the last time,"""
    refit_every: int = 5_000
    """and after so many rows at the latest."""
    recent: int = 2_500
    """Rows that count as recent, or all since the last time if these are more."""
    after_alarm: tuple[int, ...] = (500, 2_000)
    """Rows since a change at which recent models are fitted on those rows alone."""
    pace: int = 50
    """Rows between two decisions; also a batch of evidence."""
    batches: int = 6
    """Batches before evidence counts."""
    margin: float = 2.0
    """Standard errors by which a challenger must be better, or a former champion to come back."""
    probation: int = 1_500
    """Rows for which a former champion is kept after a promotion."""
    rows_per_alarm: float = 1_000_000.0
    """Rows without a change between false alarms, at least, on average."""
    history: int = 20_000
    """Rows that are kept at most, to fit on."""
    seed: int = 1

    def with_seed(self, seed: int) -> "Settings":
        """The same with another seed."""
        return replace(self, seed=seed)


DEFAULT = Settings()
BUDGET = Budget()
