"""The documentation says what is so: its examples run, its links lead somewhere, its lists are complete."""

import ast
import inspect
import json
import re
import runpy
import shlex
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest
import typer
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.cli import app
from tidemill.processors.outcomes.intake import BAD_LABEL, EMPTY, NO_ID
from tidemill.processors.outcomes.tally import KINDS
from tidemill.schemas.builtin import MODEL_EVENT
from tidemill.schemas.codec import Reason
from tidemill.schemas.matching import Rule
from tidemill.streams.access import ROLES, TOPIC, grants
from tidemill.streams.archive_metrics import ArchiveMetrics
from tidemill.streams.control_metrics import ControlMetrics
from tidemill.streams.jobs.metrics import JobMetrics
from tidemill.streams.metrics import Metrics
from tidemill.streams.rejections import HEADERS
from tidemill.streams.task import MISPLACED, TOO_LARGE

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>run|file: \S+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")

ID = {"name": "id", "type": "string"}
AT = {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}
OTHER = {"name": "other", "type": ["null", "string"], "default": None}
SIZE = {"name": "size", "type": "double"}
SHOPS = tm.topic_table("NAME", tm.Contract.parse({"type": "record", "name": "Shop", "fields": [ID, SIZE]}), key=["id"])
WHOLE = tm.Pipeline(
    "P",
    tm.Events({"type": "record", "name": "Event", "fields": [ID, AT, OTHER, SIZE]}, key="id", time="at", id="id"),
    tables=[SHOPS],
    features=[tm.fields("size"), tm.window("other", over="1h", others=tm.count())],
    labels=tm.Labels(
        {"type": "record", "name": "Label", "fields": [ID, OTHER]},
        id="id",
        label=pl.lit(value=True),
        annotator="other",
        annotators=tm.Annotators(),
    ),
    model=tm.Model(LogisticRegression(), ["size"]),
    drift=[tm.data_drift()],
    retrain=tm.Retrain(),
)
"""A pipeline that has every kind of topic."""

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))


def text_of(name):
    return (CHECKOUT / name).read_text(encoding="utf-8")


def blocks(path):
    """Language, mark ("run", "file: NAME" or none) and code of each fenced block."""
    return [(m["language"], m["mark"], m["code"]) for m in BLOCK.finditer(path.read_text(encoding="utf-8"))]


# Python


@page
def test_python_can_be_parsed(path):
    for language, _, code in blocks(path):
        if language == "python":
            ast.parse(code)


MARKED = [(path, code) for path in PAGES for language, mark, code in blocks(path) if mark == "run"]


@pytest.mark.parametrize(("path", "code"), MARKED, ids=lambda value: value.name if isinstance(value, Path) else "")
def test_marked_examples_run(path, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "example.py"
    script.write_text(code)
    runpy.run_path(str(script))


def test_there_are_examples_to_run():
    assert len(MARKED) >= 2


def test_the_readme_declares_a_pipeline(tmp_path):
    declaration = next(code for language, _, code in blocks(CHECKOUT / "README.md") if language == "python")
    script = tmp_path / "payments.py"
    script.write_text(declaration)
    driver = tm.testing.Driver(script)
    driver.send({"id": "p1", "card": "c9", "at": driver.now, "amount": 12.5})
    driver.run()
    assert [p.model_version for p in driver.predictions()] == ["prior"]


def test_the_tutorial_comes_out_as_it_says(tmp_path, monkeypatch):
    tutorial = CHECKOUT / "docs" / "tutorial.md"
    for _, mark, code in blocks(tutorial):
        if mark is not None:
            (tmp_path / mark.removeprefix("file: ")).write_text(code)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("make_data.py")
    runpy.run_path("later.py")
    parcels, deliveries, later = (
        [json.loads(line) for line in Path(f"{name}.jsonl").read_text().splitlines()]
        for name in ("parcels", "deliveries", "later-labels")
    )
    driver = tm.testing.Driver(tmp_path / "pipeline.py", now=datetime(2025, 3, 10, 12, tzinfo=UTC))
    driver.send(parcels[:8000])
    driver.run()
    assert {p.model_version for p in driver.predictions()} == {"prior"}
    driver.send_labels(deliveries[:8000])
    model = driver.train()
    told = tutorial.read_text(encoding="utf-8")
    assert f"trained on {model['training_rows']:,} events, evaluated on {model['evaluation_rows']:,} later" in told
    figures = dict(model["metrics"])
    for name in ("accuracy", "auc", "base_accuracy", "base_log_loss", "log_loss"):
        printed = float(re.search(rf"^  {name} +([0-9.]+)$", told, re.MULTILINE)[1])
        assert figures[name] == pytest.approx(printed, abs=0.002), name
    driver.send([*parcels[8000:8050], parcels[8000]])
    driver.run()
    assert [r.reason for r in driver.rejections()] == ["duplicate_id"]
    assert {p.model_version for p in driver.predictions()} == {"prior", model["model_version"]}
    driver.send_labels(later[:50])
    driver.run()
    assert len(driver.outcomes()) == 8050
    assert sum(new != old for new, old in zip(later, deliveries[8000:], strict=True)) > 8000


# Links


def anchor(heading):
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def prose(path):
    return INDENTED.sub("", BLOCK.sub("", path.read_text(encoding="utf-8")))


@page
def test_links_lead_somewhere(path):
    for link in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, section = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), f"{link} leads nowhere"
        if section:
            headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", target.read_text(encoding="utf-8")), re.MULTILINE)
            assert section in map(anchor, headings), f"{target.name} has no section #{section}"


@page
def test_files_that_are_named_are_there(path):
    if path.name == "CHANGELOG.md":
        pytest.skip("it tells of the past")
    rooms = "schemas|processors|streams|tidemill|tests|benchmarks|deploy|docs|examples"
    for name in re.findall(rf"`((?:{rooms})/[\w./-]*)[`:]", prose(path)):
        assert (CHECKOUT / name).exists(), name


def test_every_page_can_be_found_from_the_index():
    index = CHECKOUT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text(encoding="utf-8"))}
    assert [p for p in (CHECKOUT / "docs").rglob("*.md") if p != index and p not in linked] == []


# The command line

COMMANDS = typer.main.get_command(app)


def resolve(words):
    """The command that words after `tidemill` name, its name, and the words left over."""
    command, name, left = COMMANDS, [], list(words)
    while getattr(command, "commands", None) and left and left[0] in command.commands:
        name.append(left[0])
        command = command.commands[left.pop(0)]
    return command, " ".join(name), left


def options_of(command):
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "-h",
        "--help",
    }


def invocations(path):
    """The words after each `tidemill` in shell blocks, indented blocks and inline code."""
    whole = path.read_text(encoding="utf-8")
    shell = "\n".join(code for language, _, code in blocks(path) if language in ("sh", "console", "bash"))
    shell += "\n".join(INDENTED.findall(BLOCK.sub("", whole)))
    inline = [code for code in re.findall(r"`([^`\n]+)`", BLOCK.sub("", whole)) if code.startswith("tidemill ")]
    for line in [*shell.replace("\\\n", " ").splitlines(), *inline]:
        for found in re.findall(r"(?:^|[|&(;]|\s\d\d?\b)\s*(?:\w+=\S+ )*(?:\S*/)?tidemill ((?:[^|&;#>]|\\.)*)", line):
            if not found.startswith((":", "as ")):
                yield shlex.split(re.sub(r"[\[\]…<]", "", found))


@page
def test_commands_and_options_exist(path):
    for words in invocations(path):
        if words[0] == "COMMAND":
            continue
        command, name, left = resolve(words)
        assert name or set(left) <= options_of(command), f"there is no command: tidemill {' '.join(words)}"
        options = {word.partition("=")[0] for word in left if re.match(r"-{1,2}[a-z]", word)}
        assert options <= options_of(command), f"tidemill {name}: {options - options_of(command)}"


def leaves(command=COMMANDS, name=()):
    for word, inner in getattr(command, "commands", {}).items():
        if getattr(inner, "commands", None):
            yield from leaves(inner, (*name, word))
        elif not inner.hidden:
            yield " ".join((*name, word)), inner


@pytest.mark.parametrize(("name", "command"), list(leaves()), ids=lambda value: value if isinstance(value, str) else "")
def test_the_reference_has_every_command_and_option(name, command):
    reference = text_of("docs/reference/command-line.md")
    assert f"`tidemill {name}" in reference
    section = reference.partition(f"### `tidemill {name}")[2].partition("\n### ")[0] or reference
    missing = {
        parameter.opts[-1]
        for parameter in command.params
        if parameter.opts[-1].startswith("-") and f"`{parameter.opts[-1]}" not in section
    }
    assert missing - {"--help"} == set()


# Lists that must be complete


def test_every_public_name_is_in_the_reference():
    reference = "".join(p.read_text(encoding="utf-8") for p in (CHECKOUT / "docs" / "reference").glob("*.md"))
    assert [name for name in tm.__all__ if not re.search(rf"`(?:tm\.|tidemill\.)?{name}\b", reference)] == []


def reasons_in_code():
    """Codes that stages give: of the codec, of the task, of each check, and those written out in a stage."""
    checks = files("tidemill.processors").joinpath("sanity_check")
    found = {str(reason) for reason in Reason} | {MISPLACED, TOO_LARGE}
    for source in checks.iterdir():
        if source.name.endswith(".py"):
            found |= set(re.findall(r'Check\(\s*f?"[^"]*",\s*"([a-z_]+)"', source.read_text(encoding="utf-8")))
    for source in files("tidemill.processors").joinpath("outcomes").iterdir():
        if source.name.endswith(".py"):
            refused = r'refused?\(\s*\w+, "([a-z_]+)"'
            found |= set(re.findall(refused, source.read_text(encoding="utf-8")))
    found |= {"check_failed", "enrichment_failed", "no_model", "model_raised", "model_not_finite", "model_deadline"}
    found |= {"model_not_probabilities"}
    return found | {NO_ID, BAD_LABEL}


def test_every_reason_code_is_in_the_reference_and_in_the_code():
    table = text_of("docs/reference/errors.md").partition("## Reason codes")[2].partition("## ")[0]
    told = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert told == reasons_in_code()
    sources = [p for room in ("schemas", "processors", "streams") for p in (CHECKOUT / room).rglob("*.py")]
    code = "".join(p.read_text(encoding="utf-8") for p in sources)
    assert [reason for reason in told if f'"{reason}"' not in code] == []


def test_every_stage_is_named_beside_the_reason_codes():
    reference = text_of("docs/reference/errors.md")
    stages = [stage.replace("_by_other", "_by_FIELD") for stage in WHOLE.plan().stages]
    assert [stage for stage in stages if f"`{stage}`" not in reference] == []


def test_every_count_of_labels_is_in_the_reference():
    counts = text_of("docs/reference/labels.md").partition("## Counts")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", counts, re.MULTILINE) == list(KINDS)
    assert f"`{EMPTY}`" in counts


def test_every_rule_of_compatibility_is_in_the_reference():
    assert [rule for rule in Rule if f"`{rule}`" not in text_of("docs/reference/errors.md")] == []


def test_every_metric_is_in_the_reference():
    reference = text_of("docs/reference/metrics.md")
    names = {
        family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        for metrics in (Metrics(), ControlMetrics(), JobMetrics(), ArchiveMetrics())
        for family in metrics.registry.collect()
    }
    told = set(re.findall(r"^\| `(\w+)` \|", reference, re.MULTILINE))
    assert told == names


def test_every_topic_and_header_is_in_the_reference():
    reference = text_of("docs/reference/topics.md")
    told = set(re.findall(r"^\| `(P\.[\w-]+)` \|", reference.partition("## Contracts")[0], re.MULTILINE))
    templates = {"P.by-FIELD", "P.table-NAME"}
    topics = {spec.name for spec in WHOLE.plan().topics()}
    assert {name for name in topics if not name.startswith(("P.by-", "P.table-"))} == told - templates
    assert templates < told
    assert [header for header in HEADERS.values() if f"`{header}`" not in reference] == []


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_may_read_and_write_is_told(role):
    row = re.search(rf"^\| {role} \| ((?:Read|Write): .*?) \|", text_of("docs/how-to/secure.md"), re.MULTILINE)[1]
    for operation in ("Read", "Write"):
        told = re.search(rf"{operation}: (.*?)(?:\. |\.?$)", row)
        names = set() if told is None else set(re.findall(r"`([\w-]+)`", told[1]))
        granted = {
            grant.name.removeprefix("P.").replace("by-other", "by-FIELD")
            for grant in grants(WHOLE.plan(), role, "somebody")
            if grant.resource == TOPIC and grant.operation == operation.lower()
        }
        # Everyone reads those.
        assert granted - ({"schemas"} if operation == "Read" else set()) == names


def test_every_generated_field_is_in_the_reference():
    generated = text_of("docs/reference/topics.md").partition("## Contracts")[2].partition("\n## ")[0]
    shadow = re.sub(r"\s+", " ", text_of("docs/reference/models.md"))
    told = {
        re.sub("^probability_.*", "probability_CLASS", n)
        for n in WHOLE.plan().contracts["shadow-predictions"].arrow.names
    }
    assert [name for name in told if f"`{name}`" not in shadow] == []
    assert [f.name for f in MODEL_EVENT.fields if f"`{f.name}`" not in shadow] == []
    for topic in ("predictions", "outcomes"):
        row = re.search(rf"^\| `P\.{topic}` \| (.*) \|$", generated, re.MULTILINE)[1]
        names = [name for name in WHOLE.plan().contracts[topic].arrow.names if name not in WHOLE.model.features]
        told = [re.sub("^probability_.*", "probability_CLASS", name) for name in names]
        assert [name for name in told if f"`{name}`" not in row] == []


@pytest.mark.parametrize(
    ("declared", "path"),
    [
        (tm.Pipeline, "pipeline"),
        (tm.Events, "pipeline"),
        (tm.Labels, "pipeline"),
        (tm.Profiles, "pipeline"),
        (tm.Rollout, "pipeline"),
        (tm.Model, "pipeline"),
        (tm.Learning, "pipeline"),
        (tm.Annotators, "labels"),
        (tm.Gates, "gates"),
    ],
)
def test_every_parameter_is_in_its_table(declared, path):
    name = declared.__name__
    section = text_of(f"docs/reference/{path}.md").partition(f"## `{name}`\n")[2].partition("\n## ")[0]
    signature, _, table = section.partition("| parameter |")
    told = {word for cell in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE) for word in re.findall(r"\w+", cell)}
    parameters = set(inspect.signature(declared).parameters)
    assert parameters == told
    assert [each for each in parameters if not re.search(rf"\b{each}\b", signature)] == []


PROGRAMS = [tm.Client, tm.Prediction, tm.Outcome, tm.Rejection, tm.RetrainTrigger, tm.TrainingJob]


@pytest.mark.parametrize("declared", PROGRAMS, ids=lambda it: it.__name__)
def test_what_programs_use_is_in_the_reference(declared):
    reference = text_of("docs/reference/client.md")
    methods = {name for name, it in vars(declared).items() if inspect.isfunction(it) and not name.startswith("_")}
    names = methods | set(getattr(declared, "__dataclass_fields__", ()))
    assert [name for name in names if not re.search(rf"`{name}[`(]", reference)] == []


def test_all_of_the_package_is_listed():
    listed = text_of("docs/reference/pipeline.md").partition("## Everything in `tidemill`")[2]
    assert set(re.findall(r"`(\w+)`", listed)) == set(tm.__all__)
