"""Positions, lots and cash: the portfolio's ledger, and the tax books."""

from operators.ledger.account import Ledger, LedgerHolding, LedgerRecord
from operators.ledger.corporate_actions import (
    CashDividend,
    Delisting,
    LedgerAction,
    Split,
    StockDividend,
    SymbolChange,
)
from operators.ledger.lots import METHODS, LotBook, OpenLot
from operators.ledger.tax_book import TaxBook, TaxMatch, TaxTrade, to_tax_trade

__all__ = [
    "METHODS",
    "CashDividend",
    "Delisting",
    "Ledger",
    "LedgerAction",
    "LedgerHolding",
    "LedgerRecord",
    "LotBook",
    "OpenLot",
    "Split",
    "StockDividend",
    "SymbolChange",
    "TaxBook",
    "TaxMatch",
    "TaxTrade",
    "to_tax_trade",
]
