"""Stop orders that work only while the platform runs, from the gateway's last status."""

from __future__ import annotations

from sqlalchemy import Connection, desc, select

from sinks.tables import gateway_statuses


def emulated_stops(db: Connection) -> tuple[str, ...]:
    """Return the ids of the open orders whose stop is not at the broker. The simulated venue reports none."""
    query = select(gateway_statuses.c.emulated_stops).order_by(desc(gateway_statuses.c.seq)).limit(1)
    return tuple(db.execute(query).scalar() or ())
