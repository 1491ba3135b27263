"""The page that `make bench-adapt` writes."""

from typing import Any

GOALS = {
    "insects_gradual_balanced": {"0": 0.743, "48": 0.735, "1000": 0.650},
    "elec2": {"0": 0.875, "48": 0.780, "1000": 0.755},
    "noaa_weather": {"0": 0.795, "48": 0.795, "1000": 0.785},
    "sea_50k": {"0": 0.870, "48": 0.870, "1000": 0.865},
}
MOST_PROMOTIONS, MOST_FITS = {"sea_50k": 10}, 45
SEA_ALARMS = 3
BEST_OF = ("static", "refit_trees", "refit_linear", "history", "hoeffding_adaptive_tree")
NAMES = {
    "no_change": "no change",
    "static_trees": "static, trees",
    "static_linear": "static, linear",
    "refit_trees": "refit every 5 %, trees",
    "refit_linear": "refit every 5 %, linear",
    "history_trees": "all history every 5 %, trees",
    "history_linear": "all history every 5 %, linear",
    "hoeffding_adaptive_tree": "Hoeffding adaptive tree",
    "adaptive_random_forest": "adaptive random forest (River, 10 trees)",
}


def best(baselines: dict[str, Any]) -> float:
    """The best of static, refit every 5 %, all history every 5 %, Hoeffding adaptive tree."""
    return max(
        figures["accuracy"] for name, figures in baselines.items() if name.startswith(BEST_OF) and "times" not in name
    )


def static(baselines: dict[str, Any]) -> float:
    return max(figures["accuracy"] for name, figures in baselines.items() if name.startswith("static"))


def periodic(mine: dict[str, Any]) -> float:
    """Accuracy of periodic refitting with as many promotions, or the next number above that was measured."""
    refits = {
        figures["promotions"]: figures["accuracy"]
        for name, figures in mine["baselines"].items()
        if name.startswith("refit_trees")
    }
    enough = [times for times in sorted(refits) if times >= mine["promotions"]]
    return float(refits[enough[0] if enough else max(refits)])


def page(found: dict[str, Any]) -> str:
    """The results as a page in Markdown."""
    streams = found["streams"]
    lines = [_HEAD]
    if not set(GOALS) <= set(streams):
        lines += ["Not all streams with goals were there for this run.", ""]
    topics = _topics(found["topics"]) if "topics" in found else []
    parts = [*lines, *_goals(streams), *topics, *_checks(streams), *_methods(streams), _TAIL]
    return "\n".join(parts).rstrip() + "\n"


def _topics(found: dict[str, Any]) -> list[str]:
    from adapt_topics import table

    return [_TOPICS, *table(found), ""]


def _yes(met: bool) -> str:
    return "yes" if met else "**no**"


def _goals(streams: dict[str, Any]) -> list[str]:
    lines = ["## Goals", "", "| stream | labels late | goal | accuracy | promotions | fits | alarms | met |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
    for name, goals in GOALS.items():
        for delay, goal in goals.items():
            if delay not in streams.get(name, {}):
                continue
            mine = streams[name][delay]
            met = mine["accuracy"] >= goal and mine["promotions"] <= MOST_PROMOTIONS.get(name, 20)
            met = met and mine["fits"] <= MOST_FITS and (name != "sea_50k" or mine["alarms"] == SEA_ALARMS)
            lines.append(
                f"| {name} | {delay} | {goal:.3f} | {mine['accuracy']:.4f} | {mine['promotions']} | {mine['fits']} "
                f"| {mine['alarms']} | {_yes(met)} |"
            )
    return [*lines, ""]


def _checks(streams: dict[str, Any]) -> list[str]:
    lines = [
        "## On every stream",
        "",
        "*Best* is the best of static, refit every 5 %, all history every 5 % and the Hoeffding adaptive tree; the",
        "goal is to be within a point of it. *Periodic* is boosted trees refitted on the newest tenth as often as the",
        "policy promoted, or the next number above of 2, 5, 8, 17. *Worse* are promotions that were rolled back, or",
        "before which the models were better by more than two standard errors at the end of probation. *Permuted* is",
        "the accuracy on the first 5,000 rows with labels permuted in time, beside the share of the commonest class;",
        "*false* are alarms that no known drift explains, – where drifts are not known.",
        "",
        "| stream | late | accuracy | no change | static | periodic | best | alarms (false) | promotions (worse) "
        "| permuted | ok |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    worse = promotions = 0
    for name, delays in streams.items():
        for delay, mine in delays.items():
            others, accuracy = mine["baselines"], mine["accuracy"]
            fine = accuracy >= best(others) - 0.01 and accuracy >= static(others) and accuracy >= periodic(mine)
            worse, promotions = worse + mine["promotions_worse"], promotions + mine["promotions"]
            lines.append(
                f"| {name} | {delay} | {accuracy:.4f} | {others['no_change']['accuracy']:.3f} | {static(others):.4f} "
                f"| {periodic(mine):.4f} | {best(others):.4f} | {mine['alarms']} ({mine.get('false_alarms', '–')}) "
                f"| {mine['promotions']} ({mine['promotions_worse']}) "
                f"| {mine['permuted']['accuracy']:.3f} / {mine['permuted']['majority']:.3f} | {_yes(fine)} |"
            )
    share = worse / promotions if promotions else 0.0
    return [*lines, "", f"{worse} of {promotions} promotions turned out worse ({share:.1%}).", ""]


def _methods(streams: dict[str, Any]) -> list[str]:
    lines = ["## Every method", ""]
    for name, delays in streams.items():
        head = "".join(f" late {delay} | fits | CPU s |" for delay in delays)
        lines += [f"### {name}", "", f"| method |{head}", "| --- |" + " ---: | ---: | ---: |" * len(delays)]
        rows = {"the shipped policy": list(delays.values())}
        rows |= {
            NAMES[key]: [found["baselines"][key] for found in delays.values()]
            for key in NAMES
            if all(key in found["baselines"] for found in delays.values())
        }
        for method, all_figures in rows.items():
            cells = "".join(f" {f['accuracy']:.4f} | {f['fits']} | {f['cpu_s']:.1f} |" for f in all_figures)
            lines.append(f"| {method} |{cells}")
        lines.append("")
    return lines


_HEAD = """# Adaptation benchmark

Written by `make bench-adapt`, which also writes `.tidemill/bench/adaptation.json`. What the policy is, is in
`processors/adaptation/`.

![Accuracy over time and against the number of retrains](../images/adaptation.svg)

## Method

Each row is answered, then scored. With labels *d* rows late, row *i* is answered by what the labels of rows 0 to
*i* - 1 - *d* have taught. Accuracy is of the rows from a tenth of the stream to its end. *The shipped policy* is what
`tm.AdaptiveClassifier()` has inside, with its defaults, for all streams; it is told nothing of a stream. Its budget of
20 promotions and 45 fits is for each 50,000 labels, which is as many as the longest stream has.

- A **promotion** is any change of the fitted models that answer, a rollback too. That a forest learns each label, and
  that the weights of a vote follow the newest labels, is learning in the stream and no promotion.
- A **fit** is one batch model fitted, whether it was ever served or not.
- An **alarm** is one of the Shiryaev-Roberts detector on the errors of what answers, found when labels come. The first
  within 3,000 labels of the beginning of a known drift, and before the next, is right; every other is false.
- CPU seconds are of one process, with fits. River's models were run once for all delays.

Baselines: *no change* repeats the newest label that is known. *Static* is fitted once on what there is at a tenth of
the stream. *Refit* is fitted on the newest tenth at every 5 %, *all history* on everything. The first three streams
whose names begin with *made* are made by the benchmark.
""".replace("The first three streams\nwhose names begin with", "The streams whose\nnames begin with")

_TOPICS = """## Through real topics

`make bench-adapt ARGS=--topics`: a pipeline with `tm.AdaptiveClassifier()` on a real broker, `tidemill learn`'s learner
beside its worker. Events come in blocks; a row is answered by the newest version, which has learnt the labels of all
rows but the newest *d* before its block, so the last row of a block sees labels a block later than the tables above.
*Static* are boosted trees of the same first labels, served in the same way. *In memory* is the table above. Accuracy is
of what was read from the topic of predictions. *Largest* is the largest version on the topic of artefacts.
"""

_TAIL = """## What was tried

- *Batch models alone*, refitted at intervals or after alarms, in windows of a tenth or on all history: none comes near
  the forest on Elec2 with labels at once, nor on streams with abrupt drifts.
- *River's forest* misses five of the twelve goals, and takes five times the CPU of the whole policy. A compiled forest
  of the same method made 30 trees affordable: better than 10 by up to .01 on most streams, worse by .004 on one.
- *Weights from answers as they were served*: with labels 1,000 rows late they blame the forest for what it has long
  since learnt, and after abrupt drifts the blend lost 2 to 11 points against the forest alone. What is weighed is how
  each member answers the newest labelled row just before it learns it.
- *Weights that change more slowly* (half a loss after 1,000 rows) gain less; *more quickly* (after 100 rows), or with
  a smaller rate, they lose up to .6 points on SEA.
- *Alarms on the errors of a static model, of one of the newest tenth, or of a Hoeffding tree*: each missed drifts or
  was late on some stream. The errors of a forest return to their level after each drift. With 45,000 rows per alarm
  there was a fourth, false alarm on SEA; with 1,000,000 there is none, but drifts after which the forest recovers
  within a few dozen rows can be missed.
- *Answers in blocks*: on Elec2 with late labels 16 to 50 rows of staleness cost .7 to .8 points.

Not tried: serving the best single member instead of a vote; keeping old models for concepts that return; the newest
known label as a feature.

## How to read this

The settings were chosen on the eight streams in the folder, on one seed, after looking at their scores; the *made*
streams were not used for it. Most of the accuracy is the forest's, which learns every label: a product that publishes
its state seldom will be staler than this. The vote's weights are learnt from what the forest answers with no delay,
which flatters it on streams whose labels follow each other, as on Elec2; there the forest is the best member anyway.
Promotions of batch models gain little where the forest is good, and the policy then refuses most of them.
"""
