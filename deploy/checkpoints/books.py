"""The books in a checkpoint: those of portfolio, risk and execution must agree, and their hash is in the manifest."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from dataflows.replay.checkpoint_books import books_of, settings_of_stage, stage_state
from deploy.verification.recovery_snapshots import BOOK_READERS

if TYPE_CHECKING:
    from configs.settings import Settings
    from operators.ledger import Ledger


def first_book_difference(settings: Settings, services: Any) -> str:
    """Return the first difference between the books of the services in a state, "" if they agree."""
    ledger = books_of(settings, services)
    for service, read_books in BOOK_READERS.items():
        state = stage_state(services, service)
        difference = read_books(settings_of_stage(settings, state), state.stage)(ledger)
        if difference is not None:
            return difference
    return ""


def books_hash(ledger: Ledger) -> str:
    """Return a SHA-256 of cash, realized profit, fees, cost and all lots."""
    totals = [str(getattr(ledger, name)) for name in ("cash", "realized_pnl", "fees", "cost")]
    lots = {
        position.symbol: [[str(lot.lot_id), str(lot.quantity), str(lot.price)] for lot in position.lots]
        for position in ledger.positions()
    }
    return hashlib.sha256(json.dumps([totals, lots], sort_keys=True).encode()).hexdigest()
