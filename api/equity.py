"""The equity curve. PostgreSQL condenses it, so that its size does not depend on the length of the history."""

from __future__ import annotations

from sqlalchemy import Connection, desc, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from api.flows import read_flows
from api.json_types import Amount, ApiModel, utc
from sinks.tables import valuations


class EquityPoint(ApiModel):
    """The last valuation of one interval. `equity` = cash + accrued dividends + net exposure (market values).

    `net_flows` are deposits minus withdrawals since inception. `equity_net_of_flows` is what the initial capital would
    be worth without any flow: its growth is the time-weighted return.
    """

    timestamp: str
    equity: Amount
    cash: Amount
    gross_exposure: Amount
    net_exposure: Amount
    net_flows: Amount
    equity_net_of_flows: Amount


def equity_points(db: Connection, since_ns: int, points: int) -> list[EquityPoint]:
    """Return at most `points` + 1 points, oldest first. The last valuation is always included."""
    in_range = valuations.c.ts_ns >= since_ns
    bounds = select(func.min(valuations.c.ts_ns), func.max(valuations.c.ts_ns)).where(in_range)
    first_ns, last_ns = db.execute(bounds).one()
    if first_ns is None:
        return []
    width_ns = max(1, -(-(last_ns - first_ns) // points))
    # Intervals count back from the last valuation, so that the last point is exactly that valuation.
    bucket = (last_ns - valuations.c.ts_ns) // width_ns
    flows = read_flows(db)
    query = select(valuations).ext(distinct_on(bucket)).where(in_range).order_by(desc(bucket), desc(valuations.c.seq))
    return [
        EquityPoint(
            timestamp=utc(row["ts_ns"]),
            equity=row["equity"],
            cash=row["cash"],
            gross_exposure=row["gross_exposure"],
            net_exposure=row["net_exposure"],
            net_flows=row["net_flows"],
            equity_net_of_flows=flows.adjust(row["seq"], row["equity"]),
        )
        for row in db.execute(query).mappings()
    ]
