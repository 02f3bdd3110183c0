"""Positions, lots and cash: the ledger that the portfolio keeps, and the books that a tax return needs."""

from operators.ledger.account import Holding, Ledger, LedgerRecord
from operators.ledger.corporate_actions import (
    CashDividend,
    CorporateAction,
    Delisting,
    Split,
    StockDividend,
    SymbolChange,
)
from operators.ledger.lots import METHODS, LotBook, OpenLot
from operators.ledger.tax_book import TaxBook, TaxMatch, TaxTrade, trade_of

__all__ = [
    "METHODS",
    "CashDividend",
    "CorporateAction",
    "Delisting",
    "Holding",
    "Ledger",
    "LedgerRecord",
    "LotBook",
    "OpenLot",
    "Split",
    "StockDividend",
    "SymbolChange",
    "TaxBook",
    "TaxMatch",
    "TaxTrade",
    "trade_of",
]
