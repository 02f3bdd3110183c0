"""Equity net of deposits and withdrawals, in SQL.

Between two flows, equity net of flows is a constant factor times the equity (`operators/returns.py`). The few
valuations with a flow determine these factors, so the long table of valuations is still condensed by PostgreSQL.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, Double, Numeric, Subquery, Table, cast, column, func, select, values

from operators.returns import DatedFlow, NetOfFlows
from schemas.records import EXTERNAL_FLOWS
from sinks.tables import cash_transfers, valuations

_SEQ_MAX = 2**63 - 1


class FlowSegment(NamedTuple):
    """From the valuation `first` to `last`, equity net of flows = `factor` x equity + `base`."""

    first: int
    last: int
    factor: float
    base: float


class Flows(NamedTuple):
    """The external flows since inception, and the factors of the time after each; both empty without a flow."""

    dated: list[DatedFlow]
    segments: list[FlowSegment]

    def adjust(self, seq: int, equity: Decimal) -> Decimal:
        """Return the equity of a valuation net of flows. Exactly the equity before the first flow."""
        for segment in reversed(self.segments):
            if seq >= segment.first:
                if segment.factor == 1.0 and not segment.base:
                    return equity
                return Decimal(repr(float(equity) * segment.factor + segment.base))
        return equity

    def scale(self, net_equity: Decimal) -> Decimal:
        """Return an equity net of flows, such as a peak, in units of the equity since the last flow.

        0 while there is no capital: after a withdrawal of everything or a total loss.
        """
        factor = self.segments[-1].factor if self.segments else 1.0
        if factor == 1.0:
            return net_equity
        return Decimal(repr(float(net_equity) / factor)) if factor > 0 else Decimal(0)

    def net_equity(self) -> Table | Subquery:
        """Return the valuations with the columns seq, ts_ns, ts and `equity`, which is net of flows."""
        if not self.segments:
            return valuations
        segment = values(
            column("first", BigInteger), column("last", BigInteger), column("factor", Double), column("base", Double)
        ).data([tuple(one) for one in self.segments])
        segment = segment.alias("segment")
        equity = cast(valuations.c.equity, Double) * segment.c.factor + segment.c.base
        joined = valuations.join(segment, valuations.c.seq.between(segment.c.first, segment.c.last))
        query = select(
            valuations.c.seq, valuations.c.ts_ns, valuations.c.ts, cast(equity, Numeric(38, 9)).label("equity")
        )
        return query.select_from(joined).subquery("net_equity")


NO_FLOWS = Flows([], [])


def read_flows(db: Connection) -> Flows:
    """Read the flows from the valuations of the time slices with an external flow."""
    dates = select(cash_transfers.c.ts_ns).where(cash_transfers.c.kind.in_(sorted(EXTERNAL_FLOWS)))
    query = select(valuations.c.seq, valuations.c.ts_ns, valuations.c.equity, valuations.c.net_flows)
    rows = db.execute(query.where(valuations.c.ts_ns.in_(dates)).order_by(valuations.c.seq)).all()
    if not rows:
        return NO_FLOWS
    series, dated, segments = NetOfFlows(), list[DatedFlow](), list[FlowSegment]()
    first, net_flows = 0, Decimal(0)
    for row in rows:
        if row.net_flows != net_flows:
            dated.append(DatedFlow(row.ts_ns, float(row.net_flows - net_flows)))
            segments.append(FlowSegment(first, row.seq - 1, series.factor, series.base))
            series.add(float(row.equity), float(row.net_flows))
            first, net_flows = row.seq, row.net_flows
    segments.append(FlowSegment(first, _SEQ_MAX, series.factor, series.base))
    return Flows(dated, segments)


def first_valuation_ns(db: Connection) -> int | None:
    """Return the event time of the first valuation."""
    first_ns: int | None = db.execute(select(func.min(valuations.c.ts_ns))).scalar_one()
    return first_ns
