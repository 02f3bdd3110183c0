"""Why an open order waits: the service that has not processed it, or the event that it needs.

The result is for display. It is derived from the reports of the services at this moment and decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, desc, or_, select

from api.dataflow_stats import is_crash_loop, read_children, read_stats, with_services
from api.json_types import ApiModel, utc
from api.market_hours import market_open, slice_interval_s
from api.resources import Resources
from schemas.records import HALTED, MARKET, READY, Execution, Order, OrderTerms
from sinks.host_kill_switch import HostKillSwitch
from sinks.tables import gateway_statuses, order_intents, risk_fences

FEED = "market_data"
ORDER_PATH = (
    *(FEED, "features", "sentiment", "predictions", "signals"),
    *("execution", "strategies", "portfolio", "risk"),
)
"""The services whose time slices an order needs until the venue has it, upstream first. One that stands still stops all
that follow, because a service processes a time slice only when all its inputs have reached it."""
SILENT_AFTER_S = 15.0
"""A service reports about once a second."""
STUCK_AFTER_S = 10.0
"""A service that processed nothing for so long after a time slice of the feed does not keep up."""

Cause = Literal[
    "feed_finished",
    "service_down",
    "service_behind",
    "halted",
    "reconciling",
    "parent",
    "market_closed",
    "broker",
    "gateway",
    "next_slice",
    "next_bar",
]


class WaitingFor(ApiModel):
    """Why an order waits. `service` is the service that has not processed it, or null if no service is the reason."""

    cause: Cause
    service: str | None
    text: str


class PlatformProgress(NamedTuple):
    """What the services report at `now` (seconds since 1970).

    stats        reports of the dataflows by service (`run/stats`)
    children     what the supervisor reports of each process; empty without a supervisor
    market_open  whether bars are expected now
    halted       why trading is halted, "" if it is not
    reconciling  why the gateway is not reconciled with its broker, "" if it is
    broker       "simulated", or the broker to which orders go
    slice_s      longest time between two time slices of a live feed now; 0 for other feeds
    """

    stats: Mapping[str, Mapping[str, Any]]
    children: Mapping[str, Mapping[str, Any]]
    now: float
    market_open: Callable[[], bool]
    halted: str = ""
    reconciling: str = ""
    broker: str = "simulated"
    slice_s: Callable[[], float] = lambda: 0.0


def read_progress(db: Connection, resources: Resources) -> PlatformProgress:
    settings, run = resources.settings, resources.home / "run"
    fence = db.execute(select(risk_fences).order_by(desc(risk_fences.c.seq)).limit(1)).mappings().first()
    halted = "" if fence is None or fence["state"] != HALTED else fence["reason"] or "no reason given"
    host_halt = HostKillSwitch(run).halt() if run.is_dir() else None
    status = db.execute(select(gateway_statuses).order_by(desc(gateway_statuses.c.seq)).limit(1)).mappings().first()
    stats = read_stats(resources.home)
    return PlatformProgress(
        stats=stats,
        children=with_services(read_children(resources.home), stats),
        now=time.time(),
        market_open=lambda: market_open(settings, datetime.now(UTC)),
        halted=halted if host_halt is None else host_halt.text,
        reconciling="" if status is None or status["state"] == READY else status["reason"] or status["state"].lower(),
        broker=settings.execution.broker,
        slice_s=lambda: slice_interval_s(settings, datetime.now(UTC)),
    )


def sent_to_broker(db: Connection, order_ids: Sequence[str]) -> frozenset[str]:
    """Return the orders of `order_ids` for which the gateway has recorded a request to the broker."""
    names = (order_intents.c.order_id, order_intents.c.stop_client_order_id)
    query = select(*names).where(or_(*(name.in_(order_ids) for name in names)))
    # The stop of an OCO order is sent with the request of its take profit.
    return frozenset(order_id for row in db.execute(query) for order_id in row if order_id in order_ids)


def waiting_for_risk(progress: PlatformProgress) -> WaitingFor:
    """Why risk has not decided on a manual order."""
    blocked = stopped_service(progress)
    if blocked is not None:
        return blocked
    if progress.halted:
        text = f"Risk rejects the order at its next time slice, because trading is halted: {progress.halted}."
        return WaitingFor(cause="halted", service="risk", text=text)
    if progress.reconciling:
        text = f"Risk rejects the order at its next time slice. The gateway is not ready: {progress.reconciling}."
        return WaitingFor(cause="reconciling", service="execution", text=text)
    return WaitingFor(cause="next_slice", service="risk", text="Risk decides at its next time slice.")


def waiting_for_venue(
    progress: PlatformProgress, order: Order, reports: Sequence[Execution], *, sent: bool
) -> WaitingFor | None:
    """Why an approved order that is open has no further report. None if it only waits for its price.

    `sent` is true if the gateway has recorded a request to the broker.
    """
    blocked = stopped_service(progress)
    if blocked is not None:
        return blocked
    if progress.halted:
        text = f"Trading is halted, so the order is cancelled at the next time slice: {progress.halted}."
        return WaitingFor(cause="halted", service="execution", text=text)
    terms = order.terms
    if terms.parent_id and not any(report.cum_quantity for report in reports):
        text = f"An exit or follow-up order starts after the fill of {terms.parent_id}."
        return WaitingFor(cause="parent", service=None, text=text)
    if not reports and not _has_processed(progress, order):
        return WaitingFor(
            cause="next_slice", service="execution", text="The venue receives the order at the next time slice."
        )
    if progress.broker != "simulated" and not reports:
        return _waiting_for_broker(progress, terms, sent=sent)
    return None if terms.order_type != MARKET else _waiting_for_bar(progress, terms)


def stopped_service(progress: PlatformProgress) -> WaitingFor | None:
    """Return the first service on the path of an order that stands still; None if all go on."""
    feed = progress.stats.get(FEED)
    for name in ORDER_PATH:
        row, child = progress.stats.get(name), progress.children.get(name)
        if name == FEED and row is not None and row.get("feed_finished"):
            text = f"The feed has finished{_at(row)}. No time slice follows, so nothing is processed any more."
            return WaitingFor(cause="feed_finished", service=FEED, text=text)
        if child is not None and child.get("status") not in ("healthy", "starting"):
            state = "in a crash loop and is not restarted" if is_crash_loop(child) else child.get("status")
            return WaitingFor(cause="service_down", service=name, text=f"{name} is {state}.")
        if row is None:
            return WaitingFor(cause="service_down", service=name, text=f"{name} is not running: it has no report.")
        age_s = progress.now - float(row["updated_at"])
        if age_s > SILENT_AFTER_S:
            text = f"{name} is not running: its last report is {age_s:,.0f} s old."
            return WaitingFor(cause="service_down", service=name, text=text)
        if feed is not None and name != FEED and _is_stuck(row, feed, progress):
            text = f"{name} has processed no time slice for {progress.now - row['moved_at']:,.0f} s."
            return WaitingFor(cause="service_behind", service=name, text=text)
    return None


def _is_stuck(row: Mapping[str, Any], feed: Mapping[str, Any], progress: PlatformProgress) -> bool:
    """Whether a service has not processed a time slice that the feed closed at least `STUCK_AFTER_S` ago.

    The feed reports only its last time slice. It closed an earlier one at most `slice_s` before it.
    """
    if "moved_at" not in row or "moved_at" not in feed or row.get("last_tick_ns", -1) >= feed.get("last_tick_ns", -1):
        return False
    if progress.now - row["moved_at"] <= STUCK_AFTER_S:
        return False
    return bool(
        progress.now - feed["moved_at"] > STUCK_AFTER_S
        or progress.now - row["moved_at"] > STUCK_AFTER_S + progress.slice_s()
    )


def _at(row: Mapping[str, Any]) -> str:
    last_ns = row.get("last_tick_ns", -1)
    return f" at {utc(last_ns)}" if last_ns > 0 else ""


def _has_processed(progress: PlatformProgress, order: Order) -> bool:
    """Whether `execution` has processed a time slice after the one in which risk approved the order."""
    return bool(progress.stats["execution"].get("last_tick_ns", -1) > order.ts_ns)


def _waiting_for_broker(progress: PlatformProgress, terms: OrderTerms, *, sent: bool) -> WaitingFor:
    if progress.reconciling:
        text = f"The gateway is not reconciled with {progress.broker}: {progress.reconciling}."
        return WaitingFor(cause="reconciling", service="execution", text=text)
    if sent:
        text = f"The order is on its way to {progress.broker}, which has not answered."
        return WaitingFor(cause="broker", service="execution", text=text)
    text = f"The gateway sends the order when its other orders for {terms.symbol} have ended at the broker."
    return WaitingFor(cause="gateway", service="execution", text=text)


def _waiting_for_bar(progress: PlatformProgress, terms: OrderTerms) -> WaitingFor:
    if not progress.market_open():
        text = "The market is closed. The order can trade when the next session opens."
        return WaitingFor(cause="market_closed", service=None, text=text)
    text = f"The order is at the venue and trades with the next bar of {terms.symbol}."
    return WaitingFor(cause="next_bar", service=None, text=text)
