"""Import the packages of the extra `research` (pyproject.toml) on use, because the platform runs without them."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from schemas.errors import BadInput


def require_package(name: str) -> Any:
    """Import a module. Raises BadInput with the command that installs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise BadInput(
            f"{error.name} is not installed; install it with {sys.executable} -m pip install --require-hashes"
            " -r deploy/locks/requirements-research.txt"
        ) from error
