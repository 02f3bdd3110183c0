"""The platform's strategies, one file each. Each is registered automatically under the name of its file."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from operators.strategies.strategy import READABLE, Strategy, TargetView, id_of, reads_of
from operators.strategies.trading_strategy import TradingStrategy, at, every
from operators.strategies.universe_rules import TopDollarVolume, UniverseFile

__all__ = [
    "READABLE",
    "STRATEGIES",
    "Strategy",
    "TargetView",
    "TopDollarVolume",
    "TradingStrategy",
    "UniverseFile",
    "at",
    "every",
    "id_of",
    "reads_of",
]
_WITHOUT_STRATEGY = ("parameters", "strategy", "trading_strategy", "universe_rules")


def _discover() -> dict[str, Any]:
    strategies: dict[str, Any] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{module_info.name}")
        classes = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and value.__module__ == module.__name__
            and (hasattr(value, "decide") or issubclass(value, TradingStrategy))
        ]
        if module_info.name not in _WITHOUT_STRATEGY:
            assert len(classes) == 1, f"{module.__name__} must define one strategy, found {len(classes)}"
            strategies[module_info.name] = classes[0]
    return dict(sorted(strategies.items()))


STRATEGIES: dict[str, Any] = _discover()
"""Strategy class by name. Call a class with its parameters to create a `Strategy` or a `TradingStrategy`."""
