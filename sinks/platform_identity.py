"""Tables that tie the database to one platform: its identity and the leases of its single services."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, DateTime, Integer, Table, Text, false, func, true

from sinks.tables import metadata

# One row: see `deploy/supervisor/platform_identity.py`.
platform_identity = Table(
    "platform_identity",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=true()),
    Column("platform_id", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("broker", Text, nullable=False),
    Column("feed", Text, nullable=False),
    Column("symbol_partitions", Integer, nullable=False),
    Column("cluster_id", Text, nullable=False),
    Column("topic_prefix", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("substitute", Boolean, nullable=False, server_default=false()),
    CheckConstraint("singleton", name="ck_platform_identity_one_row"),
)
# One row per service of which only one process may act; `epoch` rises each time that a process takes the lease.
service_leases = Table(
    "service_leases",
    metadata,
    Column("service", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("renewed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
