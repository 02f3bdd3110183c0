"""The settings that all runs share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from deploy.chaos import order_strategy

_FILE = Path(__file__).parent / "settings.yaml"


def pinned_settings() -> dict[str, Any]:
    """Return the pinned settings with the trading strategy, which is loaded by the path of its file."""
    tree: dict[str, Any] = yaml.safe_load(_FILE.read_text())
    name = f"{order_strategy.__file__}:{order_strategy.OrderStrategy.__name__}"
    tree["signals"]["strategies"].append({"name": name, "capital": 0.2})
    return tree
