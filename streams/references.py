"""The reference profiles of models, looked up where the models are."""

import logging
from collections.abc import Mapping
from typing import Any

from tidemill.processors.drift.profile import Kind, Profile
from tidemill.processors.drift.reference import reference_profiles
from tidemill.schemas.errors import ModelError
from tidemill.streams.models import announcements, fetch_artefact
from tidemill.streams.plan import Plan
from tidemill.streams.ports import LogReader, RecordStream

log = logging.getLogger(__name__)


class References:
    """The profiles that a model was made with, by its version; read once and kept."""

    def __init__(self, plan: Plan, stream: RecordStream, reader: LogReader) -> None:
        self._plan, self._stream, self._reader = plan, stream, reader
        self._known: dict[str, Mapping[tuple[Kind, str], Profile]] = {}
        self._announced: dict[str, dict[str, Any]] = {}

    def __call__(self, version: str) -> Mapping[tuple[Kind, str], Profile]:
        """None of them if the version is unknown, or has none."""
        if version not in self._announced:
            self._learn()
        if version not in self._known and version in self._announced:
            self._known[version] = self._fetch(version)
        return self._known.get(version, {})

    def served(self) -> bool:
        """Whether a model has been announced to answer."""
        self._learn()
        return any(event["status"] == "champion" for event in self._announced.values())

    def _learn(self) -> None:
        self._announced |= {event["model_version"]: event for event in announcements(self._stream, wait=True)}

    def _fetch(self, version: str) -> Mapping[tuple[Kind, str], Profile]:
        try:
            return reference_profiles(
                fetch_artefact(self._plan.topic("model-artefacts"), self._announced[version], self._reader).data
            )
        except ModelError as error:
            log.error("the reference of model %s cannot be read: %s", version, error)
            return {}
