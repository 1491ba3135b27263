"""`tidemill models`."""

from collections.abc import Mapping
from contextlib import closing
from typing import Annotated, Any

import typer

from tidemill.cli import rollout
from tidemill.cli.options import AsJson, Bootstrap, PipelineName, out, plain, print_json, print_table

Version = Annotated[str, typer.Argument(metavar="VERSION", help="The model's version, as predictions name it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    models = typer.Typer(help="The models that were announced, and which of them serves.", no_args_is_help=True)
    models.command("list")(list_models)
    models.command("show")(show_model)
    rollout.add_to(models)
    app.add_typer(models, name="models")
    app.command()(rollout.verify)


_HEADLINE = ("log_loss", "auc", "accuracy", "mae", "rmse")
"""What `list` has room for; `show` has all metrics."""


def list_models(pipeline: PipelineName, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """List the models that were announced, newest last, with the role that each has now.

    With --json every record of the rollout log, in order.

    Example:
        tidemill models list flights

    """
    from tidemill.cli.clients import client_for
    from tidemill.streams.rollout_log import RolloutLog

    with client_for(pipeline, bootstrap_servers) as client:
        found = RolloutLog(client.name, client.connection).rollout()
    if as_json:
        print_json(list(found.records))
        return
    rows = [
        {
            "version": s.version,
            "status": f"canary {s.share:.0%}" if s.status == "canary" else s.status.replace("_", " "),
            "since": plain(s.at)[:19],
            "by": s.event["by"],
            "estimator": s.event["estimator"],
            "trained on": s.event["training_rows"],
            "evaluated on": s.event["evaluation_rows"],
            "metrics": _headline(s.event["metrics"]),
        }
        for s in found.versions.values()
    ]
    print_table("Models", rows) if rows else out.print(
        "no model is announced yet; `tidemill train` makes one, or `tidemill jobs run` with retrain=tm.Retrain(...)"
    )


def show_model(
    pipeline: PipelineName, version: Version, bootstrap_servers: Bootstrap = None, as_json: AsJson = False
) -> None:
    """Show an announced model, and the reference inside it: what it was trained on, and how it did on later events.

    Exits with 2 if no such model was announced, or its artefact is not the one announced.

    Example:
        tidemill models show flights 3f1c0a9e7b52

    """
    from tidemill.cli.clients import client_for
    from tidemill.processors.drift import reference_profiles, summary
    from tidemill.schemas.errors import ModelError
    from tidemill.streams.kafka.reader import KafkaReader
    from tidemill.streams.models import fetch_artefact
    from tidemill.streams.rollout_log import RolloutLog

    with client_for(pipeline, bootstrap_servers) as client:
        found = RolloutLog(client.name, client.connection).rollout()
        event = found.standing(version).event
        with closing(KafkaReader(client.connection)) as reader:
            artefact = fetch_artefact(f"{client.name}.model-artefacts", event, reader)
    if artefact.sha256 != event["artefact_sha256"]:
        raise ModelError(f"model {version}: expected sha256 {event['artefact_sha256']}, got {artefact.sha256}")
    reference = [summary(profile) for profile in reference_profiles(artefact.data).values()]
    history = [rollout.brief(record) for record in found.records if record["model_version"] == version]
    if as_json:
        print_json({**event, "history": history, "reference": reference})
        return
    out.print(f"model [bold]{version}[/bold]: {event['estimator']}")
    for step in history:
        said = f": {step['reason']}" if step["reason"] else ""
        by = f" by {step['by']}" if step["by"] else ""
        out.print(f"  {plain(step['announced_at'])[:19]} {step['status'].replace('_', ' ')}{by}{said}")
    out.print(f"trained on {event['training_rows']:,} events, evaluated on {event['evaluation_rows']:,} later ones")
    for name, value in sorted(event["metrics"].items()):
        out.print(f"  {name:<16} {value:.4f}")
    if event["card"]:
        out.print(f"\n{event['card']}", markup=False)
    for profile in reference:
        _print_profile(profile)
    if not reference:
        out.print("it carries no reference: it was stored before models did, or announced without training")


def _print_profile(profile: Mapping[str, Any]) -> None:
    place = f" of {profile['slice']}" if profile["slice"] else ""
    out.print()
    rows = [{"column": name, **_figures(entry)} for name, entry in profile["columns"].items()]
    print_table(f"{profile['kind'].capitalize()}{place}, {profile['rows']:,} rows", rows)
    for name, value in profile.get("metrics", {}).items():
        out.print(f"  {name:<18} {value:.4f}")


def _figures(entry: Mapping[str, Any]) -> dict[str, Any]:
    """One line of a table: quantiles of numbers, the most frequent of categories."""
    if "top" in entry:
        few = ", ".join(f"{name} {count:,}" for name, count in list(entry["top"].items())[:4])
        return {"missing": entry["missing"], "low": "", "median": "", "high": "", "most frequent": few}
    low, median, high = ("" if entry[name] is None else f"{entry[name]:.4g}" for name in ("p05", "p50", "p95"))
    return {"missing": entry["missing"], "low": low, "median": median, "high": high, "most frequent": ""}


def _headline(metrics: Mapping[str, float]) -> str:
    """The metrics that models are mostly compared by; whatever there is if none of them is.

    >>> _headline({"auc": 0.9, "brier": 0.1, "base_log_loss": 0.7, "log_loss": 0.3})
    'log_loss 0.3000, auc 0.9000'
    """
    shown = [name for name in _HEADLINE if name in metrics] or sorted(metrics)
    return ", ".join(f"{name} {metrics[name]:.4f}" for name in shown)
