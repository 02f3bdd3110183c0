"""The last signals of a symbol, by strategy and, if it is enabled, of the ensemble."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import desc, select
from sqlalchemy.dialects.postgresql import distinct_on

from api.json_types import ApiModel, Symbol, utc
from api.resources import Db
from api.routers import PREFIX
from schemas.records import Signal, signal_id
from sinks.record_tables import record_of
from sinks.tables import signals

SIGNALS_SCANNED = 1000

router = APIRouter(prefix=f"{PREFIX}/signals", tags=["strategies and models"])


class SignalOut(ApiModel):
    """A strategy's last signal at `price`: `direction` is -1 (short), 0 (no position) or 1 (long); `strength` and
    `confidence` are in [0, 1]. `parts` are the inputs of the signal; for the ensemble, each strategy's contribution.
    """

    id: str
    timestamp: str
    symbol: str
    strategy: str
    direction: int
    strength: float
    confidence: float
    price: float
    parts: dict[str, float]
    feature_id: str
    cause_ids: list[str]


@router.get("/{symbol}")
def get_signals(symbol: Symbol, db: Db) -> list[SignalOut]:
    """The last signal of each strategy, by name, among the symbol's last 1,000 signals."""
    newest = (
        select(signals)
        .where(signals.c.symbol == symbol)
        .order_by(desc(signals.c.seq))
        .limit(SIGNALS_SCANNED)
        .subquery()
    )
    last = select(newest).ext(distinct_on(newest.c.strategy)).order_by(newest.c.strategy, desc(newest.c.seq))
    return [_signal_out(record_of(Signal, row)) for row in db.execute(last).mappings()]


def _signal_out(signal: Signal) -> SignalOut:
    unchanged = {name: value for name, value in signal._asdict().items() if name not in ("seq", "ts_ns")}
    return SignalOut(id=signal_id(signal.symbol, signal.seq), timestamp=utc(signal.ts_ns), **unchanged)
