"""What the strategies hold of a symbol now, each by itself and, where the settings want it, together."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import desc, select
from sqlalchemy.dialects.postgresql import distinct_on

from api.json_types import ApiModel, Symbol, utc
from api.resources import Db
from api.routers import PREFIX
from schemas.records import Signal, signal_id
from sinks.tables import record_of, signals

SIGNALS_SCANNED = 1000

router = APIRouter(prefix=f"{PREFIX}/signals", tags=["strategies and models"])


class SignalOut(ApiModel):
    """A strategy's last word: `direction` -1, 0 (out of it) or 1, `strength` and `confidence` in [0, 1], formed at
    `price`. `parts` are the values that it rests on; of the ensemble, what each strategy contributed.
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
    """The last signal of each strategy, by name, among the symbol's last 1,000. Empty where none has spoken."""
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
