"""What is open and what has to be told, in Postgres: an alert and its messages are written together, then delivered.

At least once: a message is marked when the channel has taken it, so a crash in between tells it again, with the same id
in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine, desc, func, select, true, update
from sqlalchemy.dialects.postgresql import insert

from api.alerting.conditions import Found
from configs.alerts import Alerts
from sinks.alerts import alert_deliveries, alerts

OPENED, RESOLVED = "opened", "resolved"
RETRY_FIRST_S, RETRY_MAX_S = 5.0, 600.0
BATCH = 20


class Message(NamedTuple):
    """One message to one channel. `delivery_id` is the same whenever it is sent again."""

    delivery_id: str
    channel: str
    severity: str
    title: str
    body: str
    attempts: int


Deliver = Callable[[Message], str | None]
"""Sends a message; returns what went wrong, None when the channel took it."""


class Outbox:
    """All times are this process's clock."""

    def __init__(self, engine: Engine, settings: Alerts) -> None:
        self._engine, self._settings = engine, settings

    def keep(self, met: Mapping[str, Found], now: datetime) -> None:
        """Make the open alerts those that are `met`, by key, and write what has to be told about the difference."""
        with self._engine.begin() as db:
            known = {row.key: row for row in db.execute(select(alerts).where(alerts.c.resolved_at.is_(None)))}
            for key in sorted(met.keys() - known.keys()):
                self._open(db, met[key], now)
            for key in sorted(known.keys() - met.keys()):
                self._resolve(db, known[key].alert_id, now)

    def _open(self, db: Connection, found: Found, now: datetime) -> None:
        severity = self._settings.severity_of(found.name)
        alert_id = f"{found.key}@{int(now.timestamp() * 1000)}"
        shown = {"name": found.name, "summary": found.summary, "value": found.value, "threshold": found.threshold}
        row = {"alert_id": alert_id, "key": found.key, "severity": severity, "opened_at": now, **shown}
        written = db.execute(insert(alerts).values(row).on_conflict_do_nothing().returning(alerts.c.alert_id)).first()
        since = now - timedelta(seconds=self._settings.dedupe_window)
        told = select(alert_deliveries.c.delivery_id).join(alerts, alerts.c.alert_id == alert_deliveries.c.alert_id)
        lately = told.where(
            alerts.c.key == found.key, alert_deliveries.c.kind == OPENED, alert_deliveries.c.created_at > since
        )
        if written is None or db.execute(lately.limit(1)).first() is not None:
            return
        quiet = self._settings.quiet_hours
        not_before = (quiet.holds_back(severity, now) if quiet else None) or now
        for channel in self._settings.channels:
            if channel.takes(severity):
                body = f"{found.summary} (limit {found.threshold:g})"
                self._write(db, alert_id, OPENED, channel.name, (f"{severity}: {found.name}", body), now, not_before)

    def _resolve(self, db: Connection, alert_id: str, now: datetime) -> None:
        db.execute(update(alerts).where(alerts.c.alert_id == alert_id).values(resolved_at=now))
        waiting = (
            alert_deliveries.c.alert_id == alert_id,
            alert_deliveries.c.delivered_at.is_(None),
            alert_deliveries.c.attempts == 0,
            alert_deliveries.c.not_before > now,
        )
        # Held back by quiet hours and over before they end: nobody needs to know.
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
        kind: str,
        channel: str,
        said: tuple[str, str],
        now: datetime,
        not_before: datetime,
    ) -> None:
        """`said` is the message's title and body."""
        row = {
            "delivery_id": f"{alert_id}/{kind}/{channel}",
            "alert_id": alert_id,
            "kind": kind,
            "channel": channel,
            "title": said[0],
            "body": said[1],
            "created_at": now,
            "not_before": not_before,
        }
        db.execute(insert(alert_deliveries).values(row).on_conflict_do_nothing())

    def deliver(self, send: Deliver, now: datetime) -> int:
        """Send what is due, oldest first; returns how many were taken. A failure is tried again later, ever later."""
        taken = 0
        for _ in range(BATCH):
            # One transaction a message: what was sent stays marked whatever happens to the next one.
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
                taken += error is None
                db.execute(
                    update(alert_deliveries)
                    .where(alert_deliveries.c.delivery_id == message.delivery_id)
                    .values(_after(message, error, now))
                )
        return taken

    def listed(self, *, include_resolved: bool, limit: int) -> list[Mapping[str, object]]:
        with self._engine.connect() as db:
            return read_alerts(db, include_resolved=include_resolved, limit=limit)


def _after(message: Message, error: str | None, now: datetime) -> dict[str, object]:
    if error is None:
        return {"delivered_at": now, "attempts": message.attempts + 1, "last_error": None}
    pause_s = min(RETRY_FIRST_S * 2**message.attempts, RETRY_MAX_S)
    return {
        "attempts": message.attempts + 1,
        "last_error": error[:500],
        "not_before": now + timedelta(seconds=pause_s),
    }


def read_alerts(db: Connection, *, include_resolved: bool, limit: int) -> list[Mapping[str, object]]:
    """Newest first, the open ones before the others; `told` and `untold` count the messages about each."""
    told = func.count(alert_deliveries.c.delivered_at)
    untold = func.count().filter(
        alert_deliveries.c.delivery_id.is_not(None),
        alert_deliveries.c.delivered_at.is_(None),
        alert_deliveries.c.dropped_at.is_(None),
    )
    query = (
        select(alerts, told.label("told"), untold.label("untold"))
        .outerjoin(alert_deliveries, alert_deliveries.c.alert_id == alerts.c.alert_id)
        .where(true() if include_resolved else alerts.c.resolved_at.is_(None))
        .group_by(alerts.c.alert_id)
        .order_by(alerts.c.resolved_at.is_not(None), desc(alerts.c.opened_at), alerts.c.alert_id)
        .limit(limit)
    )
    return [dict(row) for row in db.execute(query).mappings()]


def utc_now() -> datetime:
    return datetime.now(UTC)
