"""Strategies that come with the platform, one file each, found by themselves under the name of their file."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from operators.strategies.strategy import READABLE, Strategy, View, id_of, reads_of

__all__ = ["READABLE", "STRATEGIES", "Strategy", "View", "id_of", "reads_of"]


def _find() -> dict[str, Any]:
    strategies: dict[str, Any] = {}
    for found in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{found.name}")
        classes = [
            value
            for value in vars(module).values()
            if isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "decide")
        ]
        if found.name != "strategy":
            assert len(classes) == 1, f"{module.__name__} must define one strategy, found {len(classes)}"
            strategies[found.name] = classes[0]
    return dict(sorted(strategies.items()))


STRATEGIES: dict[str, Any] = _find()
"""Class by name. Called with its parameters, each gives a `Strategy`."""
