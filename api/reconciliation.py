"""The differences between the platform's books and the broker's, from the tables, and the command that accepts one.

The gateway finds the differences itself and checks an accepted one again (`operators/gateway`). The tables can be a
moment behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Connection, and_, desc, func, select

from api.problems import Conflict, NotFound
from operators.adjustments import PositionDifference, parse_difference, parse_signed
from operators.money import ZERO, plain
from schemas.errors import BadInput
from schemas.records import ADJUSTMENT, SUBMIT, BrokerAccount, GatewayStatus
from schemas.suggestions import did_you_mean
from sinks.record_tables import record_of
from sinks.tables import broker_accounts, executions, gateway_statuses, order_intents, positions, valuations


class BrokerPosition(NamedTuple):
    """One symbol on both sides, in signed units. The platform's side includes `foreign_positions`.

    `average_price` is the broker's average entry price; None if the broker has no position or reports no price.
    """

    symbol: str
    platform_quantity: Decimal
    broker_quantity: Decimal
    average_price: Decimal | None


class CashDifference(NamedTuple):
    """Cash of the ledger's last valuation and of the broker's last account snapshot."""

    platform: Decimal
    broker: Decimal

    def arguments(self) -> dict[str, str]:
        """Return the arguments of the `CASH_TRANSFER` command that books the difference as an adjustment."""
        return {"kind": ADJUSTMENT, "amount": plain(self.broker - self.platform), "reference": "reconciliation"}


class ReconciliationReport(NamedTuple):
    """The gateway's last status and the differences by the broker's last account snapshot.

    `state` and `account_ns` are None before the first one. `orders` are sentences on orders that only one side has.
    `cash` is None if both sides have the same, or before the first valuation.
    """

    state: str | None
    reason: str
    since_ns: int
    account_ns: int | None
    positions: tuple[BrokerPosition, ...]
    orders: tuple[str, ...]
    cash: CashDifference | None


def reconciliation_report(db: Connection, foreign: Mapping[str, Decimal]) -> ReconciliationReport:
    """Compare the tables with the broker's last account snapshot. `foreign` are the settings' `foreign_positions`."""
    status_row = db.execute(select(gateway_statuses).order_by(desc(gateway_statuses.c.seq)).limit(1)).mappings().first()
    status = None if status_row is None else record_of(GatewayStatus, status_row)
    account_row = (
        db.execute(select(broker_accounts).order_by(desc(broker_accounts.c.ts_ns)).limit(1)).mappings().first()
    )
    account = None if account_row is None else record_of(BrokerAccount, account_row)
    return ReconciliationReport(
        state=None if status is None else status.state,
        reason="the gateway has reported no status yet" if status is None else status.reason,
        since_ns=0 if status is None else status.ts_ns,
        account_ns=None if account is None else account.ts_ns,
        positions=() if account is None else _position_differences(db, account, foreign),
        orders=() if account is None else _order_differences(db, account),
        cash=None if account is None else _cash_difference(db, account),
    )


def accept_differences(
    report: ReconciliationReport, symbol: str | None, price: Decimal | None
) -> list[PositionDifference]:
    """Return the difference of one symbol, or with `symbol` None all of them, as a person accepts them.

    Without `price`, the broker's average entry price counts. Raises Conflict if the gateway has no snapshot, NotFound
    if there is no difference, and BadInput if a price is missing or malformed.
    """
    if report.account_ns is None:
        raise Conflict("The broker has reported no account yet, so there is nothing to accept.")
    by_symbol = {one.symbol: one for one in report.positions}
    if symbol is not None and symbol not in by_symbol:
        found = ", ".join(by_symbol) or "none"
        suggestion = did_you_mean(symbol, by_symbol) or "."
        raise NotFound(f"No difference of {symbol} between the books{suggestion} Symbols with a difference: {found}")
    if not by_symbol:
        raise NotFound("The positions of the platform and of the broker are equal.")
    chosen = [by_symbol[symbol]] if symbol is not None else list(by_symbol.values())
    if price is not None and len(chosen) > 1:
        raise BadInput("A price applies to one symbol; accept the symbols one by one.")
    return [_with_price(one, price) for one in chosen]


def _with_price(position: BrokerPosition, price: Decimal | None) -> PositionDifference:
    price = position.average_price if price is None else price
    if price is None:
        raise BadInput(f"The broker reports no average entry price of {position.symbol}: give the price of the change.")
    difference = PositionDifference(
        symbol=position.symbol,
        platform_quantity=position.platform_quantity,
        broker_quantity=position.broker_quantity,
        price=price,
    )
    return parse_difference(difference.arguments())


def _position_differences(
    db: Connection, account: BrokerAccount, foreign: Mapping[str, Decimal]
) -> tuple[BrokerPosition, ...]:
    query = select(positions.c.symbol, positions.c.quantity).where(positions.c.quantity != 0)
    own: dict[str, Decimal] = {row.symbol: row.quantity for row in db.execute(query)}
    differing: list[BrokerPosition] = []
    for symbol in sorted({*own, *account.positions, *foreign}):
        platform = own.get(symbol, ZERO) + foreign.get(symbol, ZERO)
        broker = parse_signed(account.positions.get(symbol, "0"))
        if broker is not None and broker != platform:
            average = parse_signed(account.average_prices.get(symbol, ""))
            price = average if average is not None and average > 0 else None
            differing.append(BrokerPosition(symbol, platform, broker, price))
    return tuple(differing)


def _cash_difference(db: Connection, account: BrokerAccount) -> CashDifference | None:
    query = select(valuations.c.cash).order_by(desc(valuations.c.seq)).limit(1)
    cash: Decimal | None = db.execute(query).scalar()
    return None if cash is None or cash == account.cash else CashDifference(platform=cash, broker=account.cash)


def _order_differences(db: Connection, account: BrokerAccount) -> tuple[str, ...]:
    """Describe the orders that only one side has open. An order sent after the snapshot is not judged."""
    last = (
        select(executions.c.order_id, func.max(executions.c.seq).label("seq"))
        .group_by(executions.c.order_id)
        .subquery()
    )
    leaves = select(executions.c.order_id).join(
        last, and_(executions.c.order_id == last.c.order_id, executions.c.seq == last.c.seq)
    )
    working = {row.order_id for row in db.execute(leaves.where(executions.c.leaves_quantity > 0))}
    intents = select(order_intents).where(order_intents.c.kind == SUBMIT, order_intents.c.order_id.in_(working))
    newest: dict[str, tuple[str, int]] = {}
    for row in db.execute(intents.order_by(order_intents.c.seq)):
        newest[row.order_id] = (row.client_order_id, row.ts_ns)
    here = {name for name, ts_ns in newest.values() if ts_ns <= account.ts_ns}
    known = {name for name, _ in newest.values()}
    unknown = [f"order {name} is open at the broker but not here" for name in sorted(set(account.open_orders) - known)]
    missing = [f"order {name} is open here but not at the broker" for name in sorted(here - set(account.open_orders))]
    return (*unknown, *missing)


def describe(difference: PositionDifference) -> str:
    """Return one sentence for a person.

    >>> describe(PositionDifference("SPY", Decimal(10), Decimal(4), Decimal("501.5")))
    'SPY: 10 here, 4 at the broker: sell 6 at 501.5'
    """
    action = "buy" if difference.change > 0 else "sell"
    sides = f"{plain(difference.platform_quantity)} here, {plain(difference.broker_quantity)} at the broker"
    return f"{difference.symbol}: {sides}: {action} {plain(abs(difference.change))} at {plain(difference.price)}"


def describe_all(differences: Sequence[PositionDifference]) -> str:
    return "; ".join(describe(one) for one in differences)
