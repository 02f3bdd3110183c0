"""The trades that a tax book takes, and the matches that it returns."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from operators.ledger.asset_kinds import AssetKind
from operators.ledger.lots import ClosedLot
from operators.ledger.open_lot import OpenLot
from operators.ledger.wash_sales import DAY_NS, LossSale
from operators.money import EIGHTEEN_PLACES, ONE, ZERO, is_not_negative, is_positive
from schemas.errors import InvalidField
from schemas.records import BUY, LONG, SHORT, TRADE, Execution, LotDirection


class TaxTrade(NamedTuple):
    """One fill. `quantity` is signed, `fee` is in account currency. `ts_ns` is the exchange's time and sets the day.

    The fills of one order (`order_id`) on one day are one purchase or one sale; "": the fill is one by itself.
    With `must_be_held`, a sale of more units than are open is an error; otherwise it opens a short lot.
    """

    trade_id: str
    ts_ns: int
    symbol: str
    quantity: Decimal
    price: Decimal
    fee: Decimal = ZERO
    multiplier: Decimal = ONE
    order_id: str = ""
    asset_kind: AssetKind = AssetKind.SECURITY
    must_be_held: bool = False

    @property
    def order_key(self) -> str:
        """Equal for the fills of one purchase or sale: acquisitions and sales count by trade date."""
        return f"{self.order_id or self.trade_id} {self.day}"

    @property
    def day(self) -> int:
        """The trade date, in days since 1970-01-01."""
        return self.ts_ns // DAY_NS


def to_tax_trade(execution: Execution, multiplier: Decimal = ONE) -> TaxTrade | None:
    """Convert an execution report to a trade; None for a report other than TRADE."""
    if execution.exec_type != TRADE:
        return None
    quantity = execution.quantity if execution.side == BUY else -execution.quantity
    return TaxTrade(
        trade_id=execution.execution_id,
        ts_ns=execution.filled_at_ns,
        symbol=execution.symbol,
        quantity=quantity,
        price=execution.price,
        fee=execution.fee,
        multiplier=multiplier,
        order_id=execution.order_id,
    )


def validate_trade(trade: TaxTrade) -> None:
    """Raise `InvalidField` for a value out of range."""
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
    increase for 30 days. `delivered` is the long lot that closed a short one (`operators/ledger/short_deliveries.py`);
    None for a match with a trade.
    """

    __slots__ = (
        "asset_kind",
        "close_id",
        "close_order",
        "closed_lot",
        "closed_ns",
        "delivered",
        "exit_price",
        "open_id",
        "opened_ns",
        "sale",
        "symbol",
        "term_start_ns",
    )

    def __init__(
        self,
        symbol: str,
        closed_lot: ClosedLot,
        trade: TaxTrade,
        sale: LossSale | None,
        delivered: OpenLot | None = None,
    ) -> None:
        self.symbol = symbol
        self.asset_kind = trade.asset_kind
        self.closed_lot = closed_lot
        self.open_id = closed_lot.lot.lot_id
        self.opened_ns = closed_lot.lot.opened_ns
        self.term_start_ns = closed_lot.lot.term_start_ns
        self.close_id = trade.trade_id
        self.close_order = trade.order_key
        self.closed_ns = trade.ts_ns
        self.exit_price = trade.price
        self.sale = sale
        self.delivered = delivered

    @property
    def direction(self) -> LotDirection:
        return LONG if self.closed_lot.quantity > 0 else SHORT

    @property
    @EIGHTEEN_PLACES.exact_sums
    def quantity(self) -> Decimal:
        return abs(self.closed_lot.quantity)

    @property
    def pnl(self) -> Decimal:
        return self.closed_lot.pnl

    @property
    @EIGHTEEN_PLACES.exact_sums
    def fees(self) -> Decimal:
        """The allocated parts of the opening and the closing fee."""
        return self.closed_lot.entry_fees + self.closed_lot.exit_fees

    @property
    def disallowed_loss(self) -> Decimal:
        return ZERO if self.sale is None else self.sale.disallowed

    @property
    def can_still_be_disallowed(self) -> bool:
        """Whether a part of the loss has no replacement yet; a purchase within 30 days after the sale can be one."""
        return self.sale is not None and self.sale.units > 0

    @property
    @EIGHTEEN_PLACES.exact_sums
    def gain(self) -> Decimal:
        return self.pnl - self.fees - self.closed_lot.carried_loss + self.disallowed_loss
