"""Numbers, times and texts as a report shows them."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from datetime import UTC, datetime

MISSING = "–"
NumberFormat = Callable[[float | None], str]


def percent(value: float | None) -> str:
    """
    >>> percent(0.1234), percent(-0.00012), percent(None)
    ('12.34 %', '-0.012 %', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:.2%}".replace("%", " %") if abs(value) >= 0.001 or not value else f"{100 * value:.2g} %"


def ratio(value: float | None) -> str:
    """
    >>> ratio(1.23456), ratio(0.0125), ratio(None)
    ('1.23', '0.013', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.2g}"


def one_decimal(value: float | None) -> str:
    """
    >>> one_decimal(69.2083)
    '69.2'
    """
    return MISSING if value is None or math.isnan(value) else f"{value:.1f}"


def money(value: float | None) -> str:
    """
    >>> money(1234567.891), money(-12.3)
    ('1,234,567.89', '-12.30')
    """
    return MISSING if value is None or math.isnan(value) else f"{value:,.2f}"


def short_money(value: float | None) -> str:
    """Return an amount for the axis of a chart.

    >>> short_money(1_250_000), short_money(99_850), short_money(12.5)
    ('1.25 M', '99.85 k', '12.5')
    """
    if value is None or math.isnan(value):
        return MISSING
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.6g}{unit}"
    return f"{value:.6g}"


def plain_number(value: float | None) -> str:
    """
    >>> plain_number(1234.5), plain_number(3.0), plain_number(0.000123456)
    ('1,234.5', '3', '0.000123456')
    """
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.2f}"


def utc_text(ts_ns: int) -> str:
    """
    >>> utc_text(1_704_205_800_000_000_000)
    '2024-01-02 14:30'
    """
    return datetime.fromtimestamp(ts_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M")


def escaped(text: object) -> str:
    """Return a text for HTML."""
    return html.escape(str(text))
