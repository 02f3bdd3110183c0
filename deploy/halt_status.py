"""The state of the kill switch: of this host, of the gateway and of risk. What cannot be read is UNKNOWN."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from deploy.home import Home
from deploy.host_halt import HaltConfirmation, recorded_addresses, runs

if TYPE_CHECKING:
    from sinks.host_kill_switch import GatewayReport, HostHalt

RiskState = Literal["ACTIVE", "REDUCING", "HALTED", "PENDING", "UNKNOWN"]
_CONNECT_TIMEOUT_S = 2


@dataclass(frozen=True)
class HaltStatus:
    """`state` is HALTED if the flag is set or risk has halted. `risk` is PENDING while it has not followed the flag.

    `gateway` shows whether its process has confirmed the flag; without a flag, whether it runs (CONFIRMED) or not.
    `since_ns` is the time of the halt on this host, 0 without one.
    """

    state: Literal["ACTIVE", "HALTED", "UNKNOWN"]
    gateway: HaltConfirmation
    risk: RiskState
    flag: bool
    actor: str
    reason: str
    command_id: str
    since_ns: int
    published: bool
    cancelled: int
    open_orders: int
    gateway_error: str

    def as_tree(self) -> dict[str, object]:
        return asdict(self)


def read_halt_status(home: Home) -> HaltStatus:
    """Read the files of the state folder, and risk's last fence from the database."""
    from sinks.host_kill_switch import HostKillSwitch

    switch = HostKillSwitch(home.run)
    halt, report = switch.halt(), switch.read_report()
    fence = _last_fence_state(home)
    risk: RiskState = fence
    if halt is not None and fence in ("ACTIVE", "REDUCING"):
        risk = "PENDING"
    halted = halt is not None or fence == "HALTED"
    return HaltStatus(
        state="HALTED" if halted else "UNKNOWN" if fence == "UNKNOWN" else "ACTIVE",
        gateway=_gateway_state(halt, report),
        risk=risk,
        flag=halt is not None,
        actor="" if halt is None else halt.actor,
        reason="" if halt is None else halt.reason,
        command_id="" if halt is None else halt.command_id,
        since_ns=0 if halt is None else halt.ts_ns,
        published=halt is not None and switch.is_published(halt),
        cancelled=0 if report is None else report.cancelled,
        open_orders=-1 if report is None else report.open_orders,
        gateway_error="" if report is None else report.error,
    )


def _gateway_state(halt: HostHalt | None, report: GatewayReport | None) -> HaltConfirmation:
    from sinks.host_kill_switch import is_confirmed

    if not runs(report):
        return "NOT_RUNNING"
    if halt is None:
        return "CONFIRMED" if report is not None and report.state == "ACTIVE" else "PENDING"
    return "CONFIRMED" if is_confirmed(report, halt.command_id) else "PENDING"


def _last_fence_state(home: Home) -> Literal["ACTIVE", "REDUCING", "HALTED", "UNKNOWN"]:
    """Return the state of risk's last fence. ACTIVE if there is none, UNKNOWN if the database does not respond."""
    import os

    import psycopg2

    from sinks.database import libpq_url

    url = os.environ.get("DATABASE_URL") or recorded_addresses(home).get("DATABASE_URL")
    if not url:
        return "UNKNOWN"
    options = "-c statement_timeout=2000"
    try:
        with closing(psycopg2.connect(libpq_url(url), connect_timeout=_CONNECT_TIMEOUT_S, options=options)) as database:
            cursor = database.cursor()
            cursor.execute("SELECT state FROM risk_fences ORDER BY seq DESC LIMIT 1")
            row = cursor.fetchone()
    except psycopg2.Error:
        return "UNKNOWN"
    state = "ACTIVE" if row is None else str(row[0])
    for known in ("ACTIVE", "REDUCING", "HALTED"):
        if state == known:
            return known
    return "UNKNOWN"
