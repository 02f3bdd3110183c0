"""The result of a risk check: passed or rejected, the value found, the limit, and a message for the trader."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import NamedTuple

from operators.risk.settings import Limit
from schemas.records import CheckResult

_CENT = Decimal("0.01")


class Refusal(NamedTuple):
    """A rejection: the check, the value found, the limit, and the message for the trader."""

    check: str
    found: str
    limit: str
    message: str


class PassedLimit(NamedTuple):
    """A passed check that compares a number. Its texts are formatted only if the order lists its checks.

    `found` can be a function, for a number that only the text needs.

    >>> PassedLimit("cash", Decimal("12400.5"), Decimal(20000), money=True).to_result()
    CheckResult(check='cash', found='12,400.50', limit='20,000.00')
    """

    check: str
    found: Decimal | Callable[[], Decimal]
    limit: Decimal | str
    money: bool

    def to_result(self) -> CheckResult:
        found = self.found if isinstance(self.found, Decimal) else self.found()
        found_text = money_text(found) if self.money else number_text(found)
        limit_text = self.limit
        if isinstance(limit_text, Decimal):
            limit_text = limit_money_text(limit_text) if self.money else limit_number_text(limit_text)
        return CheckResult(self.check, found_text, limit_text)


Verdict = CheckResult | PassedLimit | Refusal
"""A `CheckResult` or `PassedLimit` passes the order; a `Refusal` rejects it."""


def listed_result(verdict: CheckResult | PassedLimit) -> CheckResult:
    """Return a passed check as an order lists it."""
    return verdict.to_result() if isinstance(verdict, PassedLimit) else verdict


def passed(check: str, value: str, limit: str) -> CheckResult:
    return CheckResult(check, value, limit)


def refused(check: str, symbol: str, template: str, value: str, limit: str) -> Refusal:
    """Reject an order. `template` describes the effect, with `{}` for the value and the unit after it.

    >>> refused("max_position", "AAPL", "position would be {} units", "12,400", "10,000").message
    'max_position: AAPL position would be 12,400 units, limit 10,000'
    """
    return Refusal(check, value, limit, f"{check}: {symbol} {template.format(value)}, limit {limit}")


def check_limit(
    check: str, symbol: str, template: str, value: Decimal, limit: Limit, *, money: bool = False
) -> Verdict:
    """Reject the order if `value` is above `limit` or if the limit is not set. A value equal to the limit passes."""
    # `limit` is text only if it is UNLIMITED. To compare a Decimal with text takes ten times as long.
    if limit is not None and (isinstance(limit, str) or value <= limit):
        return PassedLimit(check, value, limit, money)
    value_text = money_text(value) if money else number_text(value)
    if limit is None:
        message = f"{check}: {symbol} order is rejected because the limit is not set. Set a number or unlimited"
        return Refusal(check, value_text, "not set", message)
    limit_text = limit_money_text(limit) if money else limit_number_text(limit)
    return refused(check, symbol, template, value_text, limit_text)


def refuse_unpriced(check: str, symbol: str) -> Verdict:
    """Reject the order because the portfolio contains `symbol`, which has no price, so it cannot be valued."""
    message = f"{check}: the portfolio cannot be valued, no market data for {symbol} yet"
    return Refusal(check, "unknown", "known", message)


def number_text(value: Decimal) -> str:
    """Format a number with thousands separators and without trailing zeros.

    >>> number_text(Decimal("12400.500"))
    '12,400.5'
    >>> number_text(Decimal("1E+4"))
    '10,000'
    """
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def money_text(value: Decimal) -> str:
    """Format money to the cent, or with all its digits if rounding to the cent would change it.

    >>> money_text(Decimal("50000")), money_text(Decimal("50000.001"))
    ('50,000.00', '50,000.001')
    """
    cents = value.quantize(_CENT, rounding=ROUND_HALF_EVEN)
    return f"{cents:,f}" if cents == value else number_text(value)


# Cached: every order prints the same few limits, while the values differ each time.
limit_number_text, limit_money_text = lru_cache(maxsize=256)(number_text), lru_cache(maxsize=256)(money_text)
