"""Load the example strategies of `docs/examples`."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def load(name: str, class_name: str, **parameters: Any) -> Any:
    """Return the strategy of an example."""
    return run_path(str(EXAMPLES / f"{name}.py"))[class_name](**parameters)
