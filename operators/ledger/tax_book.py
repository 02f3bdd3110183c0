"""Tax lots of any number of symbols under one method, with or without wash sales, from trades in order of time.

To compare methods, feed the same trades to several books: `{method: TaxBook(method) for method in METHODS}`. A tax book
contains no cash and does not change the account's ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_DOWN, Decimal

from operators.ledger.asset_kinds import AssetKind
from operators.ledger.corporate_actions import (
    Delisting,
    LedgerAction,
    MergerCash,
    SpinOff,
    Split,
    StockDividend,
    SymbolChange,
    validate_ledger_action,
)
from operators.ledger.lots import FIFO, ClosedLot, LotBook, LotMethod
from operators.ledger.open_lot import OpenLot
from operators.ledger.short_deliveries import deliver
from operators.ledger.tax_trades import TaxMatch, TaxTrade, validate_trade
from operators.ledger.wash_sales import DAY_NS, LossSale, WashSales
from operators.money import EIGHTEEN_PLACES, ZERO, plain
from schemas.errors import InvalidField

_exact_sums = EIGHTEEN_PLACES.exact_sums


class TaxBook:
    """Lots and matches under `method` (one of `lots.METHODS`). With `wash_sales`, IRS Pub. 550 disallows losses.

    Trades and corporate actions must arrive in order of time; otherwise `InvalidField` is raised. Quantities, prices
    and fees have at most 18 decimals; values are rounded to 18 decimals.
    """

    def __init__(self, method: LotMethod = FIFO, *, wash_sales: bool = False) -> None:
        self.method = LotBook(method).method
        self._with_wash_sales = wash_sales
        self._lots: dict[str, LotBook] = {}
        self._wash_sales_of: dict[str, WashSales] = {}
        self._last_trade_of: dict[str, TaxTrade] = {}  # multiplier and asset kind of a symbol
        self._day: int | None = None

    def apply_events(self, events: Iterable[TaxTrade | LedgerAction]) -> list[TaxMatch]:
        """Book a complete history. The fills of one order in one symbol on one day are one sale."""
        history = list(events)
        last_fills = {_sale_key(event): index for index, event in enumerate(history) if isinstance(event, TaxTrade)}
        matches: list[TaxMatch] = []
        for index, event in enumerate(history):
            if isinstance(event, TaxTrade):
                matches += self.apply_trade(event, is_last_fill=last_fills[_sale_key(event)] == index)
            else:
                matches += self.apply_action(event)
        return matches

    @_exact_sums
    def apply_trade(self, trade: TaxTrade, lot_ids: Sequence[str] = (), *, is_last_fill: bool = True) -> list[TaxMatch]:
        """Book one fill. With the method `specific`, the lots in `lot_ids` (ids of opening trades) are closed first.

        `is_last_fill` is False if a later trade of the same day is a fill of the same order. Raises `InvalidField` for
        a value out of range and for a multiplier that differs from the open position's.
        """
        self._advance_day(trade.trade_id, trade.ts_ns)
        validate_trade(trade)
        book = self._book(trade.symbol, trade.asset_kind)
        self._check_position(trade, book)
        self._last_trade_of[trade.symbol] = trade
        quantize = EIGHTEEN_PLACES.quantize
        price, quantity, fee = quantize(trade.price), quantize(trade.quantity), quantize(trade.fee)
        value = quantize(quantity * price * trade.multiplier)
        closed_lots, remaining, value, fee = book.close(quantity, value, fee, lot_ids)
        matches = [
            TaxMatch(trade.symbol, closed_lot, trade, self._loss_sale(closed_lot, trade)) for closed_lot in closed_lots
        ]
        wash_sales = self._wash_sales_of.get(trade.symbol)
        if wash_sales is not None:
            sales = [match.sale for match in matches if match.sale is not None]
            wash_sales.record_fill(trade.order_key, sales, is_last=is_last_fill)
        if remaining:
            lot = OpenLot(trade.trade_id, trade.ts_ns, remaining, price, value, fee, trade.order_key)
            book.open(lot)
            if wash_sales is not None:
                wash_sales.record_purchase(lot)
        return matches

    @_exact_sums
    def apply_action(self, action: LedgerAction) -> list[TaxMatch]:
        """Apply a corporate action. Return the matches of a fraction paid out, a delisting or the cash of a merger."""
        validate_ledger_action(action)
        self._advance_day(action.action_id, action.ts_ns)
        symbol = action.symbol
        book = self._lots.get(symbol)
        if book is None:
            return []
        if isinstance(action, SymbolChange):
            return self._rename(action)
        elif isinstance(action, SpinOff):
            return self._spin_off(book, action)
        elif isinstance(action, MergerCash):
            return self._pay_merger_cash(book, action)
        elif isinstance(action, Delisting) and book.quantity:
            return self._close(action.action_id, action.ts_ns, symbol, book.quantity, action.price)
        elif isinstance(action, Split | StockDividend):
            self._split(book, action)
            if symbol in self._wash_sales_of:
                self._wash_sales_of[symbol].split(action.ratio)
            fraction = book.quantity - book.quantity.to_integral_value(rounding=ROUND_DOWN)
            if action.cash_in_lieu is not None and fraction:
                return self._close(action.action_id, action.ts_ns, symbol, fraction, action.cash_in_lieu)
        return []

    @_exact_sums
    def open_lots(self) -> list[tuple[str, Decimal, OpenLot]]:
        """Return symbol, multiplier and lot of all open lots: symbols in order of first trade, the oldest lot first."""
        return [
            (symbol, self._last_trade_of[symbol].multiplier, lot)
            for symbol, book in self._lots.items()
            for lot in book.open_lots()
        ]

    def _book(self, symbol: str, asset_kind: AssetKind) -> LotBook:
        book = self._lots.get(symbol)
        if book is None:
            book = self._lots[symbol] = LotBook(self.method, EIGHTEEN_PLACES)
            if self._with_wash_sales and asset_kind is AssetKind.SECURITY:
                self._wash_sales_of[symbol] = WashSales(book)
        return book

    def _split(self, book: LotBook, action: Split | StockDividend) -> None:
        try:
            book.split(action.ratio)
        except InvalidField as error:
            raise InvalidField(f"{action.action_id}: {error}") from None

    def _spin_off(self, book: LotBook, action: SpinOff) -> list[TaxMatch]:
        """Open lots of the distributed shares. Distributed shares do not replace sold ones."""
        if not book.quantity:
            return []
        last, new_symbol = self._last_trade_of[action.symbol], action.new_symbol
        child, matches = self._book(new_symbol, last.asset_kind), list[TaxMatch]()
        self._last_trade_of.setdefault(new_symbol, last._replace(symbol=new_symbol))
        lots = book.spin_off(action.ratio, action.cost_share)
        if child.quantity * book.quantity < 0:
            distributed = LotBook(self.method, EIGHTEEN_PLACES)
            distributed.add_lots(lots)
            long_book, short_book = (distributed, child) if book.quantity > 0 else (child, distributed)
            matches = self._deliver(action, new_symbol, long_book, short_book)
            lots = list(distributed.open_lots())
        child.add_lots(lots)
        fraction = child.quantity - child.quantity.to_integral_value(rounding=ROUND_DOWN)
        if action.cash_in_lieu is not None and fraction:
            matches += self._close(action.action_id, action.ts_ns, new_symbol, fraction, action.cash_in_lieu)
        return matches

    def _pay_merger_cash(self, book: LotBook, action: MergerCash) -> list[TaxMatch]:
        """Book the cash part of a merger. Return the taxable gain of each lot; the lots stay open."""
        if not book.quantity:
            return []
        last = self._last_trade_of[action.symbol]
        _, gains = book.pay_merger_cash(action.cash, action.share_value, action.ratio, last.multiplier)
        payment = TaxTrade(
            trade_id=action.action_id,
            ts_ns=action.ts_ns,
            symbol=action.symbol,
            quantity=-book.quantity,
            price=action.cash,
            fee=ZERO,
            multiplier=last.multiplier,
            asset_kind=last.asset_kind,
        )
        return [TaxMatch(action.symbol, gain, payment, None) for gain in gains]

    def _check_position(self, trade: TaxTrade, book: LotBook) -> None:
        last = self._last_trade_of.get(trade.symbol, trade)
        if book.quantity and last.multiplier != trade.multiplier:
            expected = f"{last.multiplier} as for the open position"
            raise InvalidField(
                f"{trade.trade_id}: multiplier of {trade.symbol} must be {expected}, found {trade.multiplier}"
            )
        if last.asset_kind is not trade.asset_kind:
            expected = f"{last.asset_kind} as in {last.trade_id}"
            raise InvalidField(f"{trade.trade_id}: {trade.symbol} must be a {expected}, found {trade.asset_kind}")
        if trade.must_be_held and book.quantity < -trade.quantity:
            raise InvalidField(
                f"{trade.trade_id}: quantity must be at most the {plain(book.quantity)} {trade.symbol} that earlier "
                f"trades hold, found {plain(-trade.quantity)}; add the earlier purchases"
            )

    def _close(self, cause: str, ts_ns: int, symbol: str, quantity: Decimal, price: Decimal) -> list[TaxMatch]:
        return self.apply_trade(
            TaxTrade(
                trade_id=cause,
                ts_ns=ts_ns,
                symbol=symbol,
                quantity=-quantity,
                price=price,
                fee=ZERO,
                multiplier=self._last_trade_of[symbol].multiplier,
                asset_kind=self._last_trade_of[symbol].asset_kind,
            )
        )

    def _loss_sale(self, closed_lot: ClosedLot, trade: TaxTrade) -> LossSale | None:
        loss = closed_lot.entry_fees + closed_lot.exit_fees + closed_lot.carried_loss - closed_lot.pnl
        if trade.symbol not in self._wash_sales_of or loss <= 0:
            return None
        day, lot = trade.day, closed_lot.lot
        term_ns = (day - lot.term_start_ns // DAY_NS) * DAY_NS
        units = abs(closed_lot.quantity)
        is_long = closed_lot.quantity > 0
        return LossSale(day=day, is_long=is_long, units=units, loss=loss, term_ns=term_ns, purchase_id=lot.execution_id)

    def _rename(self, action: SymbolChange) -> list[TaxMatch]:
        """Move the lots to the new symbol. Return the matches of opposite lots, which close each other."""
        symbol, new_symbol = action.symbol, action.new_symbol
        new_book = self._book(new_symbol, self._last_trade_of[symbol].asset_kind)
        self._last_trade_of.setdefault(new_symbol, self._last_trade_of[symbol]._replace(symbol=new_symbol))
        old_book, matches = self._lots.pop(symbol), list[TaxMatch]()
        if old_book.quantity > 0 > new_book.quantity:
            matches = self._deliver(action, new_symbol, old_book, new_book)
        elif old_book.quantity < 0 < new_book.quantity:
            matches = self._deliver(action, symbol, new_book, old_book)
        new_book.absorb(old_book)
        del self._last_trade_of[symbol]
        if symbol in self._wash_sales_of:
            self._wash_sales_of[new_symbol].absorb(self._wash_sales_of.pop(symbol))
        return matches

    def _deliver(
        self, action: LedgerAction, short_symbol: str, long_book: LotBook, short_book: LotBook
    ) -> list[TaxMatch]:
        """Close short lots of `short_symbol` with long lots. A loss can become a wash sale."""
        last, matches = self._last_trade_of[short_symbol], list[TaxMatch]()
        for short, delivered in deliver(long_book, short_book):
            quantity = -short.quantity
            price = EIGHTEEN_PLACES.divide(EIGHTEEN_PLACES.divide(-short.exit_value, quantity), last.multiplier)
            closing = last._replace(
                trade_id=action.action_id, ts_ns=action.ts_ns, quantity=quantity, price=price, fee=ZERO, order_id=""
            )
            matches.append(TaxMatch(short_symbol, short, closing, self._loss_sale(short, closing), delivered))
        if short_symbol in self._wash_sales_of:
            sales = [match.sale for match in matches if match.sale is not None]
            self._wash_sales_of[short_symbol].record_fill(action.action_id, sales, is_last=True)
        return matches

    def _advance_day(self, cause: str, ts_ns: int) -> None:
        day = ts_ns // DAY_NS
        if self._day is not None and day < self._day:
            raise InvalidField(f"{cause}: trades and corporate actions must be in order of time, found an earlier day")
        self._day = day


def _sale_key(trade: TaxTrade) -> tuple[str, str, bool]:
    return trade.symbol, trade.order_key, trade.quantity > 0
