"""Halt trading on this host, whatever else runs: set the flag, publish the command, and find out who confirms.

The gateway confirms if its process runs. Without it, this module cancels the orders at the broker itself; the flag
blocks the gateway when it starts again. The simulated venue has no orders outside the log: it needs no cancels.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from configs.recorded_endpoints import ADDRESS_VARIABLES, read_endpoints
from deploy.home import Home
from deploy.supervisor.processes import ProcessIdentity
from schemas.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from configs.settings import Settings
    from schemas.records import Command
    from sinks.host_kill_switch import GatewayReport, HostKillSwitch

HaltConfirmation = Literal["CONFIRMED", "NOT_RUNNING", "PENDING", "UNKNOWN"]
_CANCEL_PAUSE_S = 0.05
_SIMULATED = "simulated"
_LEASE_AGE_MAX_S = 5
"""The gateway renews its lease every second (`sinks/leases.py`)."""
_LEASE_SQL = "SELECT holder FROM service_leases WHERE service = %s AND renewed_at > now() - %s * interval '1 second'"


@dataclass(frozen=True)
class HaltOutcome:
    """What `halt` achieved.

    gateway    CONFIRMED by its process; NOT_RUNNING; PENDING, if it runs and has not confirmed in time; UNKNOWN, if
               this host has no state folder
    cancelled  orders that were cancelled at the broker
    safe       whether no order of the platform works at the broker, and the flag blocks new ones
    published  whether Kafka acknowledged the command
    confirmed_s  seconds from the command until no order worked at the broker, None if that is not confirmed
    problems   what failed, one sentence each
    """

    command_id: str
    gateway: HaltConfirmation
    cancelled: int
    safe: bool
    published: bool
    elapsed_s: float
    confirmed_s: float | None
    problems: tuple[str, ...]


class _Publication:
    """Publishes a command in a thread, so that a Kafka that does not respond delays nothing."""

    def __init__(self, settings: Settings, command: Command, timeout_s: float) -> None:
        self._settings, self._command, self._timeout_s = settings, command, timeout_s
        self.error = f"Kafka does not respond within {timeout_s:g} s"
        self.done = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        from configs.command_signing import command_signer
        from sinks.commands import send
        from sinks.signing_keys import COMMAND_LINE

        kafka, signer = self._settings.kafka, command_signer(COMMAND_LINE)
        try:
            send(kafka.cluster, self._command, prefix=kafka.topic_prefix, timeout_s=self._timeout_s, signer=signer)
            self.done = True
        except Unavailable as error:
            self.error = str(error)

    def wait(self, timeout_s: float) -> bool:
        self._thread.join(max(0.0, timeout_s))
        return self.done


def halt(home: Home, command: Command, timeout_s: float) -> HaltOutcome:
    """Halt trading: `command` is the KILL_SWITCH. Returns after at most about `timeout_s`, or twice that if the gateway
    does not confirm and this process cancels the orders. Without the flag, as on a full disk, the rest is done.
    """
    from sinks.host_kill_switch import HostKillSwitch

    started_s = time.monotonic()
    switch = HostKillSwitch(home.run)
    problems: list[str] = []
    has_home, has_flag = home.run.is_dir(), False
    if has_home:
        try:
            switch.engage(command)
            has_flag = True
        except OSError as error:
            problems.append(f"cannot set the flag in {home.run}, so that new orders are not blocked: {error.strerror}")
    settings = _load_settings(home, problems)
    publication = None if settings is None else _Publication(settings, command, timeout_s)
    if has_home:
        gateway, cancelled, safe = _confirm(switch, command.command_id, settings, timeout_s, problems)
    else:
        gateway, cancelled, safe = "UNKNOWN", 0, False
        problems.append(f"no state folder in {home.root}, so that the gateway cannot confirm to this command")
    confirmed_s = _confirmed_s(switch, command, gateway) if safe else None
    published = publication is not None and publication.wait(started_s + timeout_s + 1.0 - time.monotonic())
    if published and has_flag:
        switch.mark_published(command.command_id)
    elif publication is not None and not published:
        problems.append(f"the command is not in the log yet: {publication.error}")
    if published and settings is not None and settings.execution.broker == _SIMULATED:
        safe = True  # the venue applies the command before the next bar, also after a pause
    return HaltOutcome(
        command_id=command.command_id,
        gateway=gateway,
        cancelled=cancelled,
        safe=safe and (has_flag or published),
        published=published,
        elapsed_s=time.monotonic() - started_s,
        confirmed_s=confirmed_s,
        problems=tuple(problems),
    )


def _confirmed_s(switch: HostKillSwitch, command: Command, gateway: HaltConfirmation) -> float:
    report = switch.read_report() if gateway == "CONFIRMED" else None
    return ((time.time_ns() if report is None else report.at_ns) - command.ts_ns) / 1e9


def _load_settings(home: Home, problems: list[str]) -> Settings | None:
    """Load the settings of the last start. Settings that are invalid now must not prevent the halt."""
    from deploy.recovery.recorded_topics import platform_settings

    try:
        return platform_settings(home, recorded_addresses(home))
    except BadInput as error:
        problems.append(f"cannot load the settings, so that the command is not in the log: {error}")
        return None


def recorded_addresses(home: Home) -> dict[str, str]:
    """Return the addresses of the platform's services that the environment does not set, also of a platform that does
    not run.
    """
    addresses = read_endpoints(home.secrets)
    return {name: addresses[name] for name in ADDRESS_VARIABLES if name in addresses and not os.environ.get(name)}


def _confirm(
    switch: HostKillSwitch, command_id: str, settings: Settings | None, timeout_s: float, problems: list[str]
) -> tuple[HaltConfirmation, int, bool]:
    """Return the state of the gateway, the number of cancelled orders, and whether no order works any more."""
    from sinks.host_kill_switch import is_confirmed

    report = switch.read_report()
    if runs(report):
        report = switch.wait_for_gateway(command_id, timeout_s)
        if report is not None and is_confirmed(report, command_id):
            return "CONFIRMED", report.cancelled, True
    gateway: HaltConfirmation = "PENDING" if runs(report) else "NOT_RUNNING"
    if gateway == "PENDING" and report is not None:
        detail = f": {report.error}" if report.error and report.command_id == command_id else ""
        problems.append(f"the gateway (pid {report.pid}) did not confirm within {timeout_s:g} s{detail}")
    broker = report.broker if report is not None else "" if settings is None else settings.execution.broker
    if broker == _SIMULATED:
        return gateway, 0, gateway == "NOT_RUNNING"
    if settings is None:
        return gateway, 0, False
    cancelled, problem = _cancel_at_broker(settings, report, timeout_s)
    elsewhere = "" if gateway == "PENDING" else _gateway_elsewhere(settings)
    if elsewhere:
        gateway = "PENDING"
        problem = f"the gateway runs on another host ({elsewhere}), which has no flag; run the command there. {problem}"
    if problem:
        problems.append(problem.strip())
    return gateway, cancelled, gateway == "NOT_RUNNING" and not problem


def runs(report: GatewayReport | None) -> bool:
    """Whether the process that wrote the report still runs on this host."""
    return report is not None and ProcessIdentity(report.pid, report.process_started_at).alive()


def _cancel_at_broker(settings: Settings, report: GatewayReport | None, timeout_s: float) -> tuple[int, str]:
    """Cancel this platform's orders at the broker. Return their number, and why some may still work, or ""."""
    from dataflows.broker.alpaca_halt import AlpacaWorkingOrders, halt_api
    from dataflows.broker.broker_errors import BrokerThrottled, BrokerUncertain
    from dataflows.broker.updates import OrderIdPrefix

    cancelled: set[str] = set()
    deadline = time.monotonic() + timeout_s
    try:
        prefix = report.order_id_prefix if report is not None else _order_id_prefix(settings)
        orders = AlpacaWorkingOrders(halt_api(settings), OrderIdPrefix(prefix))
        problem = ""
        while True:
            try:
                working = orders.broker_ids()
                for broker_id, is_cancelled in working.items():
                    if not is_cancelled:
                        orders.cancel(broker_id)
                    cancelled.add(broker_id)
                if not working:
                    return len(cancelled), ""
                problem = f"{len(working)} orders still work at the broker"
            except (BrokerThrottled, BrokerUncertain) as error:
                problem = f"the broker did not respond to the cancels: {error}"
            if time.monotonic() >= deadline:
                return len(cancelled), problem
            time.sleep(_CANCEL_PAUSE_S)
    except (BadInput, Unavailable) as error:
        return len(cancelled), f"cannot cancel the orders at the broker: {error}"


def _gateway_elsewhere(settings: Settings) -> str:
    """Return the holder of the gateway's lease if it acts on another host. "" if none does, or if that is unknown."""
    import psycopg2

    from sinks.database import libpq_url

    service = settings.kafka.topic_prefix + "execution"
    url = libpq_url(settings.database.postgres.url)
    try:
        with closing(psycopg2.connect(url, connect_timeout=1, options="-c statement_timeout=1000")) as database:
            cursor = database.cursor()
            cursor.execute(_LEASE_SQL, (service, _LEASE_AGE_MAX_S))
            row = cursor.fetchone()
    except psycopg2.Error:
        return ""
    holder = "" if row is None else str(row[0])
    return "" if holder.split(" ")[0] == socket.gethostname() else holder


def _order_id_prefix(settings: Settings) -> str:
    """Return the prefix of this platform's orders if no gateway has reported it. Raises Unavailable."""
    from confluent_kafka import KafkaException

    from dataflows.broker.broker_setup import platform_id

    try:
        return platform_id(settings) + "-"
    except KafkaException as error:
        raise Unavailable("Kafka does not respond, and no gateway has stored the prefix of its orders") from error
