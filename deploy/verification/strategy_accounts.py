"""Check the sub-accounts of the trading strategies against books rebuilt from executions and internal crosses.

The tables `strategy_accounts` and `strategy_positions` are read in one snapshot. Their newest row defines the time of
the comparison. Executions, crosses, proposals and cash flows are read afterwards and booked up to this time, into one
naive ledger for each strategy and one for the account (`deploy/verification/strategy_books.py`). Each sub-account must
equal its ledger. All of them and the remainder (manual orders, view strategies, interest) must sum to the account: the
quantity of each symbol, cash, fees, equity and total P&L.

The naive ledger does not round, so amounts of money may differ by the rounding of each booking, a few billionths. The
capital of a strategy is taken from its row, because its share was possibly different in earlier settings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from heapq import merge
from typing import TYPE_CHECKING, Any

from deploy.verification.ledger_tables import snapshot_connection
from deploy.verification.marks import RebuiltMarks
from deploy.verification.naive_ledger import NaiveLedger
from deploy.verification.strategy_books import StrategyBooks
from deploy.verification.verdict import FINDINGS_MAX, Comparison
from operators.money import ZERO, divide, multiply, to_decimal
from operators.reference_data import FIRST_PART, SECOND_PART, split_merger
from schemas.records import (
    CASH_DIVIDEND,
    CashFlow,
    CashTransfer,
    CorporateAction,
    ExchangeRate,
    Execution,
    InternalCross,
    OrderProposal,
    StrategyAccount,
    StrategyPosition,
)
from sinks.archived_partitions import archived_bars
from sinks.queries import first_action_slice_ns, latest_accounts, stream_records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg2.extensions import connection as Connection  # noqa: N812  (a class with a lower-case name)

    from operators.instruments import Instrument
    from sinks.archive.table_archive import TableArchive

CHECK_NAME = "strategy accounts"
_FLOW, _EXECUTION, _CROSS = 0, 1, 2
"""Order of the records of one time slice. The services read crosses and proposals one time slice later."""


def check_strategies(
    database_url: str,
    capital: Decimal,
    instruments: Iterable[Instrument],
    currency: str,
    archive: TableArchive | None = None,
) -> Comparison:
    """Compare the sub-accounts. `capital` is the initial one of the account, `archive` has the archived bars.

    Raises psycopg2.Error, and Unavailable if the archive is damaged.
    """
    with closing(snapshot_connection(database_url)) as db:
        accounts = {one.strategy: one for one in latest_accounts(db)}
        positions = list(stream_records(db, StrategyPosition))
    if not accounts:
        return Comparison(CHECK_NAME, 0, None, "no trading strategy has run")
    clock_ns = max([*(one.ts_ns for one in accounts.values()), *(one.ts_ns for one in positions)])
    with closing(snapshot_connection(database_url)) as later_db:
        rebuild = _StrategiesRebuild(later_db, capital, instruments, currency, accounts, archive)
        rebuild.book(clock_ns, {one.symbol for one in positions})
        findings = rebuild.compare(accounts, positions)
    first, more = (findings[0], tuple(findings[1:FINDINGS_MAX])) if findings else (None, ())
    return Comparison(CHECK_NAME, len(accounts) + len(positions) if first is None else 0, first, "", more)


class _StrategiesRebuild:
    def __init__(
        self,
        db: Connection,
        capital: Decimal,
        instruments: Iterable[Instrument],
        currency: str,
        trading: Collection[str],
        archive: TableArchive | None,
    ) -> None:
        self._db, self._capital = db, Fraction(capital)
        self._archived_bars = archived_bars(db, archive)
        listed = list(instruments)
        self._multipliers = {one.symbol: one.multiplier for one in listed}
        self._currencies = {one.symbol: one.currency for one in listed if one.currency != currency}
        parts = [part for each in stream_records(db, CorporateAction) for part in split_merger(each)]
        self._actions = {one.action_id: one for one in parts if isinstance(one, CorporateAction)}
        self._rates = list(stream_records(db, ExchangeRate))
        self._transfers = {one.transfer_id for one in stream_records(db, CashTransfer)}
        self._now_ns = 0
        self._marks = RebuiltMarks(db, archive)
        self.books = StrategyBooks(capital, self._unit_value, self._rate, trading)

    # -- booking

    def book(self, clock_ns: int, symbols: set[str]) -> None:
        """Book all records up to the time slice `clock_ns`. `symbols` are those of the strategies."""
        kinds = {CashFlow: _FLOW, Execution: _EXECUTION, OrderProposal: _CROSS, InternalCross: _CROSS}
        streams: list[Iterator[Any]] = [self._ranked(kind, rank) for kind, rank in kinds.items()]
        streams.append(iter(sorted(self._unrecorded_flows(symbols), key=lambda one: one[:3])))
        for ts_ns, rank, _, record in merge(*streams, key=lambda one: one[:3]):
            if (ts_ns, rank) > (clock_ns, _EXECUTION):
                break
            self._now_ns = ts_ns
            if isinstance(record, CashFlow):
                self._book_flow(record, in_account=bool(record.seq))
            elif isinstance(record, Execution):
                self._marks.on_execution(record)
                self.books.book_execution(record)
            elif isinstance(record, OrderProposal):
                self.books.record_proposal(record)
            else:
                self.books.book_cross(record)
        self._now_ns = clock_ns

    def _ranked(self, kind: type[Any], rank: int) -> Iterator[tuple[int, int, int, Any]]:
        return ((one.ts_ns, rank, one.seq, one) for one in stream_records(self._db, kind))

    def _book_flow(self, flow: CashFlow, *, in_account: bool) -> None:
        action = None if flow.cause_id in self._transfers else self._actions.get(flow.cause_id)
        if action is not None and action.kind == CASH_DIVIDEND:
            rate = self._rate(action.currency, flow.ts_ns)
            per_unit = divide(multiply(action.amount or ZERO, rate), self._unit_value(action.symbol))
            self._marks.on_dividend(flow.ts_ns, action, per_unit)
        elif action is not None:
            self._marks.on_corporate_action(flow.ts_ns, action)
        self.books.book_flow(flow, action, in_account=in_account)

    def _unrecorded_flows(self, symbols: set[str]) -> Iterator[tuple[int, int, int, CashFlow]]:
        """Yield the corporate actions for which the account has no cash flow, because its position was 0.

        Strategies can have positions then, which sum to 0. The action takes effect with the first bar of its day.
        """
        with self._db.cursor() as cursor:
            cursor.execute("SELECT cause_id, max(seq) FROM cash_flows GROUP BY cause_id")
            recorded: dict[str, int] = dict(cursor.fetchall())
        for action in self._actions.values():
            if action.action_id in recorded or action.symbol not in symbols:
                continue
            # The last part of a merger follows the exchange of shares, which is recorded also without a position.
            exchange = action.action_id.removesuffix(SECOND_PART) + FIRST_PART
            seq = recorded.get(exchange, 0) if action.action_id.endswith(SECOND_PART) else 0
            days: list[tuple[int, str]] = [(action.ex_date, action.kind)]
            if action.kind == CASH_DIVIDEND:
                days = [(max(action.ex_date, action.pay_date), "DIVIDEND")]
                if action.pay_date > action.ex_date:
                    days.insert(0, (action.ex_date, CASH_DIVIDEND))
            for day, kind in days:
                ts_ns = self._archived_bars.first_ns(action.ts_ns, day)
                if ts_ns is None:
                    ts_ns = first_action_slice_ns(self._db, action.ts_ns, day)
                if ts_ns is not None:
                    yield ts_ns, _FLOW, seq, _flow_without_position(ts_ns, kind, action)

    def _rate(self, currency: str, ts_ns: int) -> Decimal:
        known = [one for one in self._rates if one.base == currency and one.ts_ns <= ts_ns]
        return max(known, key=lambda one: one.ts_ns).rate if known else Decimal(1)

    def _unit_value(self, symbol: str) -> Decimal:
        multiplier, currency = self._multipliers.get(symbol, Decimal(1)), self._currencies.get(symbol)
        return multiplier if currency is None else multiply(multiplier, self._rate(currency, self._now_ns))

    # -- comparison

    def compare(self, accounts: dict[str, StrategyAccount], positions: list[StrategyPosition]) -> list[str]:
        """Return the differences as sentences: those of each strategy, then those of the sums."""
        findings: list[str] = []
        values = self._values(positions)
        for name, account in accounts.items():
            ledger = self.books.owner(name)
            own = [one for one in positions if one.strategy == name]
            findings += [f"sub-account of {name}: {text}" for text in _differences(account, own, ledger, values)]
        return findings + self._sum_differences(accounts, positions, values)

    def _values(self, positions: list[StrategyPosition]) -> dict[str, Fraction]:
        """Return the value of one unit of each symbol at the marks of the clock, in account currency."""
        symbols = {*self.books.account.lots, *(one.symbol for one in positions)}
        prices = self._marks.prices(sorted(symbols), self._now_ns)
        return {
            symbol: Fraction(to_decimal(price)) * Fraction(self._unit_value(symbol)) for symbol, price in prices.items()
        }

    def _sum_differences(
        self, accounts: dict[str, StrategyAccount], positions: list[StrategyPosition], values: dict[str, Fraction]
    ) -> list[str]:
        """Compare the sub-accounts and the remainder with the account."""
        account, findings = self.books.account, []
        others = [ledger for name, ledger in self.books.owners.items() if name not in accounts]
        tolerance = account.tolerance() + sum((one.tolerance() for one in self.books.owners.values()), Fraction(0))
        symbols = {*account.lots, *(one.symbol for one in positions)}
        for symbol in sorted(symbols):
            held = sum((Fraction(one.quantity) for one in positions if one.symbol == symbol), Fraction(0))
            remainder = sum((one.quantity(symbol) for one in others), Fraction(0))
            expected = account.quantity(symbol)
            if abs(held + remainder - expected) > tolerance:
                findings.append(
                    f"quantity of {symbol}: the sub-accounts hold {_text(held)} and the remainder {_text(remainder)}, "
                    f"expected {_text(expected)} of the account"
                )
        rows = list(accounts.values())
        capital = sum((Fraction(one.capital) for one in rows), Fraction(0))
        # Money that belongs to no strategy: the gains of other owners, the rest of the capital, and interest and fees.
        flows = account.cash - self._capital - sum((one.cash for one in self.books.owners.values()), Fraction(0))
        sums = {
            "cash": (sum((Fraction(one.cash) for one in rows), Fraction(0)), account.cash),
            "fees": (sum((Fraction(one.fees) for one in rows), Fraction(0)), account.fees),
            "equity": (sum((Fraction(one.equity) for one in rows), Fraction(0)), _equity(account, values)),
            "total P&L": (sum((Fraction(_profit(one)) for one in rows), Fraction(0)), _total_profit(account, values)),
        }
        cash = sum((one.cash for one in others), Fraction(0)) + self._capital - capital + flows
        own_equity = sum((_equity(one, values) for one in others), Fraction(0))
        equity = own_equity + self._capital - capital + flows
        # Interest and fees are P&L of the account alone, deposits and withdrawals of nobody.
        income = account.income - sum((one.income for one in self.books.owners.values()), Fraction(0))
        remainders = {"cash": cash, "fees": sum((one.fees for one in others), Fraction(0)), "equity": equity}
        remainders["total P&L"] = own_equity + income
        for name, (found, expected) in sums.items():
            if abs(found + remainders[name] - expected) > tolerance:
                findings.append(
                    f"{name}: the sub-accounts sum to {_text(found)} and the remainder is {_text(remainders[name])}, "
                    f"expected {_text(expected)} of the account"
                )
        return findings


def _differences(
    account: StrategyAccount, positions: list[StrategyPosition], ledger: NaiveLedger, values: dict[str, Fraction]
) -> Iterator[str]:
    """Yield how a sub-account and its positions differ from the rebuilt ledger of the strategy."""
    tolerance = ledger.tolerance()
    profit = _profit(account)
    capital = Fraction(account.capital)
    expected = {
        "cash": (account.cash, capital + ledger.cash),
        "fees": (account.fees, ledger.fees),
        "equity": (account.equity, capital + _equity(ledger, values)),
        "realized_pnl": (account.realized_pnl, ledger.realized + ledger.income),
        "realized_pnl + unrealized_pnl - fees": (profit, _equity(ledger, values)),
    }
    for name, (stored, rebuilt) in expected.items():
        if abs(Fraction(stored) - rebuilt) > tolerance:
            yield f"{name} is {stored} in PostgreSQL, expected {_text(rebuilt)} from the executions and crosses"
    stored_by_symbol = {one.symbol: one for one in positions}
    for symbol in sorted({*stored_by_symbol, *ledger.lots}):
        position = stored_by_symbol.get(symbol)
        amounts = {
            "quantity": (ZERO if position is None else position.quantity, ledger.quantity(symbol)),
            "cost_basis": (ZERO if position is None else position.cost_basis, ledger.cost(symbol)),
        }
        for name, (amount, rebuilt) in amounts.items():
            if abs(Fraction(amount) - rebuilt) > tolerance:
                expected_text = f"expected {_text(rebuilt)} from the executions and crosses"
                yield f"{name} of {symbol} is {amount} in PostgreSQL, {expected_text}"
    fees = sum((one.fees for one in positions), ZERO)
    if fees != account.fees:
        yield f"fees of its positions sum to {fees} in PostgreSQL, expected {account.fees}"


def _profit(account: StrategyAccount) -> Decimal:
    return account.realized_pnl + account.unrealized_pnl - account.fees


def _total_profit(ledger: NaiveLedger, values: dict[str, Fraction]) -> Fraction:
    """Return realized and unrealized P&L with income, less fees, without the money that was deposited."""
    cost = sum((ledger.cost(symbol) for symbol in ledger.lots), Fraction(0))
    value = _equity(ledger, values) - ledger.cash - sum(ledger.unpaid.values(), Fraction(0))
    return ledger.realized + ledger.income - ledger.fees + value - cost


def _equity(ledger: NaiveLedger, values: dict[str, Fraction]) -> Fraction:
    """Return cash, unpaid dividends and the value of the positions; at cost without a price."""
    total = ledger.cash + sum(ledger.unpaid.values(), Fraction(0))
    for symbol in ledger.lots:
        value = values.get(symbol)
        total += ledger.cost(symbol) if value is None else ledger.quantity(symbol) * value
    return total


def _flow_without_position(ts_ns: int, kind: str, action: CorporateAction) -> CashFlow:
    """Return the cash flow of an action that found no position in the account."""
    values: dict[str, Any] = dict.fromkeys(CashFlow._fields, ZERO)
    values |= {"seq": 0, "ts_ns": ts_ns, "cash_flow_id": "", "kind": kind, "symbol": action.symbol}
    return CashFlow(**values | {"cause_id": action.action_id})


def _text(amount: Fraction) -> str:
    return f"{float(amount):.9f}".rstrip("0").rstrip(".")
