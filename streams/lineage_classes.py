"""openlineage-python's classes, and the facets of our own; imported only when an event is made."""

from typing import Any

import attr
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated.base import DatasetFacet, RunFacet
from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
from openlineage.client.generated.error_message_run import ErrorMessageRunFacet
from openlineage.client.generated.input_statistics_input_dataset import InputStatisticsInputDatasetFacet
from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet
from openlineage.client.generated.schema_dataset import SchemaDatasetFacet, SchemaDatasetFacetFields
from openlineage.client.serde import Serde


class Classes:
    """What an event is made of."""

    event, run, job, state, error = RunEvent, Run, Job, RunState, ErrorMessageRunFacet

    def __init__(self, producer: str) -> None:
        self._producer = producer

    def run_facet(self, name: str, **values: Any) -> Any:
        """A facet of our own about the run."""
        return self._facet(RunFacet, name, values)

    def _facet(self, base: Any, name: str, values: dict[str, Any]) -> Any:
        kind = attr.make_class(f"Tidemill{name}Facet", list(values), bases=(base,), kw_only=True)
        return kind(**values, producer=self._producer)

    def dataset(self, given: Any, *, output: bool) -> Any:
        """A data set that goes in or comes out."""
        facets: dict[str, Any] = {}
        if given.version is not None:
            facets["version"] = DatasetVersionDatasetFacet(datasetVersion=given.version, producer=self._producer)
        if given.fields:
            fields = [SchemaDatasetFacetFields(name=name, type=kind) for name, kind in given.fields]
            facets["schema"] = SchemaDatasetFacet(fields=fields, producer=self._producer)
        if given.facts:
            facets["tidemill_source"] = self._facet(DatasetFacet, "Source", dict(given.facts))
        if output:
            counted = OutputStatisticsOutputDatasetFacet(rowCount=given.rows, producer=self._producer)
            written: dict[str, Any] = {} if given.rows is None else {"outputStatistics": counted}
            return OutputDataset(namespace=given.namespace, name=given.name, facets=facets, outputFacets=written)
        seen = InputStatisticsInputDatasetFacet(rowCount=given.rows, producer=self._producer)
        read: dict[str, Any] = {} if given.rows is None else {"inputStatistics": seen}
        return InputDataset(namespace=given.namespace, name=given.name, facets=facets, inputFacets=read)

    def to_json(self, event: Any) -> bytes:
        """The event as it is sent."""
        text: str = Serde.to_json(event)
        return text.encode()
