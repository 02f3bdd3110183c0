"""Writes the topics of a platform to a real Kafka, under a prefix of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from configs.settings import KafkaSection, Settings, load_settings
from dataflows.runtime import topology
from deploy import cli as command_line
from deploy.supervisor.topics import create_topics, platform_topics
from operators.partitions import partition_of
from operators.stage import TimeSlice
from schemas.codec import encode
from schemas.records import TOPIC_OF, Clock, has_symbol
from sinks.kafka import producer


def make_topics(servers: str) -> str:
    """Create all topics, empty, and return their prefix."""
    prefix = f"r{uuid.uuid4().hex[:8]}-"
    create_topics(servers, platform_topics(prefix))
    return prefix


def write(servers: str, prefix: str, time_slices: Sequence[TimeSlice], clock_topics: Sequence[str]) -> None:
    """Write the records of each time slice to their topics, then its clock to every partition of `clock_topics`."""
    sender, partitions = producer(servers), load_settings(environment={}).kafka.symbol_partitions
    for time_slice in time_slices:
        for record in time_slice.records:
            partition = partition_of(record.symbol, partitions) if has_symbol(record) else 0
            sender.produce(prefix + TOPIC_OF[type(record)], encode(record), partition=partition)
        clock = encode(Clock(time_slice.ts_ns, "test@1"))
        for topic in clock_topics:
            for partition in topology.partitions_of(topic, partitions):
                sender.produce(prefix + topic, clock, partition=partition)
    assert sender.flush(20) == 0


def kafka_settings(settings: Settings, servers: str, prefix: str) -> KafkaSection:
    return settings.kafka.model_copy(update={"bootstrap_servers": servers, "topic_prefix": prefix})


def cli(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python cli.py ...` on the state folder `home`, in the environment of the tests without `DATABASE_URL`.

    The command runs in this process: a process of its own would only import the platform's modules again.
    """
    inherited = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    out, error = StringIO(), StringIO()
    with (
        patch.dict(os.environ, {**inherited, "PLATFORM_HOME": str(home), **environment}, clear=True),
        patch.object(sys, "argv", ["cli.py", *arguments]),
        patch.object(sys, "stdin", StringIO()),  # a question finds the end of its input
        redirect_stdout(out),
        redirect_stderr(error),
    ):
        status = _exit_status()
    return subprocess.CompletedProcess(["cli.py", *arguments], status, out.getvalue(), error.getvalue())


def _exit_status() -> int:
    """Run the command line, and return the exit status of the process that it would end."""
    try:
        return command_line.main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
