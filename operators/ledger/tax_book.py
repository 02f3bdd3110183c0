"""Tax lots of any number of symbols under one method, with or without wash sales, from trades in order of time.

To compare methods, feed the same trades to several books: `{method: TaxBook(method) for method in METHODS}`. A tax book
contains no cash and does not change the account's ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from operators.ledger.corporate_actions import (
    Delisting,
    LedgerAction,
    Split,
    StockDividend,
    SymbolChange,
    fractional_part,
    validate_ledger_action,
)
from operators.ledger.lots import FIFO, ClosedLot, LotBook, OpenLot
from operators.ledger.wash_sales import DAY_NS, LossSale, WashSales
from operators.money import ONE, ZERO, is_not_negative, is_positive, multiply, quantize
from schemas.errors import InvalidField
from schemas.records import BUY, TRADE, Execution


class TaxTrade(NamedTuple):
    """One fill. `quantity` is signed, `fee` is in account currency. `ts_ns` is the exchange's time and sets the day.

    Fills with the same `purchase_id` (an order id) count as one purchase for wash sales.
    """

    trade_id: str
    ts_ns: int
    symbol: str
    quantity: Decimal
    price: Decimal
    fee: Decimal = ZERO
    multiplier: Decimal = ONE
    purchase_id: str = ""


def to_tax_trade(execution: Execution, multiplier: Decimal = ONE) -> TaxTrade | None:
    """Convert an execution report to a trade; None for a report other than TRADE."""
    if execution.exec_type != TRADE:
        return None
    quantity = execution.quantity if execution.side == BUY else -execution.quantity
    amounts = (quantity, execution.price, execution.fee, multiplier)
    return TaxTrade(execution.execution_id, execution.filled_at_ns, execution.symbol, *amounts, execution.order_id)


def _validate_trade(trade: TaxTrade) -> None:
    if not is_positive(abs(trade.quantity)):
        raise InvalidField(f"{trade.trade_id}: quantity must be a number other than 0, found {trade.quantity}")
    if not is_not_negative(trade.price):
        raise InvalidField(f"{trade.trade_id}: price must be >= 0, found {trade.price}")
    if not is_positive(trade.multiplier):
        raise InvalidField(f"{trade.trade_id}: multiplier must be > 0, found {trade.multiplier}")
    if not trade.fee.is_finite():
        raise InvalidField(f"{trade.trade_id}: fee must be a number, found {trade.fee}")


class TaxMatch:
    """A part of a lot and the trade that closed it. Values are positive for long and negative for short matches.

    `pnl` is exit value minus entry value, before fees. `gain` is the taxable gain: `pnl` minus fees and minus the loss
    that an earlier wash sale carried into the lot, plus the disallowed loss of this match. This loss can still
    increase for 30 days.
    """

    __slots__ = (
        "_sale",
        "close_id",
        "closed_lot",
        "closed_ns",
        "exit_price",
        "holding_from_ns",
        "open_id",
        "opened_ns",
        "symbol",
    )

    def __init__(self, symbol: str, closed_lot: ClosedLot, trade: TaxTrade, sale: LossSale | None) -> None:
        self.symbol = symbol
        self.closed_lot = closed_lot
        self.open_id = closed_lot.lot.lot_id
        self.opened_ns = closed_lot.lot.opened_ns
        self.holding_from_ns = closed_lot.lot.holding_from_ns
        self.close_id = trade.trade_id
        self.closed_ns = trade.ts_ns
        self.exit_price = trade.price
        self._sale = sale

    @property
    def direction(self) -> str:
        return "LONG" if self.closed_lot.quantity > 0 else "SHORT"

    @property
    def quantity(self) -> Decimal:
        return abs(self.closed_lot.quantity)

    @property
    def pnl(self) -> Decimal:
        return self.closed_lot.pnl

    @property
    def fees(self) -> Decimal:
        """The allocated parts of the opening and the closing fee."""
        return self.closed_lot.entry_fees + self.closed_lot.exit_fees

    @property
    def disallowed_loss(self) -> Decimal:
        return ZERO if self._sale is None else self._sale.disallowed

    @property
    def gain(self) -> Decimal:
        return self.pnl - self.fees - self.closed_lot.carried_loss + self.disallowed_loss


class TaxBook:
    """Lots and matches under `method` (one of `lots.METHODS`). With `wash_sales`, IRS Pub. 550 disallows losses.

    Trades and corporate actions must arrive in order of time; otherwise `InvalidField` is raised.
    """

    def __init__(self, method: str = FIFO, *, wash_sales: bool = False) -> None:
        self.method = LotBook(method).method
        self._with_wash_sales = wash_sales
        self._books: dict[str, LotBook] = {}
        self._wash_sales_of: dict[str, WashSales] = {}
        self._multipliers: dict[str, Decimal] = {}
        self._day = -(2**31)

    def apply_trade(self, trade: TaxTrade, lot_ids: Sequence[str] = ()) -> list[TaxMatch]:
        """Book one fill. With the method `specific`, the lots in `lot_ids` (ids of opening trades) are closed first.

        Raises `InvalidField` for a value out of range and for a multiplier that differs from the open position's.
        """
        self._advance_day(trade.trade_id, trade.ts_ns)
        _validate_trade(trade)
        book = self._book(trade.symbol)
        if book.quantity and self._multipliers[trade.symbol] != trade.multiplier:
            expected = f"{self._multipliers[trade.symbol]} as for the open position"
            raise InvalidField(
                f"{trade.trade_id}: multiplier of {trade.symbol} must be {expected}, found {trade.multiplier}"
            )
        self._multipliers[trade.symbol] = trade.multiplier
        price, quantity, fee = quantize(trade.price), quantize(trade.quantity), quantize(trade.fee)
        value = multiply(multiply(quantity, price), trade.multiplier)
        closed_lots, remaining, value, fee = book.close(quantity, value, fee, lot_ids)
        matches = [
            TaxMatch(trade.symbol, closed_lot, trade, self._loss_sale(closed_lot, trade)) for closed_lot in closed_lots
        ]
        symbol_wash_sales = self._wash_sales_of.get(trade.symbol)
        if symbol_wash_sales is not None:
            symbol_wash_sales.record_loss_sales([match._sale for match in matches if match._sale is not None])
        if remaining:
            lot = OpenLot(
                trade.trade_id, trade.ts_ns, remaining, price, value, fee, trade.purchase_id or trade.trade_id
            )
            book.open(lot)
            if symbol_wash_sales is not None:
                symbol_wash_sales.record_purchase(lot)
        return matches

    def apply_action(self, action: LedgerAction) -> list[TaxMatch]:
        """Apply a corporate action. Returns the matches of a fraction paid out or of a delisting."""
        validate_ledger_action(action)
        self._advance_day(action.action_id, action.ts_ns)
        symbol = action.symbol
        book = self._books.get(symbol)
        if book is None:
            return []
        if isinstance(action, SymbolChange):
            self._rename(symbol, action.new_symbol)
        elif isinstance(action, Delisting) and book.quantity:
            return self._close(action.action_id, action.ts_ns, symbol, book.quantity, action.price)
        elif isinstance(action, Split | StockDividend):
            book.split(action.ratio)
            if symbol in self._wash_sales_of:
                self._wash_sales_of[symbol].split(action.ratio)
            fraction = fractional_part(book.quantity)
            if action.cash_in_lieu is not None and fraction:
                return self._close(action.action_id, action.ts_ns, symbol, fraction, action.cash_in_lieu)
        return []

    def open_lots(self) -> Iterator[tuple[str, Decimal, OpenLot]]:
        """Yield symbol, multiplier and lot of all open lots: symbols in order of first trade, the oldest lot first."""
        for symbol, book in self._books.items():
            for lot in book.open_lots():
                yield symbol, self._multipliers[symbol], lot

    def _book(self, symbol: str) -> LotBook:
        book = self._books.get(symbol)
        if book is None:
            book = self._books[symbol] = LotBook(self.method)
            if self._with_wash_sales:
                self._wash_sales_of[symbol] = WashSales(book)
        return book

    def _close(self, cause: str, ts_ns: int, symbol: str, quantity: Decimal, price: Decimal) -> list[TaxMatch]:
        return self.apply_trade(TaxTrade(cause, ts_ns, symbol, -quantity, price, ZERO, self._multipliers[symbol]))

    def _loss_sale(self, closed_lot: ClosedLot, trade: TaxTrade) -> LossSale | None:
        loss = closed_lot.entry_fees + closed_lot.exit_fees + closed_lot.carried_loss - closed_lot.pnl
        if not self._with_wash_sales or loss <= 0:
            return None
        day, lot = trade.ts_ns // DAY_NS, closed_lot.lot
        holding_ns = (day - lot.holding_from_ns // DAY_NS) * DAY_NS
        units = abs(closed_lot.quantity)
        is_long = closed_lot.quantity > 0
        return LossSale(
            day=day, is_long=is_long, units=units, loss=loss, holding_ns=holding_ns, purchase_id=lot.execution_id
        )

    def _rename(self, symbol: str, new_symbol: str) -> None:
        old_book, new_book = self._books[symbol], self._book(new_symbol)
        if old_book.quantity * new_book.quantity < 0:
            raise InvalidField(f"{symbol} cannot be renamed to {new_symbol}: one position is long, the other short")
        self._multipliers.setdefault(new_symbol, self._multipliers[symbol])
        new_book.absorb(old_book)
        if symbol in self._wash_sales_of:
            self._wash_sales_of[new_symbol].absorb(self._wash_sales_of.pop(symbol))
        del self._books[symbol]

    def _advance_day(self, cause: str, ts_ns: int) -> None:
        day = ts_ns // DAY_NS
        if day < self._day:
            raise InvalidField(f"{cause}: trades and corporate actions must be in order of time, found an earlier day")
        self._day = day
