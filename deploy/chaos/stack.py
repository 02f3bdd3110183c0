"""A temporary platform for one run of `chaos`, with its own state folder, free ports and proxies for its services."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import psycopg2

from configs.recorded_endpoints import ADDRESS_VARIABLES, CREDENTIAL_VARIABLES, PRINCIPAL_VARIABLE, VIEWER
from configs.recorded_endpoints import COMMAND_LINE as CLI_PRINCIPAL
from configs.settings import KafkaSection, load_settings
from dataflows.runtime import topology
from deploy.chaos.limited_disk import LimitedDisk
from deploy.chaos.proxy import Proxy
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.local.ports import free_ports
from deploy.run_program import run_program
from deploy.supervisor import control
from deploy.supervisor.layout import shared_services
from deploy.supervisor.probes import read_stats
from deploy.supervisor.process_spec import DATAFLOW_NAMES, SERVICE_NAMES
from deploy.supervisor.start_options import StartOptions, save_options
from deploy.supervisor.start_progress import stop_platform, wait_until_started
from deploy.supervisor.state import ChildState, ChildStatus, PlatformState, read_state, running_state
from schemas.errors import Unavailable
from schemas.records import Command
from sinks.commands import send
from sinks.database import libpq_url
from sinks.signing_keys import COMMAND_LINE, FOLDER, CommandSigner

PRELOAD = Path(__file__).parent / "preload"
# Longer than a service retries before it exits and is restarted (120 s).
STANDSTILL_S = 240.0
"""Seconds without progress of any dataflow after which the platform counts as deadlocked."""
_EXIT_TIMEOUT_S, _COMMAND_TIMEOUT_S = 30.0, 300.0


class PausedFeed(Protocol):
    """A feed whose process may be paused."""

    def released(self) -> contextlib.AbstractContextManager[None]:
        """Do not pause it during the block."""
        ...


class ChaosStack:
    """A context manager that starts the platform with the options of `start`, and stops it in any case.

    `options` must name a settings file. With `limited_disks`, Kafka and PostgreSQL store their data on disks whose size
    faults can limit.
    """

    def __init__(self, folder: Path, options: StartOptions, *, limited_disks: bool = False) -> None:
        self.home, self._options = Home(folder), options
        self.clocks = folder / "clocks"
        names = (*SERVICE_NAMES, "api")
        self.has_broker = options.broker is not None
        self.broker_port, *other_ports = free_ports(8)
        ports = dict(zip([*names, *(f"{name} client" for name in SERVICE_NAMES)], other_ports, strict=True))
        self.proxies = {name: Proxy(ports[f"{name} client"], ports[name]) for name in SERVICE_NAMES}
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in _EXCLUDED_VARIABLES},
            **{f"PLATFORM_{name.upper()}_PORT": str(ports[name]) for name in names},
            **{f"PLATFORM_{name.upper()}_CLIENT_PORT": str(ports[f"{name} client"]) for name in SERVICE_NAMES},
            "PLATFORM_ALPACA_PORT": str(self.broker_port),
            "PLATFORM_HOME": str(folder),
            "PLATFORM_CHILD_PATH": str(PRELOAD),
            "PLATFORM_DASHBOARD": "off",  # it makes no decisions, and another platform may use its port
            "CHAOS_CLOCKS": str(self.clocks),
            "PYTHONPATH": str(REPOSITORY),
        }
        # The disk of PostgreSQL holds that of Kafka.
        folders = {"postgres": self.home.data, "kafka": self.home.data / "kafka"} if limited_disks else {}
        self.disks = {name: LimitedDisk(path) for name, path in folders.items()}
        self._exits = contextlib.ExitStack()
        self._supervisor: subprocess.Popen[bytes]
        self._is_supervised = True
        self._earlier_restarts = 0

    def __enter__(self) -> ChaosStack:
        self.home.create_folders()
        self.clocks.mkdir()
        for disk in self.disks.values():
            self._exits.enter_context(disk)
        save_options(self.home, self._options)
        for proxy in self.proxies.values():
            self._exits.enter_context(proxy)
        self._exits.callback(stop_platform, self.home, lambda state: None)
        try:
            self.start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    # -- the supervisor

    def start(self) -> None:
        """Start the supervisor with the same options and wait until all services are healthy. Raises DeployError."""
        with (self.home.logs / "supervisor.log").open("ab") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-m", "deploy.supervisor.supervisor"],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until_started(self.home, self._supervisor, lambda state: None)
        except DeployError:
            stop_platform(self.home, lambda state: None)
            self._supervisor.wait(_EXIT_TIMEOUT_S)
            raise
        self._is_supervised = True

    def stop(self, feed: PausedFeed) -> None:
        """Stop the platform as `stop` does. Its processes end and its data remain."""
        self._count_restarts()
        with feed.released():
            self._is_supervised = False
            stop_platform(self.home, lambda state: None)
        self._supervisor.wait(_EXIT_TIMEOUT_S)

    def kill_supervisor(self, *, also: str) -> None:
        """Kill the supervisor and one of its processes."""
        pid = self.wait_for_pid(also)
        self._is_supervised = False
        self._supervisor.kill()
        self._supervisor.wait(_EXIT_TIMEOUT_S)
        os.kill(pid, signal.SIGKILL)

    def reset_clocks(self) -> None:
        """Give all processes the true time again. The platform reports itself unhealthy while a clock is wrong."""
        for path in self.clocks.iterdir():
            self.set_clock(int(path.name), 0.0)

    def set_clock(self, pid: int, offset_s: float) -> None:
        """Shift the wall clock of a process. Raises FileNotFoundError if it has not loaded the fake clock."""
        with (self.clocks / str(pid)).open("r+b") as file:
            file.write(struct.pack("d", offset_s))

    def _count_restarts(self) -> None:
        """Remember the restarts of the processes, which a new supervisor counts from 0 if it starts them itself."""
        self._earlier_restarts += sum(child.restarts for child in self.state().children)

    def restarts_of(self, name: str) -> int:
        """Return the number of restarts of a process since its supervisor started it."""
        return sum(child.restarts for child in self.children(name))

    @property
    def restarts(self) -> int:
        return self._earlier_restarts + sum(child.restarts for child in self.state().children)

    # -- processes

    def state(self) -> PlatformState:
        state = running_state(self.home)
        if state is None and not self._is_supervised:
            state = read_state(self.home)  # a fault has ended the supervisor: the last state
        if state is None:
            raise DeployError(f"the supervisor has exited; its log is {self.home.logs / 'supervisor.log'}")
        failed = [child for child in state.children if child.status is ChildStatus.FAILED]
        if failed:
            raise DeployError(f"service {failed[0].name} has failed: {failed[0].reason}")
        return state

    def children(self, service: str) -> tuple[ChildState, ...]:
        """Return the processes that run a service."""
        return self.state().processes_of(self.process_of(service))

    def process_of(self, service: str) -> str:
        """Return the name of the process that runs a service. In the layout `compact`, several services share one."""
        return topology.COMPACT if service in shared_services(self.home) else service

    def pids(self) -> dict[str, int | None]:
        """Return the pid of each process."""
        return {child.name: child.pid for child in self.state().children if not child.external}

    def wait_until_running(self, timeout_s: float = 120.0) -> None:
        """Wait until all processes are healthy. Raises DeployError after `timeout_s`."""
        self._wait_until_healthy(lambda: self.state().children, timeout_s)

    def wait_for_servers(self, timeout_s: float = 120.0) -> None:
        """Wait until Kafka, PostgreSQL and Redis are healthy. Raises DeployError after `timeout_s`."""
        self._wait_until_healthy(lambda: [c for n in SERVICE_NAMES for c in self.children(n)], timeout_s)

    def wait_until_healthy(self, child: str, timeout_s: float = 120.0) -> None:
        """Wait until this process is healthy. Raises DeployError after `timeout_s`."""
        self._wait_until_healthy(lambda: [c for c in self.state().children if c.name == child], timeout_s)

    def _wait_until_healthy(self, children: Callable[[], Sequence[ChildState]], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while waiting := [child for child in children() if child.status is not ChildStatus.HEALTHY]:
            if time.monotonic() > deadline:
                reason = f"{waiting[0].name} is {waiting[0].status} ({waiting[0].reason})"
                raise DeployError(f"{reason}, expected healthy within {timeout_s:.0f} s")
            time.sleep(0.1)

    def wait_for_pid(self, child: str, timeout_s: float = 90.0) -> int:
        """Wait until a child runs, and return its pid. Raises DeployError after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            process = self.state().child(child)
            if (
                process is not None
                and process.pid is not None
                and process.identity is not None
                and process.identity.alive()
            ):
                return process.pid
            time.sleep(0.05)
        raise DeployError(f"{child} did not restart within {timeout_s:.0f} s")

    def wait_until_ended(self, child: str, pid: int, timeout_s: float) -> bool:
        """Wait until the supervisor reports that the process has ended. Return False after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            process = self.state().child(child)
            if process is None or process.pid != pid:
                return True
            time.sleep(0.05)
        return False

    # -- commands

    def run_command(self, *arguments: str) -> str:
        """Run a command of `cli.py` on this platform. Return its output. Raises DeployError if it fails."""
        result = run_program(
            [sys.executable, "-m", "deploy.cli", *arguments],
            environment={**self._environment, "PLATFORM_PYTHON_ENV": "current"},
            cwd=REPOSITORY,
            timeout_s=_COMMAND_TIMEOUT_S,
            error_line=lambda output, status: f"failed with status {status}: {output.strip()[-500:]}",
        )
        if result.error is not None:
            raise DeployError(f"`{' '.join(arguments)}` {result.error}")
        return result.output

    def send(self, command: Command, timeout_s: float = 120.0) -> None:
        """Publish a signed command, again until Kafka acknowledges it. Raises DeployError after `timeout_s`."""
        cluster = self.kafka(CLI_PRINCIPAL).cluster
        signer = CommandSigner(self.home.secrets / FOLDER, COMMAND_LINE)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return send(cluster, command, signer=signer)
            except Unavailable as error:
                if time.monotonic() > deadline:
                    raise DeployError(f"Kafka did not acknowledge a command: {error}") from error

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Raises DeployError if the database is unavailable for a minute."""
        deadline = time.monotonic() + 60.0
        while True:
            try:
                with (
                    contextlib.closing(psycopg2.connect(libpq_url(self.endpoints["DATABASE_URL"]))) as connection,
                    connection.cursor() as cursor,
                ):
                    cursor.execute(query)
                    return list(cursor.fetchall())
            except psycopg2.OperationalError as error:
                if time.monotonic() > deadline:
                    raise DeployError(f"the database does not respond: {error}") from error
                time.sleep(0.5)

    def wait_for_rows(self, query: str, expected: list[tuple[Any, ...]], what: str, timeout_s: float = 120.0) -> None:
        """Wait until the query returns these rows, of which repeats do not count. Raises DeployError."""
        deadline = time.monotonic() + timeout_s
        while set(found := self.rows(query)) != set(expected):
            if time.monotonic() > deadline:
                raise DeployError(f"{what} did not happen within {timeout_s:.0f} s: found {found}")
            time.sleep(0.3)

    # -- progress

    def passed_ns(self, service: str) -> int:
        """Return the last clock in a dataflow's statistics, of its slowest process if there are several; -1 if none."""
        clocks_ns = []
        for child in self.children(service):
            stats = read_stats(self.home.stats / f"{child.name}.json") or {}
            is_current = stats.get("pid") == child.pid
            clocks_ns.append(int(str(stats.get("last_tick_ns", -1))) if is_current else -1)
        return min(clocks_ns, default=-1)

    def wait_until(self, condition: Callable[[], bool], description: str) -> None:
        """Wait until `condition` is true. Raises DeployError if no dataflow makes progress."""
        positions, deadline = self._positions(), time.monotonic() + STANDSTILL_S
        while not condition():
            previous, positions = positions, self._positions()
            if positions != previous:
                deadline = time.monotonic() + STANDSTILL_S
            if time.monotonic() > deadline:
                raise DeployError(f"no progress while waiting for {description}: {positions}")
            time.sleep(0.2)

    def _positions(self) -> str:
        return ", ".join(f"{name} at {self.passed_ns(name)}" for name in DATAFLOW_NAMES)

    def run_to_end(self, last_ns: int, *, without: str = "") -> None:
        """Wait until every dataflow, except `without`, has passed the last time slice."""
        timed = {name for name, service in topology.SERVICES.items() if service.inputs or service.outputs}
        dataflows = timed - {without}
        self.wait_until(lambda: all(self.passed_ns(name) >= last_ns for name in dataflows), "the last time slice")

    def stop_dataflows(self) -> None:
        """Stop the dataflows and the API, so that topics and tables no longer change."""
        self.stop_services([*DATAFLOW_NAMES, "api"])

    def stop_services(self, names: Sequence[str]) -> None:
        """Stop these services, and wait until they have stopped."""
        processes = dict.fromkeys(map(self.process_of, names))
        for name in processes:
            control.request(self.home, "stop", name)
        for name in processes:
            control.wait_for_status(self.home, name, ChildStatus.STOPPED)

    # -- results

    @property
    def endpoints(self) -> dict[str, str]:
        """Addresses of the platform's services, with passwords, as environment variables."""
        addresses: dict[str, str] = json.loads((self.home.secrets / "endpoints.json").read_text())
        return addresses

    def kafka(self, principal: str = VIEWER) -> KafkaSection:
        """Kafka of the temporary platform, with the credentials of a principal."""
        variables = {**self._options.environment(), **self.endpoints, PRINCIPAL_VARIABLE: principal}
        assert self._options.settings is not None, "each run has its own settings"
        return load_settings(Path(self._options.settings), environment=variables).kafka


_EXCLUDED_VARIABLES = {*ADDRESS_VARIABLES, *CREDENTIAL_VARIABLES, "PLATFORM_SETTINGS", "PLATFORM_KAFKA"}
"""Variables of the caller that are not passed on, so that the test never uses the platform that is running."""
