"""A model as bytes: stored with skops, verified by hash, loaded only if its types are known or its hash trusted.

River's models are stored as pickles: skops turns the keys of their tables into text. Such a pickle is loaded if all
that it names is River's own, see `checked_pickle`.

skops is imported only by who needs it: it brings all of scikit-learn, seconds that most commands need not spend.
"""

import hashlib
import importlib
import pickle
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from tidemill.processors.online_inference.checked_pickle import is_river, load_checked
from tidemill.processors.parts import joined, split
from tidemill.schemas.errors import ModelError

HARMLESS = frozenset(
    {
        # A function that it holds is listed by itself.
        "functools.partial",
        "numpy.dtype",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
        "sklearn.utils.validation.check_array",
    }
)
"""Types that skops leaves to its caller to judge, but which scikit-learn's own estimators consist of: they hold
numbers.
"""


@dataclass(frozen=True)
class Artefact:
    """A stored model, and the reference that it was trained on if it carries one (`with_reference`).

    `format` is "skops", or "pickle" for what skops cannot store.
    """

    data: bytes
    format: str

    @property
    def sha256(self) -> str:
        """The hash by which the model is announced, verified and trusted."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def model(self) -> bytes:
        """The model's own bytes; raises ModelError if they are cut off."""
        return split(self.data)[1]

    def with_reference(self, reference: bytes) -> "Artefact":
        """The same model with another reference, such as `drift.write_reference` makes; the hash covers both."""
        return Artefact(joined(reference, self.model), self.format)


def dump_model(model: Any) -> Artefact:
    """Store a fitted model; with skops, and as a pickle if it is River's, or skops cannot load what it wrote.

    Raises:
        ModelError: neither can store it.

    """
    if is_river(model):
        return Artefact(_pickled(model), "pickle")
    skops = importlib.import_module("skops.io")
    unsupported = importlib.import_module("skops.io.exceptions").UnsupportedTypeException
    try:
        data = skops.dumps(model)
        skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    except (unsupported, TypeError, AttributeError, ValueError, KeyError, RecursionError):
        return Artefact(_pickled(model), "pickle")
    return Artefact(data, "skops")


def preload() -> None:
    """Import now what `load_model` needs, so that no event has to wait for it when the first model is announced."""
    for name in ("skops.io", "pandas", "scipy.special", "sklearn.linear_model", "sklearn.pipeline"):
        importlib.import_module(name)


def load_model(artefact: Artefact, expected_sha256: str, trusted: Collection[str] = ()) -> Any:
    """Load a model whose bytes are those announced.

    No code of the artefact runs before its hash was compared. A skops file may hold the types that skops knows to be
    harmless, and a pickle what River's models consist of; any other is loaded only if the operator has listed the hash
    in `trusted`.

    Raises:
        ModelError: the bytes are not those announced, the operator has not trusted them, or they are no model.

    """
    if artefact.sha256 != expected_sha256:
        raise ModelError(
            f"expected a model with sha256 {expected_sha256}, got {artefact.sha256}; it was altered, do not use it"
        )
    model = artefact.model
    approved = artefact.sha256 in {entry.lower() for entry in trusted}
    how = f"if you know who trained it, start with --trust-model {artefact.sha256}"
    if artefact.format == "pickle":
        if not approved:
            try:
                return load_checked(model)
            except ModelError as error:
                raise ModelError(f"a pickle can run any code when it is loaded, and {error}; {how}") from None
        # The operator has trusted this very hash.
        return _opened(lambda: pickle.loads(model), "pickle")  # noqa: S301
    if artefact.format != "skops":
        raise ModelError(f"expected a model stored as skops or pickle, got {artefact.format!r}")
    skops = importlib.import_module("skops.io")
    named = _opened(lambda: skops.get_untrusted_types(data=model), "skops file")
    unknown = sorted(set(named) - HARMLESS)
    if unknown and not approved:
        raise ModelError(f"the model holds types that are not known to be harmless: {', '.join(unknown)}; {how}")
    return _opened(lambda: skops.loads(model, trusted=named), "skops file")


def _opened(read: Callable[[], Any], kind: str) -> Any:
    try:
        return read()
    except Exception as error:
        raise ModelError(
            f"the model is not a {kind} that can be loaded here ({type(error).__name__}: {error}); was it trained with"
            " other versions of its libraries, or are some not installed?"
        ) from error


def _pickled(model: Any) -> bytes:
    try:
        return pickle.dumps(model, protocol=5)
    except Exception as error:
        raise ModelError(
            f"expected a model that skops or pickle can store, got {type(model).__name__}"
            f" ({type(error).__name__}: {error}); functions in it must be importable by name"
        ) from error
