import sys
from pathlib import Path

import pytest

from tidemill.loading import load_pipeline
from tidemill.schemas.errors import DeclarationError

SOURCE = """
import tidemill as tm
schema = {{"type": "record", "name": "E", "fields": [{{"name": "id", "type": "string"}}]}}
events = tm.Events(schema, key="id", time="id", id="id")
{names} = {values}
"""


def source(*names):
    values = ", ".join(f'tm.Pipeline("{name}", events)' for name in names)
    return SOURCE.format(names=", ".join(names), values=values) if names else SOURCE.format(names="x", values="1")


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """Loading adds to the import path and to the modules, as running the file does."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not (Path(place) / "shop.py").exists()])
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("tidemill"):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path):
    def put(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put


def test_from_a_file_by_any_path(write, tmp_path):
    path = write("some/where/tides.py", source("one"))
    for reference in (str(path), "some/where/tides.py", f"{path}:one"):
        loaded = load_pipeline(reference)
        assert (loaded.name, loaded.base) == ("one", path.parent)


def test_from_a_module(write, tmp_path):
    write("shop/__init__.py", "")
    path = write("shop/pipes.py", source("one", "two"))
    assert load_pipeline("shop.pipes:two").name == "two"
    assert load_pipeline("shop.pipes:two").base == path.parent


def test_a_pipeline_with_a_second_name_is_one_pipeline(write):
    assert load_pipeline(str(write("a.py", source("one") + "\nother = one\n"))).name == "one"


def test_a_folder_with_packages_named_as_ours(write):
    write("shop/schemas/__init__.py", "NAME = 'theirs'")
    write("shop/streams.py", "NAME = 'theirs'")
    write("shop/processors/__init__.py", "from schemas import NAME")
    path = write(
        "shop/orders.py",
        f"import schemas, streams, processors\nassert schemas.NAME == processors.NAME\n{source('theirs')}",
    )
    assert load_pipeline(str(path)).plan is not None
    import tidemill.schemas.contract

    assert sys.modules["schemas"].NAME == "theirs"
    assert tidemill.schemas.contract.__file__ != sys.modules["schemas"].__file__


@pytest.mark.parametrize(
    ("text", "reference", "words"),
    [
        (source("one"), "gone.py", "there is no pipeline file gone.py"),
        (source("one"), "gone.module", "there is no module 'gone.module'; a file is named with its .py"),
        (source("flights"), "a.py:fligths", "a.py has no pipeline named 'fligths'; did you mean 'flights'?"),
        (source("one", "two"), "a.py", "declares several pipelines: one, two; choose one as a.py:NAME"),
        (source(), "a.py", "a.py declares no pipeline"),
    ],
)
def test_what_is_not_there_is_named(write, text, reference, words):
    write("a.py", text)
    with pytest.raises(DeclarationError) as error:
        load_pipeline(reference)
    assert words in str(error.value)


def test_a_module_that_is_missing_inside_the_file_is_an_error_of_the_file(write):
    write("shop.py", "import no_such_module_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        load_pipeline("shop")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        load_pipeline("shop.py")
