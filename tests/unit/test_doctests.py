"""The examples in the docstrings run, and give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import tidemill

ROOMS = ("schemas", "processors", "streams", "examples")
NOT_IMPORTED = {
    "tidemill.__main__": "runs the command line",
    "tidemill.examples.flights.pipeline": "unpacks a year of flights",
}


def walk():
    """Every module of ours; the rooms are mapped into the package, so that its own path does not list them."""
    for package in (tidemill, *(importlib.import_module(f"tidemill.{room}") for room in ROOMS)):
        yield package.__name__
        yield from (module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))


MODULES = sorted(set(walk()))


def test_the_walk_reaches_every_room():
    deepest = ("schemas.codec.codec", "processors.sanity_check.stage", "streams.kafka.reader", "examples.flights.data")
    assert {f"tidemill.{name}" for name in (*deepest, "cli.run", "demo.view")} <= set(MODULES)
    assert set(NOT_IMPORTED) <= set(MODULES)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in NOT_IMPORTED])
def test_the_examples_of(name, monkeypatch, tmp_path):
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    report = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_an_example_that_is_wrong_fails():
    (test,) = [doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)]
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1
