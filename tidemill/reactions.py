"""Reacting to alerts by a command of the user's."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

from tidemill.results import Alert

PREFIX = "TIDEMILL_ALERT_"
_LEFT_OUT = ("evidence", "offsets")


def environment_of(alert: Alert) -> dict[str, str]:
    """The alert's fields as variables: TIDEMILL_ALERT_ID, TIDEMILL_ALERT_STATE, …; what is null is empty."""
    fields = {name: value for name, value in asdict(alert).items() if name not in _LEFT_OUT}
    return {PREFIX + name.upper(): _text(value) for name, value in fields.items()}


def run_command(command: str, alert: Alert, environ: Mapping[str, str] = os.environ, seconds: float = 60) -> str | None:
    """Run a command of the shell for an alert: the alert is JSON on its standard input, and variables.

    Returns what went wrong, or None. A command that takes longer than `seconds` is ended.
    """
    try:
        done = subprocess.run(  # noqa: S602 - it is the user's own; nothing of the alert is put into it
            command,
            shell=True,
            check=False,
            text=True,
            input=alert.as_json() + "\n",
            env={**environ, **environment_of(alert)},
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {seconds:g} s and was ended"
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else f"it ended with {done.returncode}"


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
