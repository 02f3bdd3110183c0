"""One view strategy with other parameters for some symbols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from operators.strategies import Strategy, reads_of
from schemas.errors import BadInput


def by_symbol(name: str, combined: Any, default: Strategy, strategies: Mapping[str, Strategy]) -> Strategy:
    """Change `combined`, a strategy like `default`, to decide for each symbol as its own one does, else as `default`.

    It still has the module of its class, so that time limits and hashes of files apply to it, and it has the indicators
    of all strategies. Raises BadInput if the parameters of a symbol change what the strategy reads or its name, and for
    a class that cannot be changed.
    """
    for symbol, one in strategies.items():
        if reads_of(one) != reads_of(default) or one.name != default.name:
            raise BadInput(f"strategy {name!r}: the parameters of {symbol} must not change its name or what it reads")
    kind: type[Any] = type(default)

    def decide(self: object, record: Any, state: Any) -> Any:
        return strategies.get(record.symbol, default).decide(record, state)

    features = tuple(dict.fromkeys(spec for one in (default, *strategies.values()) for spec in one.features))
    same_names = {attribute: getattr(kind, attribute) for attribute in ("__module__", "__qualname__", "__doc__")}
    declared = {"decide": decide, "features": features, "__slots__": ()}
    getattr(combined, "__dict__", {}).pop("features", None)
    try:
        object.__setattr__(combined, "__class__", type(kind.__name__, (kind,), {**same_names, **declared}))
    except TypeError as error:
        raise BadInput(f"strategy {name!r} cannot have parameters by symbol: {error}") from error
    strategy: Strategy = combined
    return strategy
