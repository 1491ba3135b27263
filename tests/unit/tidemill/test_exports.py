import inspect
import types

import pytest

import tidemill as tm
from tidemill.processors import feature_enrichment, online_inference, sanity_check, training
from tidemill.schemas import errors


@pytest.mark.parametrize(
    "module", [tm, feature_enrichment, sanity_check, online_inference, training], ids=lambda module: module.__name__
)
def test_all_is_sorted_and_complete(module):
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    modules = {name for name in module.__all__ if isinstance(getattr(module, name), types.ModuleType)}
    assert list(module.__all__) == sorted(set(module.__all__))
    assert set(module.__all__) - modules == public


def test_every_error_that_users_can_meet_is_exported():
    internal = {"CommitAborted", "Fenced", "ModelDeadline", "StateTooLarge"}
    raised = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert raised - internal <= set(tm.__all__)


def test_everything_public_is_documented():
    assert [name for name in tm.__all__ if not inspect.getdoc(getattr(tm, name))] == []


def test_what_shadows_a_builtin_is_still_ours():
    assert tm.sum("x").describe()["kind"] == "sum"
    assert {tm.min("x").field, tm.max("x").field} == {"x"}


def test_the_version_is_the_distributions():
    from importlib.metadata import version

    assert tm.__version__ == version("tidemill")
