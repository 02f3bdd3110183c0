"""Read a spec: `ema_12`, `sma_20@volume`, `ema_20(rsi_14)`, `sma_5(bollinger_20_2@hl2_upper)`.

spec  = one [ "@" interval ]
one   = kind {"_" parameter} [ "@" input | "(" value ")" ]
value = spec + suffix of one of its values
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from operators.indicators.derived import INPUTS, IndicatorOfIndicator, IndicatorOfInput
from operators.indicators.indicator import Indicator
from operators.indicators.of_interval import IndicatorOfInterval
from operators.trading.intervals import HEIKIN_ASHI, is_of_trades, parse_interval
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

DEPTH_MAX = 8
"""How many indicators may be nested."""
_OF_TWO_SYMBOLS = ("correlation", "beta")
"""The features of `operators.trading.pair_statistics`."""

Kinds = Mapping[str, type[Indicator]]

_INTERVAL = re.compile(rf"(?:[0-9]|renko_|{HEIKIN_ASHI})[^()@]*")
"""The form of an interval after `@`. No input has this form."""
_FORM = re.compile(r"(?P<head>[^()@]*)(?:@(?P<input>[^()@]*)|\((?P<inner>.*)\))?")


def template(kind: type[Indicator]) -> str:
    """Return the format of a spec of this class without its input, such as `bollinger_<period>_<width>`."""
    return "_".join([kind.kind, *(f"<{name}>" for name in kind.parameters)])


def parse(spec: str, kinds: Kinds, depth: int = 1) -> Indicator:
    """Create an indicator from a spec. Raises BadInput if any part of it is wrong."""
    if depth > DEPTH_MAX:
        raise BadInput(f"indicator {spec!r} is nested too deeply; at most {DEPTH_MAX} indicators are allowed")
    inner_spec, separator, interval = spec.rpartition("@")
    if separator and _INTERVAL.fullmatch(interval):
        return _of_interval(spec, inner_spec, interval, kinds, depth)
    form = _FORM.fullmatch(spec)
    if form is None:
        raise BadInput(_form_error(spec))
    head, input_name, inner = form["head"], form["input"], form["inner"]
    indicator = _create(spec, head, kinds)
    if input_name is None and inner is None:
        return indicator
    if not indicator.accepts_input:
        accepting = ", ".join(name for name, one in kinds.items() if one.accepts_input)
        raise BadInput(
            f"indicator {spec!r}: {type(indicator).kind} reads more than the close, so it accepts no other input; "
            f"write {head}. Indicators that accept one: {accepting}"
        )
    if input_name is not None:
        return _of_input(spec, head, input_name, indicator)
    if inner in INPUTS:
        raise BadInput(f"indicator {spec!r}: {inner} is an input of the bar; write {head}@{inner}")
    try:
        inner_indicator, inner_spec, suffix = parse_value(inner, kinds, depth + 1)
    except BadInput as error:
        raise BadInput(f"indicator {spec!r}: {error}") from error
    return IndicatorOfIndicator(indicator, inner_indicator, inner_spec, suffix)


def parse_value(name: str, kinds: Kinds, depth: int = 1) -> tuple[Indicator, str, str]:
    """Return the indicator, the spec and the suffix of the value `name`, such as `macd_12_26_9_signal`.

    Raises BadInput if any part of it is wrong, and if the indicator has several values and `name` selects none.
    """
    kind = kind_of(name, kinds)
    suffixes = kinds[kind].suffixes if kind is not None else ("",)
    for suffix in sorted(suffixes, key=len, reverse=True):
        if name.endswith(suffix):
            spec = name.removesuffix(suffix)
            return parse(spec, kinds, depth), spec, suffix
    parse(name, kinds, depth)  # an error in the spec is the better message
    names = [name + suffix for suffix in suffixes]
    raise BadInput(f"indicator {name!r} has several values; select one of {', '.join(names)}")


def kind_of(spec: str, kinds: Iterable[str]) -> str | None:
    """Return the kind of a spec, which may contain `_`; None if it is unknown. The longest one counts."""
    head = re.split(r"[(@]", spec, maxsplit=1)[0]
    matches = [kind for kind in kinds if head == kind or head.startswith(f"{kind}_")]
    return max(matches, key=len, default=None)


def _create(spec: str, head: str, kinds: Kinds) -> Indicator:
    kind = kind_of(head, kinds)
    if kind is None:
        raise BadInput(_unknown_kind(spec, head, kinds))
    texts = head.removeprefix(kind).split("_")[1:]
    parameters = kinds[kind].parameters
    if len(texts) != len(parameters):
        raise BadInput(f"indicator {spec!r} must have the form {spec.replace(head, template(kinds[kind]), 1)}")
    numbers = [_parse_number(spec, text, parameters[name]) for name, text in zip(parameters, texts, strict=True)]
    create: Callable[..., Indicator] = kinds[kind]  # each class declares its own arguments in `parameters`
    return create(spec, *numbers)


def _of_input(spec: str, head: str, name: str, indicator: Indicator) -> Indicator:
    if name == "close":
        raise BadInput(f"indicator {spec!r}: the close is the default input; write {head}")
    if name not in INPUTS:
        suggestion = did_you_mean(name, INPUTS) or "."
        raise BadInput(
            f"indicator {spec!r}: unknown input {name!r}{suggestion} Known inputs: {', '.join(INPUTS)}. "
            f"For the values of an indicator, write {head}(rsi_14)"
        )
    return IndicatorOfInput(indicator, INPUTS[name])


def _of_interval(spec: str, inner_spec: str, interval: str, kinds: Kinds, depth: int) -> Indicator:
    if depth > 1 or _INTERVAL.fullmatch(inner_spec.rpartition("@")[2]):
        raise BadInput(f"indicator {spec!r}: an interval is written once, at the end, such as ema_20(rsi_14)@15m")
    inner = parse(inner_spec, kinds)
    try:
        parsed = parse_interval(interval)
    except BadInput as error:
        raise BadInput(f"indicator {spec!r}: {error}") from error
    if is_of_trades(parsed):
        raise BadInput(f"indicator {spec!r}: the bars of the feed do not contain the number of trades")
    return IndicatorOfInterval(spec, inner, inner_spec, parsed)


def _unknown_kind(spec: str, head: str, kinds: Kinds) -> str:
    words = head.split("_")
    # Parameters are numbers, so the words before the first number are the kind.
    count = next((i for i, word in enumerate(words) if word[:1].isdigit()), len(words))
    kind, rest = "_".join(words[:count]), spec.removeprefix("_".join(words[:count]))
    if kind in _OF_TWO_SYMBOLS:
        return (
            f"indicator {spec!r} reads two symbols, but view strategies, the settings and other indicators read one; "
            "only a trading strategy can declare it in `features`"
        )
    suggestion = did_you_mean(kind, kinds)
    if suggestion:
        similar = suggestion.removeprefix("; did you mean ").removesuffix("?")
        return f"unknown indicator {spec!r}; did you mean {similar}{rest}? Its form is {template(kinds[similar])}"
    return f"unknown indicator {spec!r}. Known indicators: {', '.join(map(template, kinds.values()))}"


def _form_error(spec: str) -> str:
    both = re.fullmatch(r"([^()@]*)\((.*)\)@([^()@]*)", spec)
    if both is not None:
        return f"indicator {spec!r} has two inputs; write {both[1]}({both[2]}@{both[3]}) or {both[1]}@{both[3]}"
    if spec.count("(") != spec.count(")"):
        return f"indicator {spec!r}: its parentheses do not match; write for example ema_20(rsi_14)"
    return f"indicator {spec!r} must have the form ema_20, ema_20@volume or ema_20(rsi_14)"


def _parse_number(spec: str, text: str, kind: type[int] | type[float]) -> float:
    # Each number has one spelling, because a spec is a key: `ema_012` would be a second key of `ema_12`.
    digits = text.replace(".", "", 1) if kind is float else text
    if not (digits.isascii() and digits.isdigit()) or text.startswith(".") or text.endswith("."):
        raise BadInput(f"indicator {spec!r}: {text!r} is not {'a whole' if kind is int else 'a'} number")
    value = kind(text)
    if text not in (str(value), f"{value:g}"):
        raise BadInput(f"indicator {spec!r}: write {text!r} as {value:g}")
    return value
