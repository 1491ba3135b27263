"""Pickles of River's models, loaded without anyone's trust: only what River's learners consist of may be in them.

So may be the project's own learner, which takes its state as bytes and checks them itself.

A pickle is a program: it names classes and functions, calls them, and sets attributes. Here it may name only those of a
list: River's own classes of learners, transformers and statistics, plain containers, numpy's arrays. None of them does
anything but keep numbers, and an attribute can only hold what the list has, so that whatever is called later is on the
list too. skops rests on the same idea; but it cannot store River's models: it turns their keys into text.
"""

import builtins
import collections
import copy
import functools
import importlib
import io
import pickle
import types
from collections.abc import Mapping
from typing import Any

from tidemill.schemas.errors import ModelError

PACKAGES = frozenset(
    {
        *("_river_rust", "anomaly", "base", "cluster", "compose", "conf", "covariance", "drift", "dummy", "ensemble"),
        *("facto", "feature_extraction", "feature_selection", "forest", "imblearn", "linear_model", "metrics"),
        *("model_selection", "multiclass", "multioutput", "naive_bayes", "neighbors", "optim", "preprocessing"),
        *("proba", "rules", "stats", "time_series", "tree", "utils"),
    }
)
"""River's packages that compute. The others read files and networks, or wrap other libraries."""
FUNCTIONS = frozenset(
    {
        ("river._river_rust.vectordict", "euclidean_distance_tuple"),
        ("river.naive_bayes.gaussian", "GaussianNB._make_gaussian"),
    }
)
"""River's functions that its models hold on to."""
_NUMPY = frozenset(
    {
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"),
    }
)
OWN = frozenset({("tidemill.processors.adaptation.classifier", "AdaptiveClassifier")})
"""The project's own learners."""
_RANDOM = "random"
_BUILTINS = frozenset({"bool", "complex", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple"})
_COLLECTIONS = frozenset({"Counter", "OrderedDict", "defaultdict", "deque"})


def is_river(model: Any) -> bool:
    """Whether a model learns and answers one row at a time, as River's do."""
    return hasattr(model, "learn_one")


def dump_repeatably(model: Any) -> bytes:
    """Store a River model so that two which have learned the same are the same bytes.

    Parts that River makes while it learns hold generators that are seeded by chance, and draw nothing from them for
    learning; they are stored as if seeded by zero.
    """
    file = io.BytesIO()
    _Writer(file, protocol=5).dump(model)
    return file.getvalue()


def load_checked(data: bytes) -> Any:
    """Load a pickle that is made of River's own parts.

    Raises:
        ModelError: it names anything else, sets attributes of a class, or is no pickle that can be loaded here.

    """
    reader = _Reader(io.BytesIO(data))
    try:
        return reader.load()
    except ModelError:
        raise
    except ModuleNotFoundError as error:
        raise ModelError(
            f"the model needs {error.name}, which is not installed here: pip install 'tidemill[online]'"
        ) from None
    except Exception as error:
        raise ModelError(
            f"the model is no pickle that can be loaded here ({type(error).__name__}: {error}); was it trained with"
            " another version of River?"
        ) from error
    finally:
        reader.require_unchanged()


class _Writer(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        """Give an unseeded generator's owner another one."""
        if not type(obj).__module__.startswith("river.") or isinstance(obj, type):
            return NotImplemented
        state = getattr(obj, "__dict__", {})
        generator = state.get("_rng")
        if generator is None or state.get("seed") is not None or type(generator) is not _random().Random:
            return NotImplemented
        make, given, _, *more = obj.__reduce_ex__(5)
        return (make, given, state | {"_rng": _random().Random(0)}, *more)


def _random() -> Any:
    # By name, since nothing here draws from it.
    return importlib.import_module(_RANDOM)


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._seen: dict[Any, Mapping[str, Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for, if it is on the list."""
        found = self._known(module, name)
        if found is None:
            raise ModelError(f"the model holds what is not known to be harmless: {module}.{name}")
        if found not in self._seen:
            self._seen[found] = _attributes(found)
        return found

    def _known(self, module: str, name: str) -> Any:
        if (module, name) in FUNCTIONS | _NUMPY | OWN:
            return functools.reduce(getattr, name.split("."), importlib.import_module(module))
        if module == "builtins":
            return getattr(builtins, name) if name in _BUILTINS else _method if name == "getattr" else None
        if module == "collections":
            return getattr(collections, name) if name in _COLLECTIONS else None
        if (module, name) in (("functools", "partial"), ("copy", "deepcopy")):
            return functools.partial if name == "partial" else copy.deepcopy
        if (module, name) == ("random", "Random"):
            return _random().Random
        return _river_class(module, name)

    def require_unchanged(self) -> None:
        """Put back the attributes of classes and functions that the pickle has set, and refuse it."""
        changed = False
        for found, before in self._seen.items():
            now = _attributes(found)
            for name in now.keys() | before.keys():
                if now.get(name, _MISSING) is before.get(name, _MISSING):
                    continue
                if name in _CACHES:
                    continue
                changed = True
                if name in before:
                    setattr(found, name, before[name])
                else:
                    delattr(found, name)
        if changed:
            raise ModelError("the model sets attributes of classes, which no stored model has to: it was made to harm")


_MISSING = object()
_CACHES = frozenset({"__abstractmethods__", "_abc_impl", "__annotations__", "__annotations_cache__", "__doc__"})
"""What the interpreter itself sets."""


def _attributes(found: Any) -> dict[str, Any]:
    if isinstance(found, type):
        return dict(vars(found))
    own = {name: getattr(found, name, None) for name in ("__code__", "__defaults__", "__kwdefaults__")}
    return own | getattr(found, "__dict__", {})


def _river_class(module: str, name: str) -> Any:
    parts = module.split(".")
    if (
        len(parts) < 2
        or parts[0] != "river"
        or parts[1] not in PACKAGES
        or "datasets" in parts
        or not name.isidentifier()
    ):
        return None
    importlib.import_module("river")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        return None
    # What a module has imported from elsewhere is not its own.
    return found if isinstance(found, type) and found.__module__.startswith("river.") else None


def _method(owner: Any, name: str) -> Any:
    """A bound method of one of River's objects, which pickle asks of `getattr`."""
    found = getattr(type(owner), name, None)
    if not type(owner).__module__.startswith("river.") or name.startswith("__") or not callable(found):
        raise ModelError(f"the model holds what is not known to be harmless: {type(owner).__name__}.{name}")
    return types.MethodType(found, owner)
