"""Frameworks are optional: what their modules say where one is missing."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(framework: str, package: str, asking: str) -> ModuleType:
    """The top-level module `framework`, imported for the module called `asking`.

    Raises ImportError naming the `package` to install where it is missing. An import
    that fails inside the framework is its own error and passes unchanged.
    """
    try:
        return importlib.import_module(framework)
    except ModuleNotFoundError as error:
        if error.name != framework:
            raise
        raise ImportError(f"{asking} needs {framework}: pip install {package}", name=framework) from error
