"""Positions, lots and cash: the ledger that the portfolio keeps, and the books that a tax return needs."""

from operators.ledger.account import Holding, Ledger, LedgerRecord
from operators.ledger.lots import OpenLot

__all__ = ["Holding", "Ledger", "LedgerRecord", "OpenLot"]
