"""Tables of alerts and of their notifications (an outbox). They are not copies of topics."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Double, ForeignKey, Index, Table, Text, func, text

from sinks.tables import metadata

# One row per alert, from when its condition is met until it is resolved.
alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", Text, primary_key=True),
    # Alert and subject: "service_downtime/risk".
    Column("key", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("resolved_at", DateTime(timezone=True)),
    Index("ux_alerts_open", "key", unique=True, postgresql_where=text("resolved_at IS NULL")),
    Index(None, "opened_at"),
)
# Written in the transaction that opens or resolves the alert; the derived id prevents duplicates.
alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column(
        "alert_id",
        Text,
        ForeignKey("alerts.alert_id", name="fk_alert_deliveries_alert_id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("kind", Text, nullable=False),  # opened or resolved
    Column("channel", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("not_before", DateTime(timezone=True), nullable=False),
    Column("attempts", BigInteger, nullable=False, server_default=text("0")),
    Column("delivered_at", DateTime(timezone=True)),
    Column("dropped_at", DateTime(timezone=True)),  # resolved before a notification was sent, or no channel
    Column("last_error", Text),
    Index(None, "alert_id"),
    Index(
        "ix_alert_deliveries_due",
        "not_before",
        postgresql_where=text("delivered_at IS NULL AND dropped_at IS NULL"),
    ),
)
