"""diffprivlib beside a newer scikit-learn.

diffprivlib 0.6.6 imports two names of numpy types that scikit-learn has dropped (`sklearn.tree._tree.DOUBLE` and
`DTYPE`, gone in 1.9), so that not even its mechanisms can be imported. They are lent to it for as long as its import
takes. Its `LogisticRegression` cannot be made with scikit-learn 1.8 or newer, and is not used (`private_models`).
"""

from importlib import import_module
from typing import Any

import numpy as np

from tidemill.schemas.errors import ModelError

_DROPPED = {"DOUBLE": np.float64, "DTYPE": np.float32}


def diffprivlib(part: str) -> Any:
    """The module `diffprivlib.<part>`; raises ModelError if it is not installed or cannot be imported here."""
    tree = import_module("sklearn.tree._tree")
    lent = {name: kind for name, kind in _DROPPED.items() if not hasattr(tree, name)}
    for name, kind in lent.items():
        setattr(tree, name, kind)
    try:
        return import_module(f"diffprivlib.{part}")
    except ModuleNotFoundError as error:
        raise ModelError(
            "private training needs diffprivlib, which is not installed: pip install 'tidemill[training]'"
        ) from error
    except ImportError as error:
        raise ModelError(
            f"diffprivlib does not go with the scikit-learn that is installed ({error}); take the versions of"
            " requirements.lock"
        ) from error
    finally:
        for name in lent:
            delattr(tree, name)
