"""What a check says: passed or refused, what it found, the limit, and a sentence for a person."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import NamedTuple

from operators.risk.settings import UNLIMITED, Limit
from schemas.records import CheckResult

_CENT = Decimal("0.01")


class Refusal(NamedTuple):
    """A check that refuses: what was found, the limit, and `message`, the sentence for a person."""

    check: str
    found: str
    limit: str
    message: str


Verdict = CheckResult | Refusal
"""A `CheckResult` lets the order pass."""


def passed(check: str, value: str, limit: str) -> CheckResult:
    return CheckResult(check, value, limit)


def refused(check: str, symbol: str, template: str, value: str, limit: str) -> Refusal:
    """
    >>> refused("max_position", "AAPL", "would be {} shares", "12,400", "10,000").message
    'max_position: AAPL would be 12,400 shares, limit 10,000'
    """
    return Refusal(check, value, limit, f"{check}: {symbol} {template.format(value)}, limit {limit}")


def check_limit(
    check: str, symbol: str, template: str, value: Decimal, limit: Limit, *, money: bool = False
) -> Verdict:
    """Refuse when `value` is above `limit`, or when there is no limit; the boundary itself passes."""
    value_text = money_text(value) if money else number_text(value)
    if limit is None:
        return Refusal(check, value_text, "not set", f"{check}: the limit is not set, so {symbol} is refused")
    if limit == UNLIMITED:
        return CheckResult(check, value_text, UNLIMITED)
    limit_text = limit_money_text(limit) if money else limit_number_text(limit)
    if value <= limit:
        return CheckResult(check, value_text, limit_text)
    return refused(check, symbol, template, value_text, limit_text)


def refuse_unpriced(check: str, symbol: str) -> Verdict:
    """A position that cannot be valued: nothing that depends on the whole book can be judged."""
    return Refusal(check, "unknown", "known", f"{check}: the price of {symbol}, which is held, is not known")


def number_text(value: Decimal) -> str:
    """
    >>> number_text(Decimal("12400.500"))
    '12,400.5'
    >>> number_text(Decimal("1E+4"))
    '10,000'
    """
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def money_text(value: Decimal) -> str:
    """Money to the cent, or to all its digits where a cent would hide some.

    >>> money_text(Decimal("50000")), money_text(Decimal("50000.001"))
    ('50,000.00', '50,000.001')
    """
    cents = value.quantize(_CENT, rounding=ROUND_HALF_EVEN)
    return f"{cents:,f}" if cents == value else number_text(value)


# Limits are few and said with every order; what is found is new each time.
limit_number_text, limit_money_text = lru_cache(maxsize=256)(number_text), lru_cache(maxsize=256)(money_text)
