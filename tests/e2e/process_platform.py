"""The dataflows as real processes on real services, with their own topics, database and recovery stores."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg2 import sql

from configs.settings import Settings, load_settings
from dataflows.runtime.topology import COMPACT, STAGED_SERVICES, Layout, processes
from deploy.home import REPOSITORY, Home
from deploy.local.ports import free_ports
from deploy.supervisor.initialize import make_recovery_store
from deploy.supervisor.layout import services_beside, write_layout
from deploy.supervisor.platform_services import child_environment, dataflow_services
from deploy.supervisor.process_spec import DATAFLOW_NAMES
from deploy.supervisor.topics import create_topics, platform_topics
from sinks.record_tables import fields_of
from sinks.tables import TABLE_OF
from tests.e2e.fork_server import ForkedProcess, ForkServer, Program
from tests.replay.in_memory_platform import Logs
from tests.replay.runs import SETTINGS_FILE, pinned_settings, staged_hash

STANDSTILL_S = 180.0
"""So long without any service moving is a deadlock; how fast they move depends on what else the machine does."""
TableRows = dict[str, list[tuple[Any, ...]]]
ServiceProcess = subprocess.Popen[bytes] | ForkedProcess


@cache
def fork_server() -> ForkServer:
    """Return the one fork server of this test process."""
    modules = [f"dataflows.{name}" for name in (*DATAFLOW_NAMES, COMPACT)]
    # PyArrow's allocator starts a background thread by default, and a fork does not copy threads.
    environment = child_environment({"JE_ARROW_MALLOC_CONF": "background_thread:false"})
    server = ForkServer(modules, environment, REPOSITORY)
    atexit.register(server.close)
    return server


class Servers(NamedTuple):
    kafka: str
    database_url: str
    redis_url: str


class ProcessPlatform:
    """A platform of dataflow processes. Use it as a context manager, which kills all remaining processes at its end.

    `speed` is "max" or a multiple of real time. `workers` sets the number of worker threads of a service, `processes`
    the number of its processes. All three may change before a service starts again. `overrides` are settings as
    environment variables. `layout` may change while no service runs, with `set_layout`.
    """

    def __init__(
        self,
        folder: Path,
        servers: Servers,
        bars: Sequence[Path],
        *,
        speed: str = "max",
        workers: Mapping[str, int] | None = None,
        processes: Mapping[str, int] | None = None,
        overrides: Mapping[str, str] | None = None,
        layout: Layout = Layout.SERVICES,
    ) -> None:
        self.servers, self.prefix = servers, f"e2e-{uuid.uuid4().hex[:8]}."
        self.partitions = pinned_settings().kafka.symbol_partitions
        self.home = Home(folder)
        self.speed, self.workers, self.processes = speed, dict(workers or {}), dict(processes or {})
        self._running: dict[str, list[ServiceProcess]] = {}
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": servers.kafka,
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "PLATFORM_HOME": str(folder),
            "PLATFORM_SETTINGS": str(SETTINGS_FILE),
            "KAFKA__TOPIC_PREFIX": self.prefix,
            "MARKET_DATA__FEED": "files",
            "MARKET_DATA__FILES__PATHS": json.dumps([str(path) for path in bars]),
            **(overrides or {}),
        }
        self._environment = environment
        self.set_layout(layout)

    def set_layout(self, layout: Layout) -> None:
        """Describe the processes of this layout."""
        self.home.create_folders()
        beside = services_beside(self.read_settings(), layout)
        write_layout(self.home, layout, beside)
        self.names = processes(layout, beside)
        environment = child_environment(self._environment)
        services = dataflow_services(self.home, environment, snapshot_interval_s=1)
        self._services = {service.name: service for service in services}

    def __enter__(self) -> ProcessPlatform:
        self.home.create_folders()
        create_topics(self.servers.kafka, platform_topics(self.prefix))
        for name in self.names:
            make_recovery_store(self.home.recovery / name)
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._running):
            self.kill(name)
        self._delete_topics()

    def _delete_topics(self) -> None:
        """Delete the topics as far as the broker responds. It serves all tests, and each topic costs it work."""
        admin = AdminClient({"bootstrap.servers": self.servers.kafka, "log_level": 0})
        names = [topic.name for topic in platform_topics(self.prefix)]
        for deletion in admin.delete_topics(names, request_timeout=10, operation_timeout=0).values():
            deletion.exception(20)

    # -- processes

    def start(self, *names: str) -> None:
        """Start these services, or all services if no name is given."""
        for name in names or self.names:
            self._running[name] = [self._spawn(name, flags) for flags in self._flags(name)]

    def start_feed_last(self) -> None:
        """Start all services, the feed last. Return when the first time slices have passed through the last one."""
        downstream = [name for name in self.names if name != "market_data"]
        self.start(*downstream)
        self.wait_until(lambda: all(self.stats(name) for name in downstream), "all but the feed")
        self.start("market_data")
        self.wait_until_past(self._staged()[-1], 0)

    def _flags(self, name: str) -> list[tuple[str, ...]]:
        """Return the extra `bytewax.run` arguments for each process of a service."""
        workers = ("-w", str(self.workers[name])) if name in self.workers else ()
        if name not in self.processes:
            return [workers]
        addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(self.processes[name]))
        return [("-i", str(number), "-a", addresses, *workers) for number in range(self.processes[name])]

    def _spawn(self, name: str, flags: tuple[str, ...]) -> ServiceProcess:
        service, log = self._services[name], self.home.logs / f"{name}.log"
        python, _, module, *arguments = service.command
        assert python == sys.executable
        environment = {**service.environment, "MARKET_DATA__FILES__SPEED": self.speed}
        if "COVERAGE_FILE" not in os.environ:
            return fork_server().start(Program(module, [*arguments, *flags], environment, str(REPOSITORY), str(log)))
        # Coverage can only measure a process from the start of its interpreter, so a fork does not work here.
        with log.open("ab") as out:
            return subprocess.Popen(
                [*service.command, *flags],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def kill(self, name: str) -> None:
        children = self._running.pop(name)
        for child in children:
            child.kill()
        for child in children:
            child.wait()

    def terminate(self, name: str, timeout_s: float = 180.0) -> int:
        """Stop a single-process service with SIGTERM and return its exit code."""
        self._running[name][0].send_signal(signal.SIGTERM)
        return self.wait_for_exit(name, timeout_s)

    def wait_for_exit(self, name: str, timeout_s: float = 180.0) -> int:
        """Wait until the process of a service ends, and return its exit code."""
        [child] = self._running.pop(name)
        try:
            return child.wait(timeout_s)
        finally:
            if child.poll() is None:
                child.kill()

    def restart(self, name: str) -> None:
        """Kill a service and start it again at once."""
        self.kill(name)
        self.start(name)

    def stop(self) -> None:
        """Stop all services: those with one worker by SIGTERM; the others do not support that and are killed."""
        single_process = [name for name in self._running if name not in self.workers and name not in self.processes]
        for name in single_process:
            self._running[name][0].send_signal(signal.SIGTERM)
        for name in single_process:
            assert self.wait_for_exit(name) == 0, f"{name}: {self.log_tail(name)}"
        for name in list(self._running):
            self.kill(name)

    # -- progress

    def pids(self) -> dict[str, int]:
        """Return the pid of each running service with one process."""
        return {name: children[0].pid for name, children in self._running.items() if len(children) == 1}

    def stats(self, name: str) -> dict[str, Any]:
        """Return the stats file of a service, or an empty dict if the file does not exist yet."""
        try:
            stats: dict[str, Any] = json.loads((self.home.stats / f"{name}.json").read_text())
        except FileNotFoundError:
            return {}
        return stats

    def last_tick_ns(self, name: str) -> int:
        return int(self.stats(name).get("last_tick_ns", -1))

    def wait_until(self, condition: Callable[[], bool], description: str) -> None:
        """Wait for a condition. Fail if no service makes progress. Fail with the end of its log if a service exits."""
        progress, deadline = self.progress(), time.monotonic() + STANDSTILL_S
        while not condition():
            for name, children in self._running.items():
                for child in children:
                    assert child.poll() is None, f"{name} ended with {child.returncode}: {self.log_tail(name)}"
            progress_before, progress = progress, self.progress()
            if progress != progress_before:
                deadline = time.monotonic() + STANDSTILL_S
            assert time.monotonic() < deadline, f"timed out: {description}; progress of the services: {progress}"
            time.sleep(0.1)

    def is_drained(self) -> bool:
        """Whether the stats files show that all single-process services have passed the feed's last time slice.

        The stats file of a service with several workers covers only one worker. The services downstream show its
        progress.
        """
        feed = self.stats("market_data")
        multi_process = {*self.workers, *self.processes}
        # The news and fundamentals services run on the wall clock and process no time slices.
        single_process = [name for name in ("market_data", *self._staged()) if name not in multi_process]
        return bool(feed.get("feed_finished")) and all(
            self.stats(name).get("pid") == self._running[name][0].pid
            and self.last_tick_ns(name) == feed["last_tick_ns"]
            for name in single_process
        )

    def wait_drained(self) -> None:
        """Wait until the feed has ended and every service has passed its last time slice."""
        self.wait_until(self.is_drained, "the last tick everywhere")

    def wait_until_past(self, name: str, ts_ns: int) -> None:
        """Wait until a service has passed this time."""
        self.wait_until(lambda: self.last_tick_ns(name) > ts_ns, f"{name} beyond {ts_ns}")

    def drain(self) -> None:
        """Stop all services at the same time slice: the feed first, the others when they have processed its output."""
        for name in [name for name in self.names if name not in self._staged()]:
            assert self.terminate(name) == 0, self.log_tail(name)
        stopped_at = time.time()

        def is_drained() -> bool:
            stats = [self.stats(name) for name in self._staged()]
            reported = all(row.get("updated_at", 0.0) > stopped_at + 1.5 for row in stats)
            return reported and len({row["last_tick_ns"] for row in stats}) == 1

        self.wait_until(is_drained, "the last time slice everywhere")
        self.stop()

    def run_to_end(self) -> None:
        """Wait until all data is processed, then stop all services. After that, tables and topics no longer change."""
        self.wait_drained()
        self.stop()

    def progress(self) -> str:
        return ", ".join(f"{name} at {self.last_tick_ns(name)}" for name in self.names)

    def _staged(self) -> list[str]:
        """Return the processes that run stages."""
        return [name for name in (*STAGED_SERVICES, COMPACT) if name in self.names]

    def log_tail(self, name: str) -> str:
        return "\n".join((self.home.logs / f"{name}.log").read_text().splitlines()[-15:])

    # -- results

    def read_settings(self) -> Settings:
        """Read the settings as the services of this platform do."""
        return load_settings(environment=self._environment)

    def tables(self) -> TableRows:
        """Return the rows of each table, sorted by their text. Omit `ts`, which is computed from `ts_ns`."""
        out: TableRows = {}
        connection = psycopg2.connect(self.servers.database_url)
        try:
            with connection.cursor() as cursor:
                for record_type, table in TABLE_OF.items():
                    names = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields_of(record_type))
                    cursor.execute(sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(table.name)))
                    out[table.name] = sorted((tuple(map(_plain, row)) for row in cursor.fetchall()), key=repr)
        finally:
            connection.close()
        return out

    def logs(self) -> Logs:
        """Return all messages of all topics that a service writes."""
        logs = Logs(self.partitions)
        for topic, partition in logs.messages:
            logs.messages[topic, partition] = self.messages(topic, partition)
        return logs

    def messages(self, topic: str, partition: int = 0) -> list[bytes]:
        """Return all messages of a partition, including duplicates."""
        consumer = Consumer(
            {"bootstrap.servers": self.servers.kafka, "group.id": self.prefix + "test", "enable.auto.commit": False}
        )
        try:
            topic_partition = TopicPartition(self.prefix + topic, partition, 0)
            _, end = consumer.get_watermark_offsets(topic_partition, timeout=60)
            consumer.assign([topic_partition])
            out: list[bytes] = []
            while len(out) < end:
                batch = consumer.consume(min(1000, end - len(out)), timeout=60)
                assert batch, f"{topic}/{partition}: {len(out)} of {end} messages came"
                out += [message.value() or b"" for message in batch]
            return out
        finally:
            consumer.close()

    def produce(self, topic: str, partition: int, *values: bytes) -> None:
        """Write messages into a topic like a foreign producer."""
        producer = Producer({"bootstrap.servers": self.servers.kafka, "acks": "all"})
        for value in values:
            producer.produce(self.prefix + topic, value, partition=partition)
        assert producer.flush(60) == 0

    def decision_hash(self) -> str:
        return staged_hash(self.logs())


def _plain(value: Any) -> Any:
    """Convert JSON columns to text, so that rows are hashable."""
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True)
    return bytes(value) if type(value) is memoryview else value
