"""Open alerts and their messages in PostgreSQL: an alert and its messages are written together, then delivered.

Delivery is at least once: a message is marked after the channel accepts it, so a crash in between sends it again with
the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from sqlalchemy import Connection, Engine, desc, func, select, true, update
from sqlalchemy.dialects.postgresql import insert

from api.alerting.conditions import ActiveCondition
from configs.alerts import AlertsSection, Severity
from sinks.alerts import alert_deliveries, alerts

DeliveryKind = Literal["opened", "resolved"]
OPENED: Final = "opened"
RESOLVED: Final = "resolved"
RETRY_FIRST_S, RETRY_MAX_S = 5.0, 600.0
BATCH = 20


class Message(NamedTuple):
    """One message to one channel. A retry has the same `delivery_id`."""

    delivery_id: str
    channel: str
    severity: Severity
    title: str
    body: str
    attempts: int


SendMessage = Callable[[Message], str | None]
"""Sends a message; returns the error, or None if the channel accepted it."""


class Outbox:
    """Stores and delivers alerts. All times are from the clock of this process."""

    def __init__(self, engine: Engine, settings: AlertsSection) -> None:
        self._engine, self._settings = engine, settings

    def synchronize(self, firing: Mapping[str, ActiveCondition], now: datetime) -> None:
        """Open and resolve alerts so that the open alerts are those in `firing` (by key), and write their
        messages.
        """
        with self._engine.begin() as db:
            open_alerts = {row.key: row for row in db.execute(select(alerts).where(alerts.c.resolved_at.is_(None)))}
            for key in sorted(firing.keys() - open_alerts.keys()):
                self._open(db, firing[key], now)
            for key in sorted(open_alerts.keys() - firing.keys()):
                self._resolve(db, open_alerts[key].alert_id, now)

    def _open(self, db: Connection, condition: ActiveCondition, now: datetime) -> None:
        severity = self._settings.severity_of(condition.name)
        alert_id = f"{condition.key}@{int(now.timestamp() * 1000)}"
        fields = {
            "name": condition.name,
            "summary": condition.summary,
            "value": condition.value,
            "threshold": condition.threshold,
        }
        row = {"alert_id": alert_id, "key": condition.key, "severity": severity, "opened_at": now, **fields}
        inserted = db.execute(insert(alerts).values(row).on_conflict_do_nothing().returning(alerts.c.alert_id)).first()
        since = now - timedelta(seconds=self._settings.dedupe_window)
        notified = select(alert_deliveries.c.delivery_id).join(alerts, alerts.c.alert_id == alert_deliveries.c.alert_id)
        recent = notified.where(
            alerts.c.key == condition.key, alert_deliveries.c.kind == OPENED, alert_deliveries.c.created_at > since
        )
        if inserted is None or db.execute(recent.limit(1)).first() is not None:
            return
        quiet_hours = self._settings.quiet_hours
        not_before = (quiet_hours.deferred_until(severity, now) if quiet_hours else None) or now
        for channel in self._settings.channels:
            if channel.accepts(severity):
                body = f"{condition.summary} (limit {condition.threshold:g})"
                self._write(
                    db, alert_id, OPENED, channel.name, (f"{severity}: {condition.name}", body), now, not_before
                )

    def _resolve(self, db: Connection, alert_id: str, now: datetime) -> None:
        db.execute(update(alerts).where(alerts.c.alert_id == alert_id).values(resolved_at=now))
        waiting = (
            alert_deliveries.c.alert_id == alert_id,
            alert_deliveries.c.delivered_at.is_(None),
            alert_deliveries.c.attempts == 0,
            alert_deliveries.c.not_before > now,
        )
        # Drop the messages of an alert that opened and resolved within the quiet hours.
        db.execute(update(alert_deliveries).where(*waiting).values(dropped_at=now))
        opened = select(alert_deliveries).where(
            alert_deliveries.c.alert_id == alert_id,
            alert_deliveries.c.kind == OPENED,
            alert_deliveries.c.dropped_at.is_(None),
        )
        for row in db.execute(opened).mappings():
            title = f"resolved: {row['title']}"
            not_before = max(now, row["not_before"]) if row["delivered_at"] is None else now
            self._write(db, alert_id, RESOLVED, row["channel"], (title, row["body"]), now, not_before)

    @staticmethod
    def _write(
        db: Connection,
        alert_id: str,
        kind: DeliveryKind,
        channel: str,
        content: tuple[str, str],
        now: datetime,
        not_before: datetime,
    ) -> None:
        """Write a message. `content` is its title and body."""
        row = {
            "delivery_id": f"{alert_id}/{kind}/{channel}",
            "alert_id": alert_id,
            "kind": kind,
            "channel": channel,
            "title": content[0],
            "body": content[1],
            "created_at": now,
            "not_before": not_before,
        }
        db.execute(insert(alert_deliveries).values(row).on_conflict_do_nothing())

    def deliver(self, send: SendMessage, now: datetime) -> int:
        """Send the due messages, oldest first. Return how many were accepted. Failures are retried with back-off."""
        delivered = 0
        for _ in range(BATCH):
            # One transaction per message: a sent message stays marked if the next one fails.
            with self._engine.begin() as db:
                due = (
                    select(alert_deliveries, alerts.c.severity)
                    .join(alerts, alerts.c.alert_id == alert_deliveries.c.alert_id)
                    .where(
                        alert_deliveries.c.delivered_at.is_(None),
                        alert_deliveries.c.dropped_at.is_(None),
                        alert_deliveries.c.not_before <= now,
                    )
                    .order_by(alert_deliveries.c.created_at, alert_deliveries.c.delivery_id)
                    .limit(1)
                    .with_for_update(of=alert_deliveries, skip_locked=True)
                )
                row = db.execute(due).mappings().first()
                if row is None:
                    break
                message = Message(*(row[name] for name in Message._fields))
                error = send(message)
                delivered += error is None
                db.execute(
                    update(alert_deliveries)
                    .where(alert_deliveries.c.delivery_id == message.delivery_id)
                    .values(_attempt_values(message, error, now))
                )
        return delivered

    def list_alerts(self, *, include_resolved: bool, limit: int) -> list[Mapping[str, object]]:
        with self._engine.connect() as db:
            return read_alerts(db, include_resolved=include_resolved, limit=limit)


def _attempt_values(message: Message, error: str | None, now: datetime) -> dict[str, object]:
    if error is None:
        return {"delivered_at": now, "attempts": message.attempts + 1, "last_error": None}
    pause_s = min(RETRY_FIRST_S * 2**message.attempts, RETRY_MAX_S)
    return {
        "attempts": message.attempts + 1,
        "last_error": error[:500],
        "not_before": now + timedelta(seconds=pause_s),
    }


def read_alerts(db: Connection, *, include_resolved: bool, limit: int) -> list[Mapping[str, object]]:
    """Return alerts, open ones first, newest first. `told` and `untold` count the sent and unsent messages of each."""
    sent = func.count(alert_deliveries.c.delivered_at)
    unsent = func.count().filter(
        alert_deliveries.c.delivery_id.is_not(None),
        alert_deliveries.c.delivered_at.is_(None),
        alert_deliveries.c.dropped_at.is_(None),
    )
    query = (
        select(alerts, sent.label("told"), unsent.label("untold"))
        .outerjoin(alert_deliveries, alert_deliveries.c.alert_id == alerts.c.alert_id)
        .where(true() if include_resolved else alerts.c.resolved_at.is_(None))
        .group_by(alerts.c.alert_id)
        .order_by(alerts.c.resolved_at.is_not(None), desc(alerts.c.opened_at), alerts.c.alert_id)
        .limit(limit)
    )
    return [dict(row) for row in db.execute(query).mappings()]


def utc_now() -> datetime:
    return datetime.now(UTC)
