"""Streaming indicators, one file each. A spec such as `ema_12` or `macd_12_26_9` names an instance and its values.

Every indicator in this folder is registered automatically.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module

from operators.indicators.indicator import Indicator
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

__all__ = ["INDICATORS", "Indicator", "build", "outputs", "spec_template"]


def _discover() -> dict[str, type[Indicator]]:
    indicators: dict[str, type[Indicator]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{module_info.name}")
        for value in vars(module).values():
            # Skip the classes that the module imports.
            if isinstance(value, type) and issubclass(value, Indicator) and value.__module__ == module.__name__:
                kind = getattr(value, "kind", None)
                if kind is None:
                    continue  # the base class
                assert kind not in indicators, f"two indicators have the kind {kind}"
                indicators[kind] = value
    return dict(sorted(indicators.items()))


INDICATORS: dict[str, type[Indicator]] = _discover()
"""Indicator class by kind, the first word of a spec."""


def spec_template(kind: str) -> str:
    """Return the format of a spec of this kind.

    >>> spec_template("bollinger")
    'bollinger_<period>_<width>'
    """
    return "_".join([kind, *(f"<{name}>" for name in INDICATORS[kind].parameters)])


def build(spec: str) -> Indicator:
    """Create an indicator from a spec. Raises BadInput for an unknown kind or a wrong parameter.

    >>> build("ema_12").snapshot()
    (0, 0.0)
    """
    kind, *texts = spec.split("_")
    if kind not in INDICATORS:
        suggestion = did_you_mean(spec, ["_".join((known, *texts)) for known in INDICATORS]) or "."
        known_specs = ", ".join(map(spec_template, INDICATORS))
        raise BadInput(f"unknown indicator {spec!r}{suggestion} Known indicators: {known_specs}")
    parameters = INDICATORS[kind].parameters
    if len(texts) != len(parameters):
        raise BadInput(f"indicator {spec!r} must have the form {spec_template(kind)}")
    numbers = [_parse_number(spec, text, parameters[name]) for name, text in zip(parameters, texts, strict=True)]
    create: Callable[..., Indicator] = INDICATORS[kind]  # each class declares its own arguments in `parameters`
    return create(spec, *numbers)


def outputs(spec: str) -> tuple[str, ...]:
    """Return the names of the values of a spec. Raises BadInput like `build`.

    >>> outputs("macd_12_26_9")
    ('macd_12_26_9', 'macd_12_26_9_signal', 'macd_12_26_9_histogram')
    """
    return tuple(spec + suffix for suffix in build(spec).suffixes)


def _parse_number(spec: str, text: str, kind: type[int] | type[float]) -> float:
    # Each number has one spelling, because a spec is a key: `ema_012` would be a second key of `ema_12`.
    digits = text.replace(".", "", 1) if kind is float else text
    if not (digits.isascii() and digits.isdigit()) or text.startswith(".") or text.endswith("."):
        raise BadInput(f"indicator {spec!r}: {text!r} is not {'a whole' if kind is int else 'a'} number")
    value = kind(text)
    if text not in (str(value), f"{value:g}"):
        raise BadInput(f"indicator {spec!r}: write {text!r} as {value:g}")
    return value
