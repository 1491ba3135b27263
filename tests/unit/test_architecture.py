"""The rules of the design that a reader of the imports can check: who may know whom, and what stays pure."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LAYERS = ("schemas", "processors", "streams", "tidemill")
"""Each may import those before it."""
ROOMS = (*LAYERS, "examples")

FENCES = {
    "confluent_kafka": "streams/kafka/",
    "faust": "streams/control.py",
    "mlflow": "streams/tracking.py",
    "deltalake": "streams/archive",
}
"""Libraries, and the only place that may import each."""

PURE = ("schemas", "processors")
"""They get the time, files, threads and chance passed in, so that the same input always gives the same output."""
IMPURE_MODULES = {
    *("asyncio", "concurrent", "ctypes", "glob", "http", "io", "multiprocessing", "os", "pathlib", "random", "secrets"),
    *("select", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib"),
    "importlib.resources",
}
IMPURE_CALLS = {
    *("open", "input", "print", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("np.random", "numpy.random", "pd.Timestamp.now", "uuid1", "uuid4"),
}
ALLOWED = {
    # Reading a contract from where its user keeps it, and those that come with the package.
    ("schemas/contract.py", "pathlib"),
    ("schemas/builtin.py", "importlib.resources"),
    # Names of files, as text: PurePath cannot read one.
    ("processors/feature_enrichment/lookup.py", "pathlib"),
    # BytesIO over bytes in memory: the quickest way to cut them into messages.
    ("schemas/codec/compiled_encoding.py", "io"),
    # BytesIO over bytes in memory: what a reader of pickles takes.
    ("processors/online_inference/checked_pickle.py", "io"),
}
"""The exceptions: a file, and what it may import all the same."""
PUBLIC = "tidemill.schemas.errors"
"""What examples may import besides `tidemill` itself, where the same names are, but with all that comes along."""
MOST_LINES = 400


def faults(path: str, source: str) -> list[str]:
    """What is wrong with a source file."""
    tree = ast.parse(source)
    found = [fault for module in imported(tree) for fault in import_faults(path, module)]
    if path.split("/")[0] in PURE:
        found += [f"calls {name}" for name in called(tree) if name in IMPURE_CALLS]
    if not ast.get_docstring(tree):
        found.append("has no docstring")
    if source.count("\n") > MOST_LINES:
        found.append(f"has more than {MOST_LINES} lines")
    return [f"{path} {fault}" for fault in found]


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, wherever in the file, also by name at run time."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(level=0, module=str(module), names=names):
                # `from tidemill import streams` imports a module as well.
                yield module
                yield from (f"{module}.{alias.name}" for alias in names if module in ("tidemill", "importlib"))
            case ast.ImportFrom():
                yield "."
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(module)), *_]):
                yield module


def import_faults(path: str, module: str) -> Iterator[str]:
    room, root = path.split("/")[0], module.split(".")[0]
    if module == ".":
        yield "imports by a relative name"
    if root in ROOMS and root != "tidemill":
        yield f"imports {module}: say tidemill.{module}"
    if root in FENCES and not path.startswith(FENCES[root]):
        yield f"imports {module}: only {FENCES[root]} may"
    if room in PURE and not IMPURE_MODULES.isdisjoint({root, module}) and (path, module) not in ALLOWED:
        yield f"imports {module}: pass in what it is needed for"
    if root == "tidemill" and not may_know(room, module):
        yield f"imports {module}: {room} may not know it"


def may_know(room: str, module: str) -> bool:
    """Whether the direction of dependencies allows it."""
    parts = module.split(".")
    target = parts[1] if len(parts) > 1 and parts[1] in ROOMS else "tidemill"
    if room == "examples":
        return target == "examples" or module == PUBLIC or (target == "tidemill" and len(parts) <= 2)
    if target == "examples":
        return room == "tidemill"
    return LAYERS.index(target) <= LAYERS.index(room)


def called(tree: ast.AST) -> Iterator[str]:
    """Every name that is called or read with dots, as it stands and by its last one and two parts."""
    for node in ast.walk(tree):
        parts: list[str] = []
        while isinstance(node, ast.Call | ast.Attribute):
            if isinstance(node, ast.Attribute):
                parts.insert(0, node.attr)
            node = node.func if isinstance(node, ast.Call) else node.value
            if isinstance(node, ast.Name):
                parts.insert(0, node.id)
        yield from {".".join(parts), ".".join(parts[:2]), ".".join(parts[-2:]), ".".join(parts[-1:])}


def sources() -> dict[str, str]:
    """Every source file of ours, by its path in the checkout."""
    paths = sorted(path for room in ROOMS for path in (CHECKOUT / room).rglob("*.py"))
    return {path.relative_to(CHECKOUT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def test_every_source_file_keeps_the_rules():
    found = sources()
    assert len(found) > 90
    assert [fault for path, source in found.items() for fault in faults(path, source)] == []


def test_every_exception_is_needed():
    found = sources()
    assert [(path, module) for path, module in ALLOWED if module not in set(imported(ast.parse(found[path])))] == []


@pytest.mark.parametrize(
    ("path", "line", "fault"),
    [
        ("schemas/x.py", "import tidemill.processors.stage", "schemas may not know it"),
        ("schemas/x.py", "from tidemill.streams.ports import Source", "schemas may not know it"),
        ("processors/x.py", "from tidemill.streams import task", "processors may not know it"),
        ("streams/x.py", "from tidemill.pipeline import Pipeline", "streams may not know it"),
        ("streams/x.py", "from tidemill import Pipeline", "streams may not know it"),
        ("streams/x.py", "import tidemill", "streams may not know it"),
        ("streams/x.py", "from tidemill.examples.flights import data", "streams may not know it"),
        ("examples/x/y.py", "from tidemill.streams.task import Task", "examples may not know it"),
        ("examples/x/y.py", "from tidemill import streams", "examples may not know it"),
        ("tidemill/x.py", "from confluent_kafka import Consumer", "only streams/kafka/ may"),
        ("streams/task.py", "def f():\n    import confluent_kafka.admin", "only streams/kafka/ may"),
        ("streams/task.py", "x = importlib.import_module('confluent_kafka')", "only streams/kafka/ may"),
        ("streams/kafka/x.py", "import faust", "only streams/control.py may"),
        ("streams/kafka/registry.py", "import mlflow.tracking", "only streams/tracking.py may"),
        ("processors/x.py", "import deltalake", "only streams/archive may"),
        ("processors/x.py", "import threading", "imports threading: pass in"),
        ("processors/x.py", "from time import monotonic", "imports time: pass in"),
        ("processors/x.py", "import os.path", "imports os.path: pass in"),
        ("processors/x.py", "import socket", "imports socket: pass in"),
        ("schemas/x.py", "from pathlib import Path", "imports pathlib: pass in"),
        ("schemas/x.py", "from importlib import resources", "imports importlib.resources: pass in"),
        ("schemas/x.py", "text = open('x').read()", "calls open"),
        ("processors/x.py", "import datetime\nx = datetime.datetime.now()", "calls datetime.now"),
        ("processors/x.py", "from datetime import date\nx = date.today()", "calls date.today"),
        ("processors/x.py", "import numpy as np\nx = np.random.default_rng()", "calls np.random"),
        ("processors/x.py", "from tidemill.schemas import errors\nimport schemas", "say tidemill.schemas"),
        ("streams/x.py", "from processors.stage import Stage", "say tidemill.processors.stage"),
        ("tidemill/x.py", "from streams import ports", "say tidemill.streams"),
        ("streams/x.py", "from . import ports", "by a relative name"),
        ("streams/x.py", "x = 1\n" * 401, "has more than 400 lines"),
    ],
)
def test_a_broken_rule_is_found(path, line, fault):
    found = faults(path, f'"""What it is for."""\n{line}\n')
    assert found
    assert all(each.startswith(path) and fault in each for each in found)


def test_a_missing_docstring_is_found():
    assert faults("streams/x.py", "x = 1\n") == ["streams/x.py has no docstring"]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("processors/x.py", "from tidemill.schemas.batch import Batch\nfrom tidemill.processors.stage import Stage"),
        ("streams/x.py", "import time\nfrom tidemill.processors.stage import Stage"),
        ("streams/kafka/x.py", "from confluent_kafka import Producer"),
        ("tidemill/cli/x.py", "import threading\nfrom tidemill.examples.flights import data\nimport tidemill as tm"),
        (
            "examples/x/y.py",
            "import tidemill as tm\nfrom tidemill import Pipeline, sum\nimport tidemill.examples.x.data",
        ),
        ("processors/x.py", "from datetime import datetime, time\nx = datetime(2026, 1, 1)\ny = time.fromisoformat"),
        ("schemas/contract.py", "from pathlib import Path"),
    ],
)
def test_what_keeps_the_rules_is_left_alone(path, line):
    assert faults(path, f'"""What it is for."""\n{line}\n') == []


def test_the_links_for_type_checkers_mirror_the_package():
    links = CHECKOUT / ".typing" / "tidemill"
    inside = {entry.name for entry in (CHECKOUT / "tidemill").iterdir() if entry.name != "__pycache__"}
    expected = {name: CHECKOUT / "tidemill" / name for name in inside}
    expected |= {room: CHECKOUT / room for room in ROOMS if room != "tidemill"}
    assert {link.name: link.resolve() for link in links.iterdir()} == expected
    assert all(link.is_symlink() and not link.readlink().is_absolute() for link in links.iterdir())


def test_every_package_is_in_the_distribution():
    setup = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(CHECKOUT) for room in ROOMS for path in (CHECKOUT / room).rglob("*.py")}
    names = {".".join(folder.parts) for folder in folders}
    assert set(setup["packages"]) == {
        name if name.split(".")[0] == "tidemill" else f"tidemill.{name}" for name in names
    }
