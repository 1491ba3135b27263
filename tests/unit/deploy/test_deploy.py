"""The files of a deployment speak of the metrics, ports and services that there are.

No YAML parser is among the dependencies: what is needed of those files is found by its lines.
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tidemill.cli.control import control
from tidemill.cli.run import run
from tidemill.streams.control_metrics import ControlMetrics
from tidemill.streams.metrics import Metrics
from tidemill.streams.plan import STAGES
from tidemill.streams.ports import Prepared, StageCounts
from tidemill.streams.supervisor import STOP_SECONDS

CHECKOUT = Path(__file__).parents[3]
DEPLOY = CHECKOUT / "deploy"
COMPOSE = (CHECKOUT / "docker-compose.yml").read_text()
PROMETHEUS = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
ALERTS = (DEPLOY / "prometheus" / "alerts.yml").read_text()
ALERT_TESTS = (DEPLOY / "prometheus" / "alerts.test.yml").read_text()
DATASOURCE = (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "tidemill.json").read_text())
YAML = [CHECKOUT / "docker-compose.yml", *sorted(DEPLOY.rglob("*.yml"))]


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """The labels of each sample that a worker or the control plane serves, by the sample's name."""
    metrics = Metrics()
    counts = {stage: StageCounts(accepted=1, rejected={"check": 1}, warned={"present": 1}) for stage in STAGES}
    metrics.committed(Prepared([], [], {}, counts), np.array([0.1]))
    metrics.lags({0: 1})
    metrics.serves("1", served=True)
    metrics.serves("2", served=False)
    control = ControlMetrics()
    control.standing([])
    found: dict[str, set[str]] = {}
    for registry in (metrics.registry, control.registry):
        for family in text_string_to_metric_families(generate_latest(registry).decode()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def targets() -> list[dict[str, Any]]:
    return [target for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def queries() -> list[str]:
    return [t["expr"] for t in targets()] + [v["query"]["query"] for v in DASHBOARD["templating"]["list"]]


def services() -> dict[str, str]:
    """The lines of each service of docker-compose.yml."""
    block = re.search(r"^services:\n(.*?)^\S", COMPOSE, re.MULTILINE | re.DOTALL)
    assert block is not None
    parts = re.split(r"^  (\w+):\n", block[1], flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def one(pattern: str, text: str) -> str:
    (found,) = re.findall(pattern, text)
    return str(found)


@pytest.mark.parametrize("text", [*queries(), ALERTS, ALERT_TESTS])
def test_every_metric_that_is_asked_for_exists(text: str, exposed: dict[str, set[str]]) -> None:
    names = set(re.findall(r"\btidemill_\w+", text))
    assert names or "up{" in text
    assert names <= exposed.keys()


@pytest.mark.parametrize(
    "expr", [t["expr"] for t in targets()] + re.findall(r"expr: >?-?\s*(.+(?:\n {10}.+)*)", ALERTS)
)
def test_every_label_that_is_asked_for_exists(expr: str, exposed: dict[str, set[str]]) -> None:
    known = set().union(*exposed.values()) | {"job", "instance"}
    grouped = {name for names in re.findall(r"(?:by|on) \(([^)]*)\)", expr) for name in re.split(r",\s*", names)}
    for metric, selector in re.findall(r"\b(tidemill_\w+)\{([^}]*)\}", expr):
        assert set(re.findall(r"(\w+)=", selector)) <= exposed[metric] | {"job", "instance"}
    assert grouped <= known


def test_legends_name_what_the_queries_group_by() -> None:
    for target in targets():
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), target


def test_the_dashboard_is_one_that_can_be_provisioned() -> None:
    uid = one(r"uid: (\S+)", DATASOURCE)
    assert "id" not in DASHBOARD
    assert DASHBOARD["schemaVersion"] >= 39
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"job", "instance"}
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert {part["datasource"]["uid"] for part in [*panels, *targets(), *DASHBOARD["templating"]["list"]]} == {uid}
    assert all('job=~"$job", instance=~"$instance"' in target["expr"] for target in targets())
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_alert_has_a_test() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", ALERTS))
    assert alerts
    assert set(re.findall(r'alertname="(\w+)", alertstate="firing", severity', ALERT_TESTS)) == alerts


def test_prometheus_finds_the_workers() -> None:
    (worker,) = one(r"names: \[(.+)\]", PROMETHEUS).split(", ")
    port = inspect.signature(run).parameters["metrics_port"].default
    assert worker in services()
    assert one(r"port: (\d+)", PROMETHEUS) == str(port)
    assert f"http://127.0.0.1:{port}/metrics" in services()[worker]
    assert f"EXPOSE {port}" in (DEPLOY / "Dockerfile").read_text()
    jobs = re.findall(r"job_name: (\S+)", PROMETHEUS)
    assert {*re.findall(r'job="([\w-]+)"', ALERTS)} <= {*jobs}
    service, port = one(r"targets: \[(\S+)\]", PROMETHEUS).split(":")
    assert port == str(inspect.signature(control).parameters["metrics_port"].default)
    assert f"http://127.0.0.1:{port}/metrics" in services()[service]


def test_grafana_finds_prometheus() -> None:
    name, port = re.findall(r"url: http://(\w+):(\d+)", DATASOURCE)[0]
    assert f":{port}" in services()[name]
    assert one(r"timeInterval: (\S+)", DATASOURCE) == one(r"scrape_interval: (\S+)", PROMETHEUS)


@pytest.mark.parametrize("name", services())
def test_a_service_is_pinned_limited_and_local(name: str) -> None:
    lines = services()[name]
    image, tag = one(r"image: (\S+)", lines).split(":")
    assert image
    assert tag not in ("", "latest")
    assert re.search(r"mem_limit: \d+[mg]", lines)
    assert "container_name" not in lines
    for port in re.findall(r'- "(\S+:\d+)"', lines):
        assert port.startswith("127.0.0.1:")


def test_files_that_are_mounted_are_there() -> None:
    paths = re.findall(r"- (?:\$\{\w+:-)?(\./[^:}]+)", COMPOSE)
    assert len(paths) == 6
    for path in paths:
        assert (CHECKOUT / path).is_dir(), path
    assert (CHECKOUT / "examples" / "flights" / "pipeline.py").is_file()


def test_kafka_is_the_version_that_is_tested() -> None:
    jars = (CHECKOUT / "streams" / "broker" / "kafka-jars.lock").read_text()
    assert one(r"image: apache/kafka:(\S+)", COMPOSE) == one(r"org\.apache\.kafka:kafka-clients:(\S+)", jars)


def test_workers_have_time_to_leave() -> None:
    grace = int(one(r"stop_grace_period: (\d+)s", services()["worker"]))
    assert grace > STOP_SECONDS


def test_no_password_is_in_the_files() -> None:
    for path in YAML:
        for line in path.read_text().splitlines():
            setting = re.match(r"\s*(?:- )?\w*(?:PASSWORD|SECRET|TOKEN)\w*\s*[:=]\s*(.*)", line, re.IGNORECASE)
            assert setting is None or re.match(r'"?\$+\{\w+:-(\}|\$\$\()', setting[1]), line


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_is_indented_by_spaces(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert not [line for line in lines if "\t" in line or line != line.rstrip()]


def test_the_image_is_built_from_what_there_is() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert sorted(copied) == sorted(line.removeprefix("!") for line in ignored if line.startswith("!"))
    for name in copied:
        assert (CHECKOUT / name).exists()
