from itertools import pairwise

import pytest

from tidemill.schemas.errors import DeclarationError
from tidemill.streams.plan import STAGES, stage_group, stage_input


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (STAGES, STAGES),
        (reversed(STAGES), STAGES),
        (["online_inference"], ("online_inference",)),
        (["online_inference", "feature_enrichment"], ("feature_enrichment", "online_inference")),
        (["sanity_check", "sanity_check"], ("sanity_check",)),
    ],
)
def test_neighbours_run_together_in_order(names, group):
    assert stage_group(list(names)) == group


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["sanity_chek"], "there is no stage 'sanity_chek'; did you mean 'sanity_check'?"),
        (["sanity_check", "online_inference"], "must follow each other"),
        ([], "must follow each other"),
    ],
)
def test_other_groups_are_refused(names, words):
    with pytest.raises(DeclarationError) as error:
        stage_group(names)
    assert words in str(error.value)


def test_each_stage_reads_what_the_one_before_it_writes(plan):
    assert plan.input_of(STAGES[0]) == "tides.events"
    for before, after in pairwise(STAGES):
        assert plan.output_of(before) == plan.input_of(after)
        assert plan.output_contract(before) is plan.input_contract(after)
        assert plan.topic(stage_input(after)) == plan.input_of(after)


def test_stages_are_made_anew_each_time(plan):
    first, second = plan.make_stages(), plan.make_stages()
    assert tuple(stage.name for stage in first) == (*STAGES, "label_intake")
    assert not {id(stage) for stage in first} & {id(stage) for stage in second}


def test_every_topic_that_a_stage_uses_is_among_the_topics(plan):
    specs = {spec.name: spec for spec in plan.topics()}
    used = {plan.input_of(stage) for stage in plan.stages} | {plan.output_of(stage) for stage in plan.stages}
    assert used | {
        f"tides.{s}"
        for s in (
            "rejected",
            "retries",
            "changelog",
            "schemas",
            "shadow-predictions",
            "models",
            "model-artefacts",
            "labels",
        )
    } == set(specs)
    assert specs["tides.events"].partitions == plan.partitions
    # As many as the events topic has, so that outputs go to the partition of their event.
    assert all(specs[plan.output_of(stage)].partitions is None for stage in STAGES)
    assert specs["tides.changelog"].partitions is None
    assert specs["tides.schemas"].partitions == specs["tides.models"].partitions == 1


def test_what_must_be_kept_is_compacted_or_kept_for_ever(plan):
    specs = {spec.name: spec.config for spec in plan.topics()}
    assert specs["tides.changelog"]["cleanup.policy"] == "compact"
    assert specs["tides.retries"]["cleanup.policy"] == "compact"
    assert specs["tides.schemas"]["cleanup.policy"] == "compact"
    assert specs["tides.models"]["retention.ms"] == "-1"
    assert specs["tides.events"]["retention.ms"] == str(plan.retention_ms)
