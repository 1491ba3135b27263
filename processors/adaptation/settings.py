"""What can be set; the defaults are meant for every stream."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What may be spent on one stream of `rows` rows: fits of batch models, and changes of what answers."""

    rows: int
    promotions: int = 20
    fits: int = 45


@dataclass(frozen=True)
class Settings:
    """The policy's constants. Shares are of the budget's rows."""

    trees: int = 30
    half_life: float = 300.0
    """Rows after which a loss counts half in the blend."""
    rate: float = 0.1
    """How quickly a member loses its part; see `Blend`."""
    refit_every: float = 0.1
    """Share of rows between two fits of all batch models; also what counts as recent."""
    after_alarm: tuple[float, ...] = (0.01, 0.04)
    """Shares of rows since a change at which recent models are fitted on those rows alone."""
    pace: int = 50
    """Labelled rows between two decisions; also a batch of evidence."""
    batches: int = 6
    """Batches before evidence counts."""
    margin: float = 2.0
    """Standard errors by which a challenger must be better, or a former champion to come back."""
    probation: float = 0.05
    """Share of rows for which a former champion is kept after a promotion; at least twice what evidence takes."""
    rows_per_alarm: float = 1_000_000.0
    """Rows without a change between false alarms, at least, on average."""
    history: int = 200_000
    """Labelled rows that are kept at most."""
    seed: int = 1


DEFAULT = Settings()
