"""What the recovery stores of portfolio, risk and the simulated venue say of the books, read from copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deploy.errors import DeployError
from deploy.recovery.recovery_store import Snapshot, read_store
from deploy.verification.ledger_tables import Kept

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.home import Home
    from operators.ledger import Ledger


def kept_books(home: Home, settings: Settings) -> tuple[list[Kept], str]:
    """What is kept of each service that has a store with a clock in it, and a sentence on those that have not."""
    found, without = [], []
    for service, make in _READERS.items():
        try:
            store = read_store(home.recovery / service)
        except DeployError as error:
            without.append(str(error))
            continue
        clock_ns, state = _clock(store.snapshots, service), _stage(store.snapshots, service)
        if clock_ns is None or state is None:
            without.append(f"the store of {service} holds no state yet")
        else:
            found.append(Kept(service, clock_ns, make(settings, state)))
    return found, "; ".join(without)


def _clock(snapshots: list[Snapshot], service: str) -> int | None:
    """The last tick that the reader had passed on: second of its state (`operators/alignment.py`)."""
    return next((one.state[1] for one in snapshots if one.step.startswith(f"{service}.ticks")), None)


def _stage(snapshots: list[Snapshot], service: str) -> Any:
    """The stage's own snapshot: second of the logic's (`dataflows/runtime/wiring.py`)."""
    return next((one.state[1] for one in snapshots if one.step.startswith(f"{service}.stage")), None)


def _portfolio(settings: Settings, state: Any) -> Callable[[Ledger], str | None]:
    from dataflows.runtime import stages
    from operators.portfolio import PortfolioStage

    stage = stages.portfolio(settings)()
    stage.restore(state)
    assert isinstance(stage, PortfolioStage)
    kept = stage.ledger

    def differs(ledger: Ledger) -> str | None:
        for name in ("cash", "realized_pnl", "fees", "cost"):
            if getattr(kept, name) != getattr(ledger, name):
                return _sentence("portfolio", name, getattr(kept, name), getattr(ledger, name))
        for symbol in sorted({h.symbol for h in kept.holdings()} | {h.symbol for h in ledger.holdings()}):
            mine, theirs = kept.holding(symbol), ledger.holding(symbol)
            lots = [_lots(one) for one in (mine, theirs)]
            if lots[0] != lots[1]:
                return _sentence("portfolio", f"lots of {symbol}", lots[0], lots[1])
        return None

    return differs


def _lots(holding: Any) -> list[tuple[Any, ...]]:
    return [] if holding is None else [(lot.lot_id, lot.quantity, lot.price) for lot in holding.lots]


def _risk(settings: Settings, state: Any) -> Callable[[Ledger], str | None]:
    from dataflows.runtime import stages
    from operators.risk import RiskStage

    stage = stages.risk(settings)()
    stage.restore(state)
    assert isinstance(stage, RiskStage)
    held = {symbol: holding.quantity for symbol, holding in stage.book.holdings.items() if holding.quantity}
    cash = stage.book.cash

    def differs(ledger: Ledger) -> str | None:
        if cash != ledger.cash:
            return _sentence("risk", "cash", cash, ledger.cash)
        return _quantities("risk", held, ledger)

    return differs


def _execution(settings: Settings, state: Any) -> Callable[[Ledger], str | None]:
    from dataflows.runtime import stages
    from operators.gateway import GatewayStage
    from operators.venue import VenueStage

    stage = stages.execution(settings)()
    stage.restore(state)
    assert isinstance(stage, VenueStage | GatewayStage)
    held = dict(stage.positions)
    return lambda ledger: _quantities("execution", held, ledger)


def _quantities(service: str, held: dict[str, Any], ledger: Ledger) -> str | None:
    for symbol in sorted(held.keys() | {holding.symbol for holding in ledger.holdings()}):
        mine, theirs = held.get(symbol, 0), ledger.quantity(symbol)
        if mine != theirs:
            return _sentence(service, f"position of {symbol}", mine, theirs)
    return None


def _sentence(service: str, what: str, mine: Any, theirs: Any) -> str:
    return f"recovery store of {service}: {what} is {mine}, the executions give {theirs}"


_READERS: dict[str, Callable[[Settings, Any], Callable[[Ledger], str | None]]] = {
    "portfolio": _portfolio,
    "risk": _risk,
    "execution": _execution,
}
