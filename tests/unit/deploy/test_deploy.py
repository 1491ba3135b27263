"""The files of a deployment speak of the metrics, ports, services and commands that there are."""

import inspect
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tidemill.cli import app
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
YAML = [CHECKOUT / "docker-compose.yml", *sorted(DEPLOY.rglob("*.yml")), *sorted(DEPLOY.rglob("*.yaml"))]
SERVICES = yaml.safe_load(COMPOSE)["services"]
SCRAPES = {each["job_name"]: each for each in yaml.safe_load(PROMETHEUS)["scrape_configs"]}
MANIFESTS = [
    document
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
]
PODS = {
    m["metadata"].get("name", "job"): m["spec"]["template"] for m in MANIFESTS if m["kind"] in ("Deployment", "Job")
}


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
    (discovered,) = SCRAPES["tidemill"]["dns_sd_configs"]
    (worker,) = discovered["names"]
    port = inspect.signature(run).parameters["metrics_port"].default
    assert worker in services()
    assert discovered["port"] == port
    assert f"http://127.0.0.1:{port}/metrics" in services()[worker]
    assert {*re.findall(r'job="([\w-]+)"', ALERTS)} <= SCRAPES.keys()
    (target,) = SCRAPES["tidemill-control"]["static_configs"][0]["targets"]
    service, port = target.split(":")
    assert port == str(inspect.signature(control).parameters["metrics_port"].default)
    assert f"http://127.0.0.1:{port}/metrics" in services()[service]


@pytest.mark.parametrize("name", ["jobs", "archive"])
def test_what_serves_metrics_is_scraped_and_asked_for_its_health(name: str) -> None:
    (scrape,) = [each for job, each in SCRAPES.items() if job == f"tidemill-{name}"]
    port = SERVICES[name]["command"][SERVICES[name]["command"].index("--metrics-port") + 1]
    assert f"http://127.0.0.1:{port}/live" in services()[name]
    assert f"{name}:{port}" in str(scrape) or f"'names': ['{name}'], 'type': 'A', 'port': {port}" in str(scrape)
    exposed = one(r"EXPOSE (.+)", (DEPLOY / "Dockerfile").read_text()).split()
    assert port in exposed
    assert {"9463", "9464"} <= {*exposed}


def understands(arguments: list[str]) -> bool:
    """Whether the command line takes these arguments; nothing is run."""
    command, rest = typer.main.get_command(app), list(arguments)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    return bool(command.make_context("tidemill", rest))


@pytest.mark.parametrize(
    "arguments",
    [each["command"] for each in SERVICES.values() if each["image"] == "tidemill:local" and "command" in each]
    + [container["args"] for pod in PODS.values() for container in pod["spec"]["containers"]]
    + [json.loads(one(r"CMD (\[.+\])", (DEPLOY / "Dockerfile").read_text()))],
    ids=" ".join,
)
def test_every_command_is_one_that_there_is(arguments: list[str]) -> None:
    assert understands(arguments)


def test_what_training_keeps_outlives_its_container() -> None:
    home = one(r"TIDEMILL_HOME=(\S+)", (DEPLOY / "Dockerfile").read_text())
    volumes = set(yaml.safe_load(COMPOSE)["volumes"])
    for name in ("jobs", "archive"):
        (mounted,) = [each.split(":")[0] for each in SERVICES[name]["volumes"] if each.endswith(f":{home}")]
        assert mounted in volumes
    for pod in PODS.values():
        (container,) = pod["spec"]["containers"]
        (volume,) = [each["name"] for each in container["volumeMounts"] if each["mountPath"] == home]
        (claim,) = [each["persistentVolumeClaim"] for each in pod["spec"]["volumes"] if each["name"] == volume]
        assert claim["claimName"] in {m["metadata"]["name"] for m in MANIFESTS if m["kind"] == "PersistentVolumeClaim"}


def test_a_job_ends_by_its_own_limit_before_its_container_does() -> None:
    command = SERVICES["jobs"]["command"]
    limit = int(SERVICES["jobs"]["mem_limit"].removesuffix("g")) * 1000
    assert int(command[command.index("--memory") + 1]) < limit


def test_the_image_has_what_jobs_and_the_control_plane_import() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = set(re.findall(r'"(\w+)"', one(r"for name in \((.+)\) for need", (DEPLOY / "Dockerfile").read_text())))
    assert {"control", "online", "training"} <= extras <= project["optional-dependencies"].keys()
    # Development, the demo and the embedded broker stay out.
    assert not extras & {"dev", "demo", "local"}


def test_the_runner_may_do_what_kubectl_does_for_it() -> None:
    (role,) = [each for each in MANIFESTS if each["kind"] == "Role"]
    allowed = {(r, verb) for rule in role["rules"] for r in rule["resources"] for verb in rule["verbs"]}
    # create; logs, which finds the Job's pod and waits for it; delete: streams/jobs/kubernetes.py.
    needed = {("jobs", "create"), ("jobs", "get"), ("jobs", "delete"), ("pods/log", "get")}
    assert allowed == needed | {("pods", verb) for verb in ("get", "list", "watch")}
    (binding,) = [each for each in MANIFESTS if each["kind"] == "RoleBinding"]
    account = PODS["tidemill-runner"]["spec"]["serviceAccountName"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [each["name"] for each in binding["subjects"]] == [account]
    assert account in {each["metadata"]["name"] for each in MANIFESTS if each["kind"] == "ServiceAccount"}
    others = [pod["spec"] for name, pod in PODS.items() if name != "tidemill-runner"]
    assert [each["automountServiceAccountToken"] for each in others] == [False, False]


def test_the_runner_finds_the_manifest_of_jobs() -> None:
    made = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    (generated,) = made["configMapGenerator"]
    spec = PODS["tidemill-runner"]["spec"]
    (volume,) = [each["name"] for each in spec["volumes"] if each.get("configMap", {}).get("name") == generated["name"]]
    (container,) = spec["containers"]
    (folder,) = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == volume]
    assert [f"--manifest={folder}/{file}" for file in generated["files"]] == [
        each for each in container["args"] if each.startswith("--manifest")
    ]
    there = {path.name for path in (DEPLOY / "kubernetes").iterdir()}
    assert there == {*made["resources"], *generated["files"], "kustomization.yaml", "Dockerfile"}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_limited_and_has_no_privileges(name: str) -> None:
    spec = PODS[name]["spec"]
    (container,) = spec["containers"]
    assert "memory" in container["resources"]["limits"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert spec["securityContext"]["runAsNonRoot"]
    user = one(r"USER (\d+)", (DEPLOY / "Dockerfile").read_text())
    assert spec["securityContext"]["fsGroup"] == int(user)
    assert not container["image"].endswith(":latest")
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in spec["volumes"]}
    ports = {each["name"]: each["containerPort"] for each in container.get("ports", [])}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if probe in container:
            assert f"--metrics-port={ports[container[probe]['httpGet']['port']]}" in container["args"]


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
    assert len(paths) == 7
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
            if "automountServiceAccountToken" in line:
                continue
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
