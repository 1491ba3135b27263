"""The picture that `make bench-adapt` draws."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from adapt_page import GOALS

# The same figures give the same file.
STYLE = {"svg.hashsalt": "tidemill", "font.size": 8}

LINES = {
    "static_trees": ("static", "#999999"),
    "refit_trees": ("refit every 5 %", "#d98c3f"),
    "adaptive_random_forest": ("adaptive forest (River)", "#4f8fba"),
}
MINE = "#b3243b"


def draw(found: dict[str, Any], path: Path, delay: str = "48") -> None:
    """Per stream: accuracy over time with promotions and alarms, and accuracy against the number of retrains."""
    mpl.rcParams.update(STYLE)
    plt.switch_backend("svg")
    names = [name for name in found["streams"] if name in GOALS] or list(found["streams"])[:4]
    figure, axes = plt.subplots(2, len(names), figsize=(3.4 * len(names), 5.6), squeeze=False)
    for (above, below), name in zip(axes.T, names, strict=True):
        _over_time(above, found["streams"][name][delay])
        above.set_title(name)
        _against_retrains(below, found["streams"][name])
    axes[0, 0].set_ylabel(f"accuracy, labels {delay} rows late")
    axes[1, 0].set_ylabel("accuracy")
    for row, place, columns in ((0, "upper center", 4), (1, "lower center", 3)):
        handles, labels = axes[row, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc=place, ncol=columns, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 0.95))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _over_time(axis: Any, mine: dict[str, Any]) -> None:
    points = len(mine["curve"])
    share = 0.1 + 0.9 * (np.arange(points) + 0.5) / points
    for method, (label, colour) in LINES.items():
        if method in mine["baselines"]:
            axis.plot(share, mine["baselines"][method]["curve"], color=colour, lw=1, label=label)
    axis.plot(share, mine["curve"], color=MINE, lw=1.5, label="shipped policy")
    low, high = axis.get_ylim()
    rows = mine["rows"]
    axis.plot(np.array(mine["promotion_rows"]) / rows, [high] * len(mine["promotion_rows"]), "v", color=MINE, ms=5)
    for alarm in mine["alarm_rows"]:
        axis.axvline(alarm / rows, color="black", lw=0.7, ls=":")
    axis.set_ylim(low, high + 0.02)
    axis.set_xlabel("share of the stream (▼ promotion, ⋮ alarm)")


def _against_retrains(axis: Any, delays: dict[str, Any]) -> None:
    for (delay, mine), style in zip(delays.items(), ("-", "--", ":"), strict=False):
        others = mine["baselines"]
        points = [(0, others["static_trees"]["accuracy"])]
        points += [(f["promotions"], f["accuracy"]) for name, f in others.items() if name.startswith("refit_trees")]
        axis.plot(
            *zip(*sorted(points), strict=True), color="#d98c3f", ls=style, lw=1, label=f"periodic refit, {delay} late"
        )
        axis.plot(
            mine["promotions"],
            mine["accuracy"],
            "os^"[list(delays).index(delay)],
            color=MINE,
            ms=6,
            label=f"shipped policy, {delay} late",
        )
    axis.set_xlabel("promotions")
