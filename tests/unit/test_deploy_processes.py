"""The platform verifies the identity of a process before it ends it, bounds logs, and checks ports and topics."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.errors import DeployError
from deploy.home import Home
from deploy.local.endpoints import prepare
from deploy.local.kafka import jars
from deploy.local.ports import Ports, free_ports, is_free, require_free
from deploy.supervisor.child import end_orphans
from deploy.supervisor.processes import ProcessIdentity, end_process, identify, rotate_log, spawn, tail
from deploy.supervisor.state import ChildState, ChildStatus
from deploy.supervisor.topics import read_topics

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_an_orphan_is_ended_only_when_pid_and_start_time_are_as_recorded() -> None:
    child = subprocess.Popen(SLEEP)
    try:
        identity = identify(child.pid)
        assert identity is not None
        # The pid matches but the recorded start time differs, so the process is a different one.
        other_process = ChildState(
            name="risk",
            kind="dataflow",
            status=ChildStatus.HEALTHY,
            pid=child.pid,
            process_started_at=identity.started_at - 100,
        )
        assert end_orphans((other_process,)) == []
        assert child.poll() is None
        assert end_orphans(
            (
                ChildState(
                    name="risk",
                    kind="dataflow",
                    status=ChildStatus.HEALTHY,
                    pid=child.pid,
                    process_started_at=identity.started_at,
                ),
            )
        ) == ["risk"]
        assert child.wait(60) == -signal.SIGTERM
        assert not identity.alive()
    finally:
        child.kill()
        child.wait()


def test_process_that_ignores_sigterm_is_killed() -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    identity = identify(child.pid)
    assert identity is not None
    assert end_process(identity, timeout_s=0.2) is False
    assert child.wait(60) == -signal.SIGKILL


def test_unused_pid_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert identify(child.pid) is None
    assert not ProcessIdentity(child.pid, 0.0).alive()


def test_a_log_stays_bounded_while_its_writer_continues(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    script = "import sys; [sys.stdout.write(line) for line in sys.stdin]"
    with log.open("ab") as out:
        writer = subprocess.Popen([sys.executable, "-u", "-c", script], stdin=subprocess.PIPE, stdout=out, text=True)
    assert writer.stdin is not None
    for number in range(6):
        writer.stdin.write(f"{number}" * 1000 + "\n")
        writer.stdin.flush()
        while number not in {int(c) for c in tail(log)[:1]}:
            pass
        rotate_log(log, size_max=500, copies_max=2)
    writer.stdin.close()
    writer.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"]
    assert tail(tmp_path / "a.log.1").startswith("5")
    assert log.stat().st_size <= 500


def test_a_tied_child_dies_with_its_parent(tmp_path: Path) -> None:
    script = f"""
import os, sys
from pathlib import Path
from deploy.supervisor.processes import spawn
child = spawn({SLEEP!r}, log=Path({str(tmp_path / "log")!r}), env=dict(os.environ), cwd=Path("/"), tied=True)
print(child.pid, flush=True)
os._exit(0)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    deadline = time.monotonic() + 60
    while (identity := identify(int(result.stdout))) is not None and identity.alive():
        assert time.monotonic() < deadline, "outlived its parent"


@pytest.mark.parametrize("retain_search_capability", [True, False])
def test_unprivileged_child_enters_root_folders_only_when_allowed(
    tmp_path: Path, retain_search_capability: bool
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.write_text("#!/bin/sh\necho seen\n")
    program.chmod(0o755)
    # `test -x` calls access(2), which ignores capabilities by default. initdb finds its programs in this way.
    command = ["/bin/sh", "-c", f"test -x '{program}' && '{program}'"]
    log = tmp_path / "log"
    if os.geteuid() != 0:
        # The kernel lets only root change to another user.
        with pytest.raises(subprocess.SubprocessError):
            spawn(command, log=log, env={}, cwd=Path("/"), uid=65534, retain_search_capability=retain_search_capability)
        return
    child = spawn(command, log=log, env={}, cwd=Path("/"), uid=65534, retain_search_capability=retain_search_capability)
    assert (child.wait() == 0) is retain_search_capability
    assert ("seen" in log.read_text()) is retain_search_capability


def test_port_in_use_error_names_the_variable_to_change() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(DeployError, match=f"port {port} .* Kafka .* PLATFORM_KAFKA_PORT"):
            require_free("Kafka", port, "PLATFORM_KAFKA_PORT")
    assert is_free(port)


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(20))) == 20


def test_concurrent_calls_return_different_free_ports() -> None:
    with ThreadPoolExecutor(4) as threads:
        ports = [port for found in threads.map(free_ports, [5] * 20) for port in found]
    assert len(set(ports)) == 100


def test_invalid_port_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_REDIS_PORT", "65536")
    with pytest.raises(DeployError, match="PLATFORM_REDIS_PORT must be a port from 1 to 65535, found '65536'"):
        Ports.from_environment()


def test_addresses_in_the_environment_win_over_embedded_servers(tmp_path: Path) -> None:
    addresses = {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
        "DATABASE_URL": "postgresql://db.example/trading",
        "REDIS_URL": "redis://cache.example",
    }
    endpoints = prepare(Home(tmp_path), Ports.free(), print, addresses)
    assert endpoints.embedded == ()
    assert endpoints.degraded == ()
    environment = endpoints.environment(Home(tmp_path))
    assert {name: environment[name] for name in addresses} == addresses


def test_changed_added_or_missing_jar_is_not_used(tmp_path: Path) -> None:
    names = sorted(jars.locked_digests())
    (tmp_path / names[0]).write_bytes(b"changed")
    (tmp_path / "foreign.jar").write_bytes(b"")
    differences = jars._find_differences(tmp_path)
    assert f"{names[1]} is missing" in differences
    assert "foreign.jar is not in the lock" in differences
    assert any(line.startswith(f"{names[0]} has sha256") for line in differences)


def test_the_declared_topics_can_be_read() -> None:
    topics = {topic.name: topic for topic in read_topics()}
    assert topics["market-bars"].partitions == topics["features"].partitions > 1
    assert topics["dead-letters"].partitions == 1
    assert topics["market-bars"].settings()["retention.ms"] == str(3650 * 86_400_000)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{partitions: 0}", "topic a: partitions must be >= 1"),
        ("{partitions: many}", "found 'many'"),
        ("{partitions: 1, cleanup: shred}", "cleanup must be one of"),
    ],
)
def test_invalid_topic_entry_is_reported(tmp_path: Path, entry: str, message: str) -> None:
    path = tmp_path / "kafka_topics.yaml"
    path.write_text(f"symbol_partitions: 4\ntopics:\n  a: {entry}\n")
    with pytest.raises(DeployError, match=message):
        read_topics(path)
