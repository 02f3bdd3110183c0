"""Streaming indicators, one file each; a spec such as `ema_12` or `macd_12_26_9` names an instance and its values.

Every file of this folder is an indicator and is found by itself: nothing needs to be registered.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from operators.indicators.indicator import Indicator
from schemas.errors import BadInput

__all__ = ["INDICATORS", "Indicator", "build", "outputs", "spec_template"]


def _discover() -> dict[str, type[Indicator]]:
    indicators: dict[str, type[Indicator]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{module_info.name}")
        for value in vars(module).values():
            # Its own classes, not those that it imports.
            if isinstance(value, type) and issubclass(value, Indicator) and value.__module__ == module.__name__:
                kind = getattr(value, "kind", None)
                if kind is None:
                    continue  # what indicators have in common
                assert kind not in indicators, f"two indicators call themselves {kind}"
                indicators[kind] = value
    return dict(sorted(indicators.items()))


INDICATORS: dict[str, type[Indicator]] = _discover()
"""Every indicator by its kind, the first word of its specs."""


def spec_template(kind: str) -> str:
    """How a spec of this kind is written.

    >>> spec_template("bollinger")
    'bollinger_<period>_<width>'
    """
    return "_".join([kind, *(f"<{name}>" for name in INDICATORS[kind].parameters)])


def build(spec: str) -> Indicator:
    """A fresh indicator. Raises BadInput, naming what there is, for a spec that names none.

    >>> build("ema_12").snapshot()
    (0, 0.0)
    """
    kind, *texts = spec.split("_")
    if kind not in INDICATORS:
        raise BadInput(f"indicator {spec!r} is not known; known are {', '.join(map(spec_template, INDICATORS))}")
    parameters = INDICATORS[kind].parameters
    if len(texts) != len(parameters):
        raise BadInput(f"indicator {spec!r} must be written {spec_template(kind)}")
    numbers = [_parse_number(spec, text, parameters[name]) for name, text in zip(parameters, texts, strict=True)]
    return INDICATORS[kind](spec, *numbers)  # type: ignore[call-arg]


def outputs(spec: str) -> tuple[str, ...]:
    """The names of the values that a spec writes. Raises BadInput as `build` does.

    >>> outputs("macd_12_26_9")
    ('macd_12_26_9', 'macd_12_26_9_signal', 'macd_12_26_9_histogram')
    """
    return tuple(spec + suffix for suffix in build(spec).suffixes)


def _parse_number(spec: str, text: str, kind: type[int] | type[float]) -> float:
    # One spelling for each number: a spec is the key of its values, and `ema_012` would be a second name of `ema_12`.
    digits = text.replace(".", "", 1) if kind is float else text
    if not (digits.isascii() and digits.isdigit()) or text.startswith(".") or text.endswith("."):
        raise BadInput(f"indicator {spec!r}: {text!r} is not {'a whole' if kind is int else 'a'} number")
    value = kind(text)
    if text not in (str(value), f"{value:g}"):
        raise BadInput(f"indicator {spec!r}: write {text!r} as {value:g}")
    return value
