"""Which task a group of stages needs."""

from collections.abc import Callable, Sequence

from tidemill.processors.feature_enrichment.hops import ASSEMBLY, KeyedWindows
from tidemill.processors.outcomes import LABEL_INTAKE, OUTCOMES
from tidemill.processors.stage import Stage
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.hops.assembly import AssemblyTask
from tidemill.streams.hops.split import SplitTask
from tidemill.streams.hops.windows import WindowsTask
from tidemill.streams.outcomes.intake import IntakeTask
from tidemill.streams.outcomes.task import OutcomesTask
from tidemill.streams.plan import STAGES, Plan
from tidemill.streams.ports import LogReader
from tidemill.streams.task import Task

AnyTask = Task | WindowsTask | OutcomesTask


def make_task(
    plan: Plan,
    stages: Sequence[str],
    schemas: SchemaSource,
    reader: LogReader,
    prefix: Callable[[str], bytes | None],
    partitions: int,
) -> AnyTask:
    """The task that runs these stages, which are of one of the plan's segments; topics have so many partitions."""
    if stages[0] == LABEL_INTAKE:
        return IntakeTask(plan, stages, schemas, reader, prefix, partitions)
    if stages[0] == OUTCOMES:
        return OutcomesTask(plan, schemas, reader, prefix)
    if plan.hops:
        if STAGES[1] in stages:
            return SplitTask(plan, stages, schemas, reader, prefix, partitions)
        windows = _windows(plan.make_stages())
        if ASSEMBLY in stages:
            return AssemblyTask(plan, stages, schemas, reader, prefix, windows, partitions)
        for stage in windows:
            if stage.name == stages[0]:
                return WindowsTask(plan, stage, reader, partitions)
    return Task(plan, stages, schemas, reader, prefix, partitions)


def _windows(stages: Sequence[Stage]) -> list[KeyedWindows]:
    return [stage for stage in stages if isinstance(stage, KeyedWindows)]
