"""Whether one of two classifiers is right more often, by the rows on which only one of them is."""


def mcnemar(only_ours: int, only_theirs: int) -> float:
    """The one-sided mid-p value of McNemar's exact test: how likely chance gives ours such a lead or a larger one.

    Half of the probability of what was observed counts (Fagerland, Lydersen and Laake, 2013): the exact test's own
    p-value is too large when few rows differ.

    >>> round(mcnemar(9, 1), 4), mcnemar(0, 0)
    (0.0059, 0.5)
    """
    from scipy.stats import binom

    differing = only_ours + only_theirs
    return float(binom.sf(only_ours, differing, 0.5) + 0.5 * binom.pmf(only_ours, differing, 0.5))
