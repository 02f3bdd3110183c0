"""Processes are ended by proof of identity, logs are bounded, ports and topics are checked before use."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.errors import DeployError
from deploy.home import Home
from deploy.local.endpoints import Ports, prepare
from deploy.local.kafka import jars
from deploy.local.ports import free_ports, is_free, require_free
from deploy.supervisor.child import end_orphans
from deploy.supervisor.processes import Identity, end, identify, rotate, spawn, tail
from deploy.supervisor.state import ChildState, Status
from deploy.supervisor.topics import read_topics

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_an_orphan_is_ended_only_when_pid_and_start_time_are_as_recorded() -> None:
    child = subprocess.Popen(SLEEP)
    try:
        mine = identify(child.pid)
        assert mine is not None
        # The same pid, but recorded for a process that started at another time: somebody else's.
        stranger = ChildState("risk", "dataflow", Status.HEALTHY, child.pid, mine.started_at - 100)
        assert end_orphans((stranger,)) == []
        assert child.poll() is None
        assert end_orphans((ChildState("risk", "dataflow", Status.HEALTHY, child.pid, mine.started_at),)) == ["risk"]
        assert child.wait(5) == -signal.SIGTERM
        assert not mine.alive()
    finally:
        child.kill()
        child.wait()


def test_a_process_that_does_not_go_is_killed() -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    mine = identify(child.pid)
    assert mine is not None
    assert end(mine, timeout_s=0.2) is False
    assert child.wait(5) == -signal.SIGKILL


def test_a_pid_that_nobody_has_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert identify(child.pid) is None
    assert not Identity(child.pid, 0.0).alive()


def test_a_log_stays_bounded_while_its_writer_goes_on(tmp_path: Path) -> None:
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
        rotate(log, size_max=500, keep=2)
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
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    deadline = time.monotonic() + 5
    while (left := identify(int(done.stdout))) is not None and left.alive():
        assert time.monotonic() < deadline, "outlived its parent"


@pytest.mark.parametrize("keep_reach", [True, False])
def test_nobody_passes_through_roots_folders_only_when_allowed(tmp_path: Path, keep_reach: bool) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.write_text("#!/bin/sh\necho seen\n")
    program.chmod(0o755)
    # `test -x` asks access(2), which by default ignores capabilities; initdb finds its programs that way.
    command = ["/bin/sh", "-c", f"test -x '{program}' && '{program}'"]
    log = tmp_path / "log"
    if os.geteuid() != 0:
        # Whoever is not root never becomes another user: the kernel refuses.
        with pytest.raises(subprocess.SubprocessError):
            spawn(command, log=log, env={}, cwd=Path("/"), uid=65534, keep_reach=keep_reach)
        return
    child = spawn(command, log=log, env={}, cwd=Path("/"), uid=65534, keep_reach=keep_reach)
    assert (child.wait() == 0) is keep_reach
    assert ("seen" in log.read_text()) is keep_reach


def test_a_taken_port_is_named_with_the_way_out() -> None:
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


def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_REDIS_PORT", "65536")
    with pytest.raises(DeployError, match="PLATFORM_REDIS_PORT must be a port from 1 to 65535, found '65536'"):
        Ports.from_environment()


def test_addresses_in_the_environment_win_over_embedded_servers(tmp_path: Path) -> None:
    given = {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9092",
        "DATABASE_URL": "postgresql://db.example/trading",
        "REDIS_URL": "redis://cache.example",
    }
    endpoints = prepare(Home(tmp_path), Ports.free(), print, given)
    assert endpoints.embedded == ()
    assert endpoints.degraded == ()
    told = endpoints.environment(Home(tmp_path))
    assert {name: told[name] for name in given} == given


def test_a_jar_that_was_changed_added_or_left_out_is_not_used(tmp_path: Path) -> None:
    names = sorted(jars.lock())
    (tmp_path / names[0]).write_bytes(b"changed")
    (tmp_path / "foreign.jar").write_bytes(b"")
    wrong = jars._differences(tmp_path)
    assert f"{names[1]} is missing" in wrong
    assert "foreign.jar is not in the lock" in wrong
    assert any(line.startswith(f"{names[0]} has sha256") for line in wrong)


def test_the_declared_topics_can_be_read() -> None:
    topics = {topic.name: topic for topic in read_topics()}
    assert topics["market-bars"].partitions == topics["features"].partitions > 1
    assert topics["dead-letters"].partitions == 1
    assert topics["market-bars"].settings()["retention.ms"] == str(3650 * 86_400_000)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{partitions: 0}", "topic a: partitions must be >= 1"),
        ("{partitions: many}", "found 'many'"),
        ("{partitions: 1, cleanup: shred}", "cleanup must be one of"),
    ],
)
def test_a_bad_topic_entry_is_named(tmp_path: Path, entry: str, said: str) -> None:
    path = tmp_path / "kafka_topics.yaml"
    path.write_text(f"symbol_partitions: 4\ntopics:\n  a: {entry}\n")
    with pytest.raises(DeployError, match=said):
        read_topics(path)
