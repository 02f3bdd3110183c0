"""The layouts of trade files that `lots` reads. A new broker is a new entry of `LAYOUTS`.

Column names are lower case. Where brokers changed a name, a field has several: the first one that the file has counts.
The files of the tests in `tests/unit/test_trade_files.py` show one example of each layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from operators.ledger.asset_kinds import AssetKind
from schemas.records import BUY, SELL, ExecType

Names = tuple[str, ...]
SELL_HELD = "SELL_HELD"
"""A sale of units that must be held: the broker reports short sales by another name."""


@dataclass(frozen=True, kw_only=True)
class FileLayout:
    """Which column holds what, and which rows are trades.

    marks           columns that only this layout has; with the required columns, they identify the file
    value           column of the money value (positive or negative), where the price column is rounded
    side            column that names the kind of row; (): the sign of the quantity is the side
    sides           texts of that column, for the rows that are trades, with their side
    is_sentence     whether the column holds a sentence that begins with one of these texts; the longest match counts
    fees            columns whose sum is the fee; `fees_are_negative` if a cost is written as a negative number
    only            rows that count: column name and its lower-case values; all other rows are ignored
    ignored         lower-case values of that column in the other rows; (): any value
    fill_id         column that identifies a trade; `fill_key`: columns that do so together
    remaining       column of the quantity that the order has left after the trade: it orders the fills of one order
    section         first cell of the lines that belong to the layout, for files with several sections
    account         column of the account, in exports that may hold several
    asset_kind      kind of all symbols; None: by the column of the asset class, or by the symbol
    """

    name: str
    source: str
    marks: Names
    time: Names
    symbol: Names
    quantity: Names
    price: Names
    value: Names = ()
    side: Names = ()
    sides: Mapping[str, str] = field(default_factory=dict)
    is_sentence: bool = False
    fees: tuple[Names, ...] = ()
    fees_are_negative: bool = False
    only: tuple[str, frozenset[str]] | None = None
    ignored: Names = ()
    section: str = ""
    order_id: Names = ()
    fill_id: Names = ()
    fill_key: Names = ()
    remaining: Names = ()
    multiplier: Names = ()
    asset_class: Names = ()
    currency: Names = ()
    account: Names = ()
    asset_kind: AssetKind | None = None

    def matches(self, header: Sequence[str]) -> bool:
        required = [self.time, self.symbol, self.quantity, self.price, *([self.side] if self.side else [])]
        return all(mark in header for mark in self.marks) and all(
            any(name in header for name in names) for names in required
        )


EXECUTIONS = FileLayout(
    name="this platform: executions",
    source="`backtest --executions` and `export executions`",
    marks=("event", "leaves"),
    time=("time",),
    symbol=("symbol",),
    side=("side",),
    sides={"buy": BUY, "sell": SELL},
    quantity=("quantity",),
    price=("price",),
    fees=(("fee",),),
    only=("event", frozenset({"trade"})),
    ignored=tuple(name.lower() for name in get_args(ExecType)),
    order_id=("order_id",),
    fill_key=("order_id", "time", "leaves"),
    remaining=("leaves",),
)

INTERACTIVE_BROKERS_FLEX = FileLayout(
    name="Interactive Brokers: Flex query, section Trades",
    source="IBKR Reporting Guide, Flex Queries, Trades",
    marks=("tradeprice", "ibcommission"),
    time=("datetime", "date/time", "tradedate"),
    symbol=("symbol",),
    side=("buy/sell",),
    sides={"buy": BUY, "sell": SELL},
    quantity=("quantity",),
    price=("tradeprice",),
    fees=(("ibcommission",), ("taxes",)),
    fees_are_negative=True,
    only=("levelofdetail", frozenset({"", "execution"})),
    order_id=("iborderid",),
    fill_id=("ibexecid", "tradeid", "transactionid"),
    multiplier=("multiplier",),
    asset_class=("assetclass",),
    currency=("currencyprimary", "currency"),
    account=("clientaccountid", "accountid"),
)

INTERACTIVE_BROKERS_STATEMENT = FileLayout(
    name="Interactive Brokers: activity statement, section Trades",
    source="IBKR Reporting Guide, Activity Statements, Trades",
    marks=("datadiscriminator", "asset category"),
    time=("date/time",),
    symbol=("symbol",),
    quantity=("quantity",),
    price=("t. price",),
    fees=(("comm/fee", "comm in usd"),),
    fees_are_negative=True,
    only=("datadiscriminator", frozenset({"order"})),
    section="trades",
    asset_class=("asset category",),
    currency=("currency",),
    account=("account",),
)

SCHWAB = FileLayout(
    name="Charles Schwab: transaction history",
    source="Schwab.com, Accounts, History, Export",
    marks=("fees & comm",),
    time=("date",),
    symbol=("symbol",),
    side=("action",),
    sides={
        "buy": BUY,
        "buy to cover": BUY,
        "buy to open": BUY,
        "buy to close": BUY,
        "reinvest shares": BUY,
        "sell": SELL_HELD,
        "sell short": SELL,
        "sell to open": SELL,
        "sell to close": SELL_HELD,
    },
    quantity=("quantity",),
    price=("price",),
    fees=(("fees & comm",),),
)

FIDELITY = FileLayout(
    name="Fidelity: account history",
    source="Fidelity.com, Activity & Orders, History, Download",
    marks=("run date",),
    time=("run date",),
    symbol=("symbol",),
    side=("action", "transaction"),
    sides={
        "you bought": BUY,
        "reinvestment": BUY,
        "you sold": SELL_HELD,
        "you sold short": SELL,
        "you bought short cover": BUY,
    },
    is_sentence=True,
    quantity=("quantity",),
    price=("price ($)", "price"),
    fees=(("commission ($)", "commission"), ("fees ($)", "fees")),
    account=("account number", "account"),
)

ROBINHOOD = FileLayout(
    name="Robinhood: account activity",
    source="Robinhood, Reports and statements, Account activity",
    marks=("activity date", "trans code"),
    time=("activity date",),
    symbol=("instrument",),
    side=("trans code",),
    sides={"buy": BUY, "sell": SELL_HELD},
    quantity=("quantity",),
    price=("price",),
    value=("amount",),  # net of the regulatory fees, which have no column
)

ALPACA = FileLayout(
    name="Alpaca: account activities of the type FILL",
    source="docs.alpaca.markets, Account Activities; CSV, or the JSON of the API",
    marks=("activity_type", "transaction_time"),
    time=("transaction_time",),
    symbol=("symbol",),
    side=("side",),
    sides={"buy": BUY, "sell": SELL, "sell_short": SELL},
    quantity=("qty",),
    price=("price",),
    only=("activity_type", frozenset({"fill"})),
    order_id=("order_id",),
    fill_id=("id",),
)

COINBASE = FileLayout(
    name="Coinbase: transaction history",
    source="Coinbase, Statements, Transaction history",
    marks=("quantity transacted", "transaction type"),
    time=("timestamp",),
    symbol=("asset",),
    side=("transaction type",),
    sides={
        "buy": BUY,
        "advanced trade buy": BUY,
        "advance trade buy": BUY,
        "rewards income": BUY,
        "staking income": BUY,
        "learning reward": BUY,
        "sell": SELL_HELD,
        "advanced trade sell": SELL_HELD,
        "advance trade sell": SELL_HELD,
    },
    quantity=("quantity transacted",),
    price=("price at transaction", "spot price at transaction"),
    value=("subtotal",),
    fees=(("fees and/or spread", "fees"),),
    fill_id=("id",),
    currency=("price currency", "spot price currency"),
    asset_kind=AssetKind.DIGITAL_ASSET,
)

COINBASE_FILLS = FileLayout(
    name="Coinbase Exchange: fills report",
    source="Coinbase Exchange, Reports, Fills",
    marks=("trade id", "price/fee/total unit"),
    time=("created at",),
    symbol=("product",),
    side=("side",),
    sides={"buy": BUY, "sell": SELL_HELD},
    quantity=("size",),
    price=("price",),
    fees=(("fee",),),
    fill_id=("trade id",),
    currency=("price/fee/total unit",),
    asset_kind=AssetKind.DIGITAL_ASSET,
)

LAYOUTS = (
    EXECUTIONS,
    INTERACTIVE_BROKERS_FLEX,
    INTERACTIVE_BROKERS_STATEMENT,
    SCHWAB,
    FIDELITY,
    ROBINHOOD,
    ALPACA,
    COINBASE,
    COINBASE_FILLS,
)

_SECURITIES = (
    *("equity", "us_equity", "stock", "stocks", "stk", "etf", "etp", "fund", "mutual funds", "fnd", "security"),
    *("option", "options", "opt", "us_option", "equity and index options", "warrants", "war", "bond", "bonds"),
)
_DIGITAL_ASSETS = ("crypto", "cryptocurrency", "cryptocurrencies", "digital asset", "coin")
_OTHER = ("future", "futures", "fut", "fop", "forex", "fx", "cash", "cmdty", "commodity", "other")
ASSET_KINDS: Mapping[str, AssetKind] = {
    **dict.fromkeys(_SECURITIES, AssetKind.SECURITY),
    **dict.fromkeys(_DIGITAL_ASSETS, AssetKind.DIGITAL_ASSET),
    **dict.fromkeys(_OTHER, AssetKind.OTHER),
}
"""The kinds of the names in a column of asset classes: those of this platform, Alpaca and Interactive Brokers."""
CURRENCY_CONVERSIONS = ("cash", "forex")
"""Asset classes whose rows are conversions of currency, not lots. They are ignored."""
