"""Finding the pipeline that a command is about: in a file, or in a module."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from tidemill.pipeline import Pipeline
from tidemill.schemas.errors import DeclarationError, nearest


def load_pipeline(reference: str) -> Pipeline:
    """Load `path/to/file.py`, `package.module`, or either with `:name` when it declares several pipelines.

    Raises:
        DeclarationError: there is no such file, module or pipeline.

    """
    place, _, name = reference.partition(":")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
    found = {key: value for key, value in vars(module).items() if isinstance(value, Pipeline)}
    if name:
        if name not in found:
            raise DeclarationError(f"{place} has no pipeline named {name!r}{nearest(name, found)}")
        return found[name]
    distinct = {id(pipeline): pipeline for pipeline in found.values()}
    if len(distinct) != 1:
        what = (
            "no pipeline" if not found else f"several pipelines: {', '.join(sorted(found))}; choose one as {place}:NAME"
        )
        raise DeclarationError(f"{place} declares {what}")
    return next(iter(distinct.values()))


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise DeclarationError(f"there is no pipeline file {path}")
    # The pipeline's neighbours can be imported, as when the file is run by python.
    sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _from_module(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise DeclarationError(f"there is no module {name!r}; a file is named with its .py") from None
        raise
