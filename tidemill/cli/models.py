"""`tidemill models`."""

from collections.abc import Mapping
from contextlib import closing
from typing import Annotated, Any

import typer

from tidemill.cli.options import AsJson, Bootstrap, PipelineName, out, plain, print_json, print_table

Version = Annotated[str, typer.Argument(metavar="VERSION", help="The model's version, as predictions name it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    models = typer.Typer(help="The models that were announced.", no_args_is_help=True)
    models.command("list")(list_models)
    models.command("show")(show_model)
    app.add_typer(models, name="models")


def list_models(pipeline: PipelineName, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """List the announced models, newest last.

    Example:
        tidemill models list flights

    """
    from tidemill.cli.clients import client_for
    from tidemill.streams.kafka.follower import Follower
    from tidemill.streams.models import announcements

    with client_for(pipeline, bootstrap_servers) as client:
        events = announcements(Follower(client.connection, f"{client.name}.models"), wait=True)
    if as_json:
        print_json([{**event, "metrics": dict(event["metrics"])} for event in events])
        return
    rows = [
        {
            "version": e["model_version"],
            "announced": plain(e["announced_at"])[:19],
            "estimator": e["estimator"],
            "trained on": e["training_rows"],
            "evaluated on": e["evaluation_rows"],
            "metrics": ", ".join(f"{k} {v:.4f}" for k, v in sorted(dict(e["metrics"]).items())),
        }
        for e in events
    ]
    print_table("Models", rows) if rows else out.print("no model is announced yet; run: tidemill train")


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
    from tidemill.schemas.errors import ModelError, nearest
    from tidemill.streams.kafka.follower import Follower
    from tidemill.streams.kafka.reader import KafkaReader
    from tidemill.streams.models import announcements, fetch_artefact

    with client_for(pipeline, bootstrap_servers) as client:
        events = announcements(Follower(client.connection, f"{client.name}.models"), wait=True)
        known = {event["model_version"]: event for event in events}
        if version not in known:
            raise ModelError(f"no model {version!r} was announced{nearest(version, known)}")
        event = known[version]
        with closing(KafkaReader(client.connection)) as reader:
            artefact = fetch_artefact(f"{client.name}.model-artefacts", event, reader)
    if artefact.sha256 != event["artefact_sha256"]:
        raise ModelError(f"model {version}: expected sha256 {event['artefact_sha256']}, got {artefact.sha256}")
    reference = [summary(profile) for profile in reference_profiles(artefact.data).values()]
    if as_json:
        print_json({**event, "metrics": dict(event["metrics"]), "reference": reference})
        return
    out.print(f"model [bold]{version}[/bold]: {event['estimator']}, announced {plain(event['announced_at'])[:19]}")
    out.print(f"trained on {event['training_rows']:,} events, evaluated on {event['evaluation_rows']:,} later ones")
    for name, value in sorted(dict(event["metrics"]).items()):
        out.print(f"  {name:<16} {value:.4f}")
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
