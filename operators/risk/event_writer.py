"""The events and the limit usage that the risk stage publishes. They share one sequence number."""

from __future__ import annotations

from collections.abc import Iterable

from operators.exchange_halts import EXCHANGE_HALT
from operators.money import plain
from operators.risk.breakers import BreakerChange
from operators.risk.margin_call import MARGIN_CALL, MarginStatus, margin_cause
from operators.risk.usage import LimitUtilization
from schemas.records import (
    ACTIVE,
    HALTED,
    PORTFOLIO,
    REDUCING,
    SYMBOL,
    RiskEvent,
    RiskUsage,
    TradingStatus,
)


class RiskEventWriter:
    """Builds the records with the next numbers. `seq` is the last number, part of the stage's snapshot."""

    def __init__(self) -> None:
        self.seq = 0

    def breaker(self, ts_ns: int, change: BreakerChange, cause_id: str) -> RiskEvent:
        """Return the event of a breaker that has changed its state."""
        breaker = change.breaker
        self.seq += 1
        return RiskEvent(
            seq=self.seq,
            ts_ns=ts_ns,
            breaker=breaker.measure,
            scope=breaker.scope,
            scope_key=change.key,
            state=change.state,
            found=change.value,
            limit=plain(breaker.threshold),
            actor=change.actor,
            reason=change.reason,
            cause_id=cause_id,
        )

    def exchange_halt(self, ts_ns: int, status: TradingStatus) -> RiskEvent:
        """Return the event of a halt by the exchange, or of its end."""
        self.seq += 1
        return RiskEvent(
            seq=self.seq,
            ts_ns=ts_ns,
            breaker=EXCHANGE_HALT,
            scope=SYMBOL,
            scope_key=status.symbol,
            state=HALTED if status.state == HALTED else ACTIVE,
            found=status.code,
            limit="",
            actor=status.source,
            reason=status.reason,
            cause_id=status.status_id,
        )

    def margin_call(self, ts_ns: int, status: MarginStatus) -> RiskEvent:
        """Return the event of the start of a margin call, or of its end."""
        self.seq += 1
        equity, maintenance = plain(status.equity), plain(status.maintenance)
        return RiskEvent(
            seq=self.seq,
            ts_ns=ts_ns,
            breaker=MARGIN_CALL,
            scope=PORTFOLIO,
            scope_key="",
            state=REDUCING if status.is_short else ACTIVE,
            found=equity,
            limit=maintenance,
            actor="automatic",
            reason=f"equity is {equity}, maintenance margin {maintenance}",
            cause_id=margin_cause(ts_ns),
        )

    def usage(self, ts_ns: int, rows: Iterable[LimitUtilization]) -> list[RiskUsage]:
        """Return one record for each row."""
        out = []
        for row in rows:
            self.seq += 1
            out.append(
                RiskUsage(
                    seq=self.seq,
                    ts_ns=ts_ns,
                    measure=row.measure,
                    scope_key=row.scope_key,
                    used=row.used,
                    limit=row.limit,
                    share=row.share,
                )
            )
        return out
