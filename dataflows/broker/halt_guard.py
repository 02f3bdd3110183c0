"""Enforce the kill switch of this host at the broker, in a thread of its own, whatever the rest of the process does.

The guard cancels each working order of this platform by its id and confirms in the gateway's report. What the broker
then reports reaches the log like every other update, so that a replay is equal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Protocol

import psutil
import structlog

from dataflows.broker.broker_errors import BrokerThrottled, BrokerUncertain
from dataflows.broker.submission_gate import SubmissionGate
from schemas.errors import Unavailable
from schemas.records import Command
from sinks.background_thread import BackgroundThread
from sinks.host_kill_switch import GatewayHaltState, GatewayReport, HostHalt, HostKillSwitch, is_confirmed

log = structlog.get_logger(__name__)

POLL_S = 0.1
RESWEEP_S = (0.1, 2.0)
"""While orders work, they are listed again after the first delay, which doubles up to the second one: a broker limits
the requests per minute."""
SWEEP_S = 5.0
"""While trading is halted, the working orders are listed at this interval: a request can reach the broker late."""
PUBLISH_AFTER_S = 5.0
"""Age of a halt from which on this process publishes its command, if nobody else could."""
_IDLE_WAIT_S = 0.2


class WorkingOrders(Protocol):
    """The working orders of this platform at a broker. Both methods raise BrokerThrottled or BrokerUncertain."""

    def broker_ids(self) -> dict[str, bool]:
        """Return the broker's id of each working order, and whether the broker has accepted a cancel of it."""

    def cancel(self, broker_id: str) -> None:
        """Request a cancel. An order that has ended is ignored."""


class NoWorkingOrders:
    """The simulated venue has no orders outside the log: the command itself cancels them."""

    def broker_ids(self) -> dict[str, bool]:
        return {}

    def cancel(self, broker_id: str) -> None:
        raise AssertionError(f"the simulated venue has no order {broker_id} to cancel")


class HaltGuard:
    """Follows the flag of this host: `start`, `stop`. `publish` writes a halt's command to the log.

    `broker` and `order_id_prefix` are reported for commands that must act without this process.
    """

    def __init__(
        self,
        switch: HostKillSwitch,
        orders: WorkingOrders,
        gate: SubmissionGate,
        publish: Callable[[Command], None],
        *,
        broker: str,
        order_id_prefix: str,
    ) -> None:
        self._switch, self._orders, self._gate, self._publish = switch, orders, gate, publish
        process_started_at = psutil.Process().create_time()
        self._report = GatewayReport(
            state="ACTIVE",
            command_id="",
            cancelled=0,
            open_orders=-1,
            error="",
            at_ns=time.time_ns(),
            pid=os.getpid(),
            process_started_at=process_started_at,
            broker=broker,
            order_id_prefix=order_id_prefix,
        )
        self._cancelled: set[str] = set()
        self._sweep_due_s, self._resweep_s = 0.0, RESWEEP_S[0]
        self._guard = BackgroundThread("kill-switch", self._run_guard)
        self._publisher = BackgroundThread("kill-switch-publisher", self._run_publisher)

    def start(self) -> None:
        self._write(self._report)
        self._guard.start()
        self._publisher.start()

    def stop(self) -> None:
        for thread in (self._guard, self._publisher):
            thread.request_stop()
        for thread in (self._guard, self._publisher):
            thread.join(5)

    def _run_guard(self) -> None:
        while not self._guard.stop_requested.is_set():
            self.step(time.monotonic())
            self._guard.stop_requested.wait(POLL_S)

    def step(self, now_s: float) -> None:
        """Act on the flag once."""
        halt = self._switch.halt()
        if halt is None:
            if self._report.state != "ACTIVE":
                self._change("ACTIVE", "", open_orders=-1, error="")
            return
        if self._report.command_id != halt.command_id:
            log.critical("the kill switch is on", actor=halt.actor, reason=halt.reason, command=halt.command_id)
            self._cancelled.clear()
            self._change("PENDING", halt.command_id, open_orders=-1, error="")
            self._sweep_due_s, self._resweep_s = now_s, RESWEEP_S[0]
        if now_s >= self._sweep_due_s:
            self._sweep(halt, now_s)

    def _sweep(self, halt: HostHalt, now_s: float) -> None:
        """Cancel what works at the broker. Confirm if nothing does, and no order can be on its way any more."""
        try:
            is_idle = self._gate.is_idle(0.0)
            working = self._orders.broker_ids()
            for broker_id, is_cancelled in working.items():
                if not is_cancelled:
                    self._orders.cancel(broker_id)
                self._cancelled.add(broker_id)
            if not working and not is_idle:
                # An order is being sent. It is listed once its request has ended.
                self._gate.is_idle(_IDLE_WAIT_S)
        except BrokerThrottled as throttled:
            self._sweep_due_s = now_s + throttled.wait_s
            self._change("PENDING", halt.command_id, open_orders=-1, error=str(throttled))
            return
        except BrokerUncertain as error:
            self._change("PENDING", halt.command_id, open_orders=-1, error=f"no response from the broker: {error}")
            return
        if working or not is_idle:
            self._sweep_due_s, self._resweep_s = now_s + self._resweep_s, min(2 * self._resweep_s, RESWEEP_S[1])
            self._change("PENDING", halt.command_id, open_orders=len(working), error="")
            return
        self._sweep_due_s = now_s + SWEEP_S
        self._change("HALTED", halt.command_id, open_orders=0, error="")

    def _change(self, state: GatewayHaltState, command_id: str, *, open_orders: int, error: str) -> None:
        if state == "HALTED" and not is_confirmed(self._report, command_id):
            log.warning("the kill switch is confirmed", cancelled=len(self._cancelled), command=command_id)
        changed = self._report._replace(
            state=state, command_id=command_id, cancelled=len(self._cancelled), open_orders=open_orders, error=error
        )
        if changed != self._report:
            self._write(changed._replace(at_ns=time.time_ns()))

    def _write(self, report: GatewayReport) -> None:
        self._report = report
        try:
            self._switch.write_report(report)
        except OSError as error:
            log.error("cannot write the report of the kill switch", error=str(error))

    def _run_publisher(self) -> None:
        while not self._publisher.stop_requested.is_set():
            self.publish_missing(time.time_ns())
            self._publisher.stop_requested.wait(1.0)

    def publish_missing(self, now_ns: int) -> None:
        """Publish the command of a halt that was set while Kafka did not respond. A repeat has the same id."""
        halt = self._switch.halt()
        if halt is None or not self._switch.can_publish(halt) or now_ns - halt.ts_ns < PUBLISH_AFTER_S * 1e9:
            return
        if self._switch.is_published(halt):
            return
        try:
            self._publish(halt.as_command())
        except Unavailable as error:
            log.warning("the command of the kill switch is not in the log yet", error=str(error))
            return
        self._switch.mark_published(halt.command_id)
