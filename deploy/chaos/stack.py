"""A temporary platform for one run of `chaos`, with its own state folder, free ports and proxies for its services."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from configs.settings import KafkaSection
from dataflows.runtime import topology
from dataflows.sources.topic_tail import topic_tail_reader
from deploy.chaos.proxy import Proxy
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.local.ports import free_ports
from deploy.supervisor import control
from deploy.supervisor.probes import read_stats
from deploy.supervisor.process_spec import DATAFLOW_NAMES, SERVICE_NAMES
from deploy.supervisor.start_options import StartOptions, save_options
from deploy.supervisor.start_progress import follow_start, stop_platform
from deploy.supervisor.state import ChildState, PlatformState, Status, running_state
from sinks.cluster import client_config

PRELOAD = Path(__file__).parent / "preload"
SETTINGS = Path(__file__).parent / "settings.yaml"
# Longer than a service retries before it exits and is restarted (120 s).
STANDSTILL_S = 240.0
"""Seconds without progress of any dataflow after which the platform counts as deadlocked."""


class ChaosStack:
    """A context manager that starts the platform on the bar `files`, and stops it in any case.

    `settings` is its settings file, `speed` is `max` or a multiple of real time, and `print_line` receives lines of
    progress.
    """

    def __init__(
        self, folder: Path, settings: Path, files: Sequence[Path], speed: str, print_line: Callable[[str], None]
    ) -> None:
        self.home, self._print_line = Home(folder), print_line
        self._options = StartOptions("files", tuple(str(file) for file in files), speed, str(settings))
        self.clocks = folder / "clocks"
        names = (*SERVICE_NAMES, "api")
        ports = dict(zip([*names, *(f"{name} client" for name in SERVICE_NAMES)], free_ports(7), strict=True))
        self.proxies = {name: Proxy(ports[f"{name} client"], ports[name]) for name in SERVICE_NAMES}
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in _EXCLUDED_VARIABLES},
            **{f"PLATFORM_{name.upper()}_PORT": str(ports[name]) for name in names},
            **{f"PLATFORM_{name.upper()}_CLIENT_PORT": str(ports[f"{name} client"]) for name in SERVICE_NAMES},
            "PLATFORM_HOME": str(folder),
            "PLATFORM_CHILD_PATH": str(PRELOAD),
            "PLATFORM_DASHBOARD": "off",  # it makes no decisions, and another platform may use its port
            "CHAOS_CLOCKS": str(self.clocks),
            "PYTHONPATH": str(REPOSITORY),
        }
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> ChaosStack:
        self.home.create_folders()
        self.clocks.mkdir()
        save_options(self.home, self._options)
        for proxy in self.proxies.values():
            self._exits.enter_context(proxy)
        self._exits.callback(stop_platform, self.home, lambda state: None)
        try:
            with (self.home.logs / "supervisor.log").open("wb") as log:
                supervisor = subprocess.Popen(
                    [sys.executable, "-m", "deploy.supervisor.supervisor"],
                    cwd=REPOSITORY,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            # Reap the supervisor: `stop_platform` must not take a zombie for a live one.
            self._exits.callback(supervisor.poll)
            follow_start(self.home, supervisor, lambda state: None)
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    # -- processes

    def state(self) -> PlatformState:
        state = running_state(self.home)
        if state is None:
            raise DeployError(f"the supervisor has exited; its log is {self.home.logs / 'supervisor.log'}")
        failed = [child for child in state.children if child.status is Status.FAILED]
        if failed:
            raise DeployError(f"service {failed[0].name} has failed: {failed[0].reason}")
        return state

    def children(self, service: str) -> tuple[ChildState, ...]:
        """Return the processes of a service."""
        return self.state().processes_of(service)

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

    def run_to_end(self, last_ns: int) -> None:
        """Wait until every dataflow has passed the last time slice."""
        dataflows = [name for name, service in topology.SERVICES.items() if service.inputs or service.outputs]
        self.wait_until(lambda: all(self.passed_ns(name) >= last_ns for name in dataflows), "the last time slice")

    def wait_for_records(self, kafka: KafkaSection, topic: str, ids: Collection[str], timeout_s: float = 90.0) -> None:
        """Wait until the topic (of one partition) holds all `ids`. Raises DeployError after `timeout_s`."""
        kafka = kafka.model_copy(update={"bootstrap_servers": self.endpoints["KAFKA_BOOTSTRAP_SERVERS"]})
        deadline = time.monotonic() + timeout_s
        while missing := set(ids) - {str(record[0]) for record in topic_tail_reader(kafka, topic)()}:
            if time.monotonic() > deadline:
                raise DeployError(f"topic {topic} did not receive {min(missing)} within {timeout_s:.0f} s")
            time.sleep(0.5)

    def stop_dataflows(self) -> None:
        """Stop the dataflows and the API, so that topics and tables no longer change."""
        for name in (*DATAFLOW_NAMES, "api"):
            control.request(self.home, "stop", name)
        for name in (*DATAFLOW_NAMES, "api"):
            control.wait_for_status(self.home, name, Status.STOPPED)

    # -- results

    @property
    def endpoints(self) -> dict[str, str]:
        """Addresses of the platform's services, with passwords, as environment variables."""
        addresses: dict[str, str] = json.loads((self.home.secrets / "endpoints.json").read_text())
        return addresses

    def logs(self, partitions: int) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
        """Yield every message of every topic that a service owns, including repeated records."""
        control.wait_for_status(self.home, "kafka", Status.HEALTHY)
        servers = self.endpoints["KAFKA_BOOTSTRAP_SERVERS"]
        consumer = Consumer(client_config(servers, {"group.id": "chaos", "enable.auto.commit": False}))
        try:
            seen: set[str] = set()
            for service in topology.SERVICES.values():
                for topic in {*service.outputs, *service.unclocked} - seen:
                    seen.add(topic)
                    for partition in topology.partitions_of(topic, partitions):
                        yield (topic, partition), _messages(consumer, topic, partition)
        finally:
            consumer.close()


_EXCLUDED_VARIABLES = {"KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL", "REDIS_URL", "PLATFORM_SETTINGS", "PLATFORM_KAFKA"}
"""Variables of the caller that are not passed on, so that the test never uses the platform that is running."""


def _messages(consumer: Any, topic: str, partition: int) -> list[bytes]:
    start = TopicPartition(topic, partition, 0)
    _, end = consumer.get_watermark_offsets(start, timeout=20)
    consumer.assign([start])
    messages: list[bytes] = []
    while len(messages) < end:
        batch = consumer.consume(min(1000, end - len(messages)), timeout=20)
        if not batch:
            raise DeployError(f"topic {topic} partition {partition}: received {len(messages)} of {end} messages")
        messages += [message.value() or b"" for message in batch if message.error() is None]
    return messages
