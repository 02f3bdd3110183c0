"""Read the books in the recovery stores of portfolio, risk and execution, from copies of the stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dataflows.runtime.configured_stage import read_state
from dataflows.runtime.topology import COMPACT
from deploy.errors import DeployError
from deploy.recovery.recovery_store import StateSnapshot, read_store
from deploy.verification.ledger_tables import SnapshotLedger

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.home import Home
    from operators.ledger import Ledger


def snapshot_ledgers(home: Home, settings: Settings) -> tuple[list[SnapshotLedger], str]:
    """Return the books of each service with a clock in its store, and a sentence about the services without one."""
    books, missing = [], []
    for service, read_books in BOOK_READERS.items():
        try:
            snapshots = _read_snapshots(home, service)
        except DeployError as error:
            missing.append(str(error))
            continue
        clock_ns, state = _clock(snapshots, service), _stage(snapshots, service)
        if clock_ns is None or state is None:
            missing.append(f"the recovery store of {service} has no state yet")
        else:
            books.append(SnapshotLedger(service, clock_ns, read_books(settings, state)))
    return books, "; ".join(missing)


def _read_snapshots(home: Home, service: str) -> list[StateSnapshot]:
    """Return the newest states of a service, also from the store of the process that it shares with others."""
    from deploy.supervisor.layout import shared_services

    if service not in shared_services(home):
        return read_store(home.recovery / service).snapshots
    return [
        snapshot._replace(step=f"{service}.{step}", key=shard, state=state)
        for snapshot in read_store(home.recovery / COMPACT).snapshots
        for shard, states in snapshot.state[2].get(service, {}).items()
        for step, state in zip(("ticks", "stage"), states, strict=True)
    ]


def _clock(snapshots: list[StateSnapshot], service: str) -> int | None:
    """Return the last clock that the reader passed on: item 1 of its state (`operators/alignment.py`)."""
    return next((one.state[1] for one in snapshots if one.step.startswith(f"{service}.ticks")), None)


def _stage(snapshots: list[StateSnapshot], service: str) -> Any:
    """Return the snapshot of the stage: item 1 of the snapshot of its logic (`dataflows/runtime/wiring.py`)."""
    state = next((one.state[1] for one in snapshots if one.step.startswith(f"{service}.stage")), None)
    return read_state(state).stage


def _portfolio(settings: Settings, state: Any) -> Callable[[Ledger], str | None]:
    from dataflows.runtime import stages
    from operators.portfolio import PortfolioStage

    stage = stages.portfolio(settings)()
    stage.restore(state)
    assert isinstance(stage, PortfolioStage)
    stored_ledger = stage.ledger

    def first_difference(ledger: Ledger) -> str | None:
        for name in ("cash", "realized_pnl", "fees", "cost"):
            if getattr(stored_ledger, name) != getattr(ledger, name):
                return _difference_text("portfolio", name, getattr(stored_ledger, name), getattr(ledger, name))
        for symbol in sorted({h.symbol for h in stored_ledger.positions()} | {h.symbol for h in ledger.positions()}):
            stored, rebuilt = stored_ledger.position(symbol), ledger.position(symbol)
            lots = [_lots(one) for one in (stored, rebuilt)]
            if lots[0] != lots[1]:
                return _difference_text("portfolio", f"lots of {symbol}", lots[0], lots[1])
        return None

    return first_difference


def _lots(position: Any) -> list[tuple[Any, ...]]:
    return [] if position is None else [(lot.lot_id, lot.quantity, lot.price) for lot in position.lots]


def _risk(settings: Settings, state: Any) -> Callable[[Ledger], str | None]:
    from dataflows.runtime import stages
    from operators.risk import RiskStage

    stage = stages.risk(settings)()
    stage.restore(state)
    assert isinstance(stage, RiskStage)
    quantities = {symbol: position.quantity for symbol, position in stage.book.positions.items() if position.quantity}
    cash = stage.book.cash

    def first_difference(ledger: Ledger) -> str | None:
        if cash != ledger.cash:
            return _difference_text("risk", "cash", cash, ledger.cash)
        return _quantity_difference("risk", quantities, ledger)

    return first_difference


def _execution(settings: Settings, state: Any) -> Callable[[Ledger], str | None]:
    from dataflows.runtime import stages
    from operators.gateway import GatewayStage
    from operators.venue import VenueStage

    stage = stages.execution(settings)()
    stage.restore(state)
    assert isinstance(stage, VenueStage | GatewayStage)
    quantities = dict(stage.positions)
    return lambda ledger: _quantity_difference("execution", quantities, ledger)


def _quantity_difference(service: str, quantities: dict[str, Any], ledger: Ledger) -> str | None:
    for symbol in sorted(quantities.keys() | {position.symbol for position in ledger.positions()}):
        stored, rebuilt = quantities.get(symbol, 0), ledger.quantity(symbol)
        if stored != rebuilt:
            return _difference_text(service, f"position of {symbol}", stored, rebuilt)
    return None


def _difference_text(service: str, what: str, stored: Any, rebuilt: Any) -> str:
    return f"recovery store of {service}: {what} is {stored}, expected {rebuilt} from the executions"


BOOK_READERS: dict[str, Callable[[Settings, Any], Callable[[Ledger], str | None]]] = {
    "portfolio": _portfolio,
    "risk": _risk,
    "execution": _execution,
}
"""By service, a function that reads the books in its stage's state and returns how they differ from a ledger."""
