"""Streaming indicators, one file each. A spec such as `ema_12` or `macd_12_26_9` names an instance and its values.

Every indicator in this folder is registered automatically. `register` adds one from another place.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType

from operators.indicators.indicator import Indicator, NoConversion, ValueUnit
from operators.indicators.specs import parse, parse_value, template
from schemas.errors import BadInput

__all__ = [
    "INDICATORS",
    "Indicator",
    "NoConversion",
    "ValueUnit",
    "build",
    "indicator_classes",
    "outputs",
    "register",
    "spec_template",
    "unit_of_value",
]


def indicator_classes(module: ModuleType) -> Iterator[type[Indicator]]:
    """Return the indicator classes that a module defines, also those in a tuple. Imported classes are left out.

    A class without `kind` is the base class of others.
    """
    for value in vars(module).values():
        for one in value if isinstance(value, tuple) else (value,):
            if not isinstance(one, type) or not issubclass(one, Indicator) or one.__module__ != module.__name__:
                continue
            if isinstance(getattr(one, "kind", None), str):
                yield one


def _discover() -> dict[str, type[Indicator]]:
    indicators: dict[str, type[Indicator]] = {}
    for module_info in pkgutil.walk_packages(__path__, f"{__name__}."):
        for one in indicator_classes(import_module(module_info.name)):
            assert one.kind not in indicators, f"two indicators have the kind {one.kind}"
            indicators[one.kind] = one
    return dict(sorted(indicators.items()))


INDICATORS: dict[str, type[Indicator]] = _discover()
"""Indicator class by kind, the word or words at the start of a spec."""


def register(indicator: type[Indicator]) -> None:
    """Make the specs of a class known to this process. A class replaces one from the same module.

    Raises BadInput if another indicator has the same kind.
    """
    known = INDICATORS.get(indicator.kind)
    if known is not None and known.__module__ != indicator.__module__:
        file = getattr(sys.modules.get(known.__module__), "__file__", known.__module__)
        raise BadInput(f"the indicator {indicator.kind!r} exists already in {file}; choose another kind")
    INDICATORS[indicator.kind] = indicator


def spec_template(kind: str) -> str:
    """Return the format of a spec of this kind.

    >>> spec_template("bollinger")
    'bollinger_<period>_<width>'
    """
    return template(INDICATORS[kind])


def build(spec: str, kinds: Mapping[str, type[Indicator]] = INDICATORS) -> Indicator:
    """Create an indicator from a spec. Raises BadInput for an unknown kind or input, or a wrong parameter.

    >>> build("ema_12").snapshot()
    (0, 0.0)
    """
    return parse(spec, kinds)


def outputs(spec: str) -> tuple[str, ...]:
    """Return the names of the values of a spec. Raises BadInput like `build`.

    >>> outputs("macd_12_26_9")
    ('macd_12_26_9', 'macd_12_26_9_signal', 'macd_12_26_9_histogram')
    >>> outputs("bollinger_20_2(rsi_14)")
    ('bollinger_20_2(rsi_14)_upper', 'bollinger_20_2(rsi_14)_middle', 'bollinger_20_2(rsi_14)_lower')
    """
    return tuple(spec + suffix for suffix in build(spec).value_suffixes)


def unit_of_value(name: str) -> ValueUnit | None:
    """Return the unit of a value; None if its indicator does not declare it. Raises BadInput for an unknown value.

    >>> str(unit_of_value("macd_12_26_9_signal"))
    'price change'
    """
    indicator, _, suffix = parse_value(name, INDICATORS)
    return indicator.unit_of(suffix)
