"""Settled cash, interest and borrow fees, and dividends.

These classes supplement the ledger. They return due amounts as `Charge`s, which `Ledger.book_charge` books. Until then
the amounts are accrued: equity with accruals = equity + `Accruals.accrued` + `Dividends.receivable`. Days are proleptic
ordinals (`datetime.date.toordinal`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import Any, NamedTuple

from operators.ledger.corporate_actions import CashDividend
from operators.money import ZERO, divide, is_not_negative, multiply, quantize
from schemas.errors import BadInput, InvalidField
from schemas.records import BORROW_FEE, DIVIDEND, MARGIN_INTEREST, SHORT_DIVIDEND, CashFlowKind, ChargeKind


class Charge(NamedTuple):
    """Money due on `day`, positive if received and negative if paid.

    `symbol` is "" for interest on the account. `cause_id` is the corporate action, or "". `accrued` is income that is
    due but not paid yet: positive at the ex-date of a dividend, the opposite at its payment.
    """

    day: int
    kind: CashFlowKind
    symbol: str
    amount: Decimal
    cause_id: str = ""
    accrued: Decimal = ZERO


class SettledCash:
    """Split cash into settled and unsettled. `settled + unsettled` always equals the ledger's cash.

    The proceeds of a sale settle `days` sessions later (T+1 in the US since 28 May 2024: 17 CFR 240.15c6-1). The cost
    of a purchase, charges and dividends settle immediately. Raises BadInput if `days` is negative.
    """

    def __init__(self, cash: Decimal, *, days: int = 1) -> None:
        if days < 0:
            raise BadInput(f"settlement days must be >= 0, found {days}")
        self._days = days
        self.settled = quantize(cash)
        self._unsettled = [ZERO] * days  # by session, the next to settle first

    @property
    def unsettled(self) -> Decimal:
        return sum(self._unsettled, ZERO)

    def book_trade(self, amount: Decimal) -> None:
        """Book the cash of a trade after fees: negative for a purchase, positive for a sale."""
        if amount > 0 and self._days:
            self._unsettled[-1] += amount
        else:
            self.settled += amount

    def book_income(self, amount: Decimal) -> None:
        """Book income or a charge, which settles immediately."""
        self.settled += amount

    def start_session(self) -> None:
        """Start a new session. The amounts due in it settle before its first trade."""
        if self._days:
            self.settled += self._unsettled[0]
            self._unsettled = [*self._unsettled[1:], ZERO]

    def snapshot(self) -> tuple[Any, ...]:
        return (1, self.settled, list(self._unsettled))

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Restore a snapshot. If `days` has decreased, later amounts settle with the last remaining session."""
        version, self.settled, unsettled = snapshot
        assert version == 1, f"settled cash snapshot: version {version}, expected 1"
        self._unsettled = [*unsettled, *[ZERO] * self._days][: self._days]
        self.book_trade(sum(unsettled[self._days :], ZERO))


@dataclass(frozen=True, kw_only=True)
class AccrualSettings:
    """Annual rates as fractions (0.06 is 6 %), accrued per night over a year of `year_days`. Collateral is `collateral`
    times the price, rounded up to a whole unit of currency, times the shares (the industry convention, as Interactive
    Brokers describes it under "Short Stock Borrow Fees").

    margin_rate   [fraction per year] charged on settled cash below zero
    credit_rate   [fraction per year] paid on settled cash above zero
    borrow_rate   [fraction per year] charged on the collateral of shares sold short, for symbols without a rate in
                  `borrow_rates`
    borrow_rates  [fraction per year] borrow rates by symbol, in place of `borrow_rate`
    collateral    [multiple] collateral of a share sold short as a multiple of its price
    year_days     [days] length of a year: 360 or 365

    Raises BadInput for a value out of range.
    """

    margin_rate: Decimal = Decimal("0.06")
    credit_rate: Decimal = Decimal(0)
    borrow_rate: Decimal = Decimal("0.003")
    borrow_rates: Mapping[str, Decimal] | None = None
    collateral: Decimal = Decimal("1.02")
    year_days: int = 360

    def __post_init__(self) -> None:
        rates = {"margin_rate": self.margin_rate, "credit_rate": self.credit_rate, "borrow_rate": self.borrow_rate}
        rates |= {f"borrow_rates of {symbol}": rate for symbol, rate in (self.borrow_rates or {}).items()}
        for name, rate in rates.items():
            if not is_not_negative(rate):
                raise BadInput(f"accruals {name} must be >= 0, found {rate}")
        if not self.collateral.is_finite() or self.collateral < 1:
            raise BadInput(f"accruals collateral must be >= 1, found {self.collateral}")
        if self.year_days not in (360, 365):
            raise BadInput(f"accruals year_days must be 360 or 365, found {self.year_days}")


class ShortPosition(NamedTuple):
    """A short position at the end of a day. `quantity` is positive."""

    quantity: Decimal
    price: Decimal


class Accruals:
    """Accrue interest and borrow fees per night on the end-of-day balances. They are due at the first close of a month.

    The nights of a weekend or holiday accrue on the balances of the last day before it.
    """

    def __init__(self, settings: AccrualSettings | None = None) -> None:
        self._settings = settings or AccrualSettings()
        self._rates = dict(self._settings.borrow_rates or {})
        self._day = 0
        self._nightly: dict[tuple[ChargeKind, str], Decimal] = {}  # (kind, symbol) -> amount per night
        self._accrued: dict[tuple[ChargeKind, str], Decimal] = {}

    @property
    def accrued(self) -> Decimal:
        """The accrued amount that is not booked yet, negative if payable."""
        return sum(self._accrued.values(), ZERO)

    def close_day(self, day: int, settled_cash: Decimal, shorts: Mapping[str, ShortPosition]) -> list[Charge]:
        """Accrue up to `day` and record its closing balances. Return all accrued amounts if a month has ended.

        Raises `InvalidField` if `day` is not after the previous one.
        """
        if day <= self._day:
            raise InvalidField(f"accruals: day must be after {date.fromordinal(self._day)}, found {_iso(day)}")
        for key, amount in self._nightly.items():
            self._accrued[key] = self._accrued.get(key, ZERO) + amount * (day - self._day)
        due = self._pop_accrued(day) if self._day and _month(day) != _month(self._day) else []
        self._day = day
        self._nightly = self._nightly_charges(settled_cash, shorts)
        return due

    def _nightly_charges(
        self, settled_cash: Decimal, shorts: Mapping[str, ShortPosition]
    ) -> dict[tuple[ChargeKind, str], Decimal]:
        settings, nightly = self._settings, dict[tuple[ChargeKind, str], Decimal]()
        rate = settings.margin_rate if settled_cash < 0 else settings.credit_rate
        if settled_cash and rate:
            nightly[MARGIN_INTEREST, ""] = self._nightly_interest(settled_cash, rate)
        for symbol in sorted(shorts):
            quantity, price = shorts[symbol]
            collateral = (price * settings.collateral).to_integral_value(rounding=ROUND_CEILING)
            rate = self._rates.get(symbol, settings.borrow_rate)
            if rate:
                nightly[BORROW_FEE, symbol] = -self._nightly_interest(multiply(quantity, collateral), rate)
        return nightly

    def _nightly_interest(self, balance: Decimal, rate: Decimal) -> Decimal:
        return divide(multiply(balance, rate), Decimal(self._settings.year_days))

    def _pop_accrued(self, day: int) -> list[Charge]:
        due = [Charge(day, kind, symbol, amount) for (kind, symbol), amount in self._accrued.items() if amount]
        self._accrued = {}
        return sorted(due)

    def snapshot(self) -> tuple[Any, ...]:
        nightly = [(kind, symbol, amount) for (kind, symbol), amount in self._nightly.items()]
        accrued = [(kind, symbol, amount) for (kind, symbol), amount in self._accrued.items()]
        return (1, self._day, nightly, accrued)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        version, self._day, nightly, accrued = snapshot
        assert version == 1, f"accruals snapshot: version {version}, expected 1"
        self._nightly = {(kind, symbol): amount for kind, symbol, amount in nightly}
        self._accrued = {(kind, symbol): amount for kind, symbol, amount in accrued}


class Dividends:
    """Cash dividends between ex-date and pay date: receivable by longs, payable by shorts (payment in lieu)."""

    def __init__(self) -> None:
        self._payable: dict[str, tuple[int, str, Decimal]] = {}  # action id -> pay day, symbol, amount

    @property
    def receivable(self) -> Decimal:
        """Dividends receivable minus dividends payable."""
        return sum((amount for _, _, amount in self._payable.values()), ZERO)

    def record_ex_date(self, dividend: CashDividend, quantity: Decimal) -> None:
        """Record a dividend for the position (signed) at the start of the ex-date. A duplicate has no effect.

        Raises `InvalidField` if the amount is negative or the pay date is before the ex-date.
        """
        if not is_not_negative(dividend.per_share) or dividend.pay_day < dividend.ex_day:
            raise InvalidField(
                f"{dividend.action_id}: per_share must be >= 0 and pay_day not before ex_day, found {dividend}"
            )
        if quantity and dividend.per_share:
            self._payable[dividend.action_id] = (dividend.pay_day, dividend.symbol, dividend.amount_for(quantity))

    def pop_due(self, day: int) -> list[Charge]:
        """Remove and return the dividends paid on or before `day`, in order of pay date and id."""
        due = sorted((pay_day, action_id) for action_id, (pay_day, _, _) in self._payable.items() if pay_day <= day)
        charges = []
        for pay_day, action_id in due:
            _, symbol, amount = self._payable.pop(action_id)
            charges.append(
                Charge(
                    day=pay_day,
                    kind=DIVIDEND if amount > 0 else SHORT_DIVIDEND,
                    symbol=symbol,
                    amount=amount,
                    cause_id=action_id,
                )
            )
        return charges

    def snapshot(self) -> tuple[Any, ...]:
        return (1, [(action_id, *entry) for action_id, entry in self._payable.items()])

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        version, payable = snapshot
        assert version == 1, f"dividends snapshot: version {version}, expected 1"
        self._payable = {action_id: (pay_day, symbol, amount) for action_id, pay_day, symbol, amount in payable}


def _month(day: int) -> tuple[int, int]:
    as_date = date.fromordinal(day)
    return (as_date.year, as_date.month)


def _iso(day: int) -> str:
    return date.fromordinal(day).isoformat() if day > 0 else str(day)
