"""Positions, lots and cash: the portfolio's ledger, and the tax books."""

from operators.ledger.account import Ledger, LedgerRecord
from operators.ledger.corporate_actions import (
    CashDividend,
    Delisting,
    LedgerAction,
    MergerCash,
    SpinOff,
    Split,
    StockDividend,
    SymbolChange,
)
from operators.ledger.lots import METHODS, LotBook
from operators.ledger.open_lot import OpenLot
from operators.ledger.part_ledger import PartLedger
from operators.ledger.position import LedgerPosition
from operators.ledger.tax_book import TaxBook
from operators.ledger.tax_trades import TaxMatch, TaxTrade, to_tax_trade

__all__ = [
    "METHODS",
    "CashDividend",
    "Delisting",
    "Ledger",
    "LedgerAction",
    "LedgerPosition",
    "LedgerRecord",
    "LotBook",
    "MergerCash",
    "OpenLot",
    "PartLedger",
    "SpinOff",
    "Split",
    "StockDividend",
    "SymbolChange",
    "TaxBook",
    "TaxMatch",
    "TaxTrade",
    "to_tax_trade",
]
