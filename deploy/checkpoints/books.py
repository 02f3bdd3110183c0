"""The books in a checkpoint: those of portfolio, risk and execution must agree, and their hash is in the manifest."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from configs.recorded_settings import settings_of
from dataflows.runtime import stages
from dataflows.runtime.configured_stage import read_state
from dataflows.runtime.topology import GLOBAL_SHARD
from deploy.verification.recovery_snapshots import BOOK_READERS
from operators.portfolio import PortfolioStage

if TYPE_CHECKING:
    from configs.settings import Settings
    from operators.ledger import Ledger

_PORTFOLIO = "portfolio"


def books_of(settings: Settings, services: Any) -> Ledger:
    """Return the ledger of portfolio in a state of the compact process. `settings` are those of this process."""
    stage = stages.portfolio(_settings_of(settings, services, _PORTFOLIO))()
    assert isinstance(stage, PortfolioStage)
    stage.restore(_stage_state(services, _PORTFOLIO).stage)
    return stage.ledger


def first_book_difference(settings: Settings, services: Any) -> str:
    """Return the first difference between the books of the services in a state, "" if they agree."""
    ledger = books_of(settings, services)
    for service, read_books in BOOK_READERS.items():
        own_settings = _settings_of(settings, services, service)
        difference = read_books(own_settings, _stage_state(services, service).stage)(ledger)
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


def _stage_state(services: Any, service: str) -> Any:
    _, stage_state = services[service][GLOBAL_SHARD]
    return read_state(stage_state[1])


def _settings_of(settings: Settings, services: Any, service: str) -> Settings:
    configuration = _stage_state(services, service).configuration
    return settings if configuration is None else settings_of(configuration, settings)
