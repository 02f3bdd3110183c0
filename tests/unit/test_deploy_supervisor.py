"""The supervisor with real processes: small Python scripts replace the services."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dataflows.runtime import suspension_files
from dataflows.runtime.exit_status import HANDLER_TIMED_OUT
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.supervisor import control
from deploy.supervisor.dev_reload import SourceWatcher
from deploy.supervisor.process_spec import HealthProbe, ProcessKind, ProcessSpec
from deploy.supervisor.processes import identify
from deploy.supervisor.replicas import replica_name, replicas
from deploy.supervisor.rescale_task import RescaleTask
from deploy.supervisor.state import ChildState, ChildStatus, Phase, read_state, running_state
from deploy.supervisor.supervision import Supervisor

# The dummy service reports that it is up. On SIGTERM it records its name and runs `{stop}`.
SCRIPT = """
import pathlib, signal, sys, time
def stop(*_):
    with open({journal!r}, "a") as file:
        file.write({name!r} + "\\n")
    {stop}
signal.signal(signal.SIGTERM, stop)
pathlib.Path({up!r}).write_text("up")
while True:
    time.sleep(0.02)
"""


class DummyServices:
    """Creates services from scripts in one folder."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.journal = home.root / "journal"

    def service(self, name: str, kind: ProcessKind = ProcessKind.DATAFLOW, stop: str = "sys.exit(0)") -> ProcessSpec:
        up = self.home.root / f"{name}.up"
        text = SCRIPT.format(journal=str(self.journal), name=name, stop=stop, up=str(up))
        return self.command(name, kind, text, lambda pid: None if up.exists() else "is not up yet")

    def command(self, name: str, kind: ProcessKind, script: str, probe: HealthProbe) -> ProcessSpec:
        command = (sys.executable, "-S", "-c", script)
        return ProcessSpec(
            name=name, kind=kind, command=command, probe=probe, environment=dict(os.environ), stop_timeout_s=0.5
        )

    def stopped(self) -> list[str]:
        return self.journal.read_text().split()


@pytest.fixture
def dummies(tmp_path: Path) -> DummyServices:
    home = Home(tmp_path)
    home.create_folders()
    return DummyServices(home)


@contextlib.contextmanager
def supervised(
    home: Home,
    services: list[ProcessSpec],
    initialize: tuple[str, ...] = (),
    rescaling: RescaleTask | None = None,
    watcher: SourceWatcher | None = None,
) -> Iterator[Supervisor]:
    supervisor = Supervisor(
        home=home, services=services, initialize=initialize, rescale_task=rescaling, source_watcher=watcher
    )
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        eventually(home.state_file.exists)
        yield supervisor
    finally:
        supervisor.stop = True
        thread.join(60)


def eventually(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def child(home: Home, name: str) -> ChildState:
    state = read_state(home)
    child_state = state.child(name) if state else None
    assert child_state is not None
    return child_state


def is_running(home: Home) -> bool:
    state = read_state(home)
    return state is not None and state.phase is Phase.RUNNING


def test_a_killed_child_is_started_again_and_the_others_stay(dummies: DummyServices) -> None:
    home = dummies.home
    with supervised(home, [dummies.service("features"), dummies.service("risk")]):
        eventually(lambda: is_running(home))
        killed, other = child(home, "features").pid, child(home, "risk").pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        eventually(
            lambda: child(home, "features").restarts == 1 and child(home, "features").status is ChildStatus.HEALTHY
        )
        assert child(home, "features").pid != killed
        assert child(home, "risk").pid == other


def test_five_kills_in_a_row_are_no_crash_loop(dummies: DummyServices) -> None:
    home = dummies.home
    with supervised(home, [dummies.service("features")]):
        for restarts in range(5):
            eventually(lambda n=restarts: child(home, "features").restarts == n)  # type: ignore[misc]
            eventually(lambda: child(home, "features").status is ChildStatus.HEALTHY)
            pid = child(home, "features").pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: child(home, "features").restarts == 5)
        eventually(lambda: child(home, "features").status is ChildStatus.HEALTHY)


def test_crash_loop_is_reported_with_the_last_output(dummies: DummyServices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.supervisor.child.BACKOFF_FIRST_S", 0.01)
    home = dummies.home
    broken = dummies.command(
        "signals", ProcessKind.DATAFLOW, "raise SystemExit('no such strategy')", lambda pid: "is down"
    )
    with supervised(home, [broken]):
        eventually(lambda: child(home, "signals").status is ChildStatus.FAILED)
        failed = child(home, "signals")
        assert failed.reason == "crash loop: exited with status 1; last log entry: no such strategy"
        assert failed.restarts == 6


def test_exits_after_recorded_handler_timeouts_are_not_a_crash_loop(
    dummies: DummyServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.supervisor.child.BACKOFF_FIRST_S", 0.01)
    home, exits = dummies.home, dummies.home.root / "exits"
    script = (
        f"import pathlib, sys, time; file = pathlib.Path({str(exits)!r}); count = len(file.read_text())\n"
        f"if count == 8: time.sleep(600)\n"
        f"file.write_text('x' * (count + 1)); sys.exit({HANDLER_TIMED_OUT})"
    )
    exits.touch()
    limited = dummies.command("strategies", ProcessKind.DATAFLOW, script, lambda pid: None if pid else "is down")
    with supervised(home, [limited]):
        eventually(lambda: child(home, "strategies").restarts == 8)
        eventually(lambda: child(home, "strategies").status is ChildStatus.HEALTHY)


def test_suspended_service_stays_down_until_released(dummies: DummyServices) -> None:
    home, released_file = dummies.home, dummies.home.root / "again"
    script = f"import os, time; time.sleep(0.2); os.path.exists({str(released_file)!r}) and time.sleep(60)"
    suspension_files.write_suspension(home.run, "features", 60, "6 dead letters within a minute")
    with supervised(home, [dummies.command("features", ProcessKind.DATAFLOW, script, lambda pid: None)]):
        eventually(lambda: child(home, "features").status is ChildStatus.SUSPENDED)
        time.sleep(0.5)
        child_state = child(home, "features")
        assert (child_state.status, child_state.pid, child_state.restarts) == (ChildStatus.SUSPENDED, None, 0)
        assert child_state.reason == "6 dead letters within a minute"
        released_file.touch()
        control.start_one(home, "features")
        assert child(home, "features").status is ChildStatus.HEALTHY
        assert suspension_files.last_released_ns(home.run) == 60


def test_one_service_can_be_stopped_and_started(dummies: DummyServices) -> None:
    home = dummies.home
    with supervised(home, [dummies.service("kafka", ProcessKind.SERVICE), dummies.service("risk")]):
        eventually(lambda: is_running(home))
        risk = child(home, "risk").pid
        control.stop_one(home, "kafka")
        assert child(home, "kafka").pid is None
        # The dataflow keeps running. If it crashes now, it waits for Kafka instead of entering a crash loop.
        assert child(home, "risk").pid == risk
        assert risk is not None
        os.kill(risk, signal.SIGKILL)
        eventually(lambda: child(home, "risk").reason == "waiting for kafka")
        control.start_one(home, "kafka")
        eventually(lambda: child(home, "risk").status is ChildStatus.HEALTHY)
        with pytest.raises(DeployError, match="unknown service 'kafak'; expected one of kafka, risk"):
            control.stop_one(home, "kafak")


def scalable(dummies: DummyServices, layout: str) -> tuple[list[ProcessSpec], RescaleTask]:
    """Return `features` as one dummy process, and its rescale task. The script `layout` rescales the stores."""

    def services(name: str, count: int) -> list[ProcessSpec]:
        names = [replica_name(name, replica) for replica in replicas(count)]
        return [replace(dummies.service(each), replica_of=name) for each in names]

    def require(name: str, count: int) -> None:
        if name != "features" or count > 4:
            raise DeployError(f"{name} cannot be {count}")

    command = (sys.executable, "-S", "-c", layout)
    return services("features", 1), RescaleTask(
        home=dummies.home, services_of=services, environment=dict(os.environ), require_valid=require, command=command
    )


def test_dataflow_scales_up_and_down_and_each_process_is_supervised(dummies: DummyServices) -> None:
    home = dummies.home
    features, rescaling = scalable(dummies, "import sys; assert sys.argv[1] == 'features'")
    with supervised(home, [dummies.service("kafka", ProcessKind.SERVICE), *features], rescaling=rescaling):
        eventually(lambda: is_running(home))
        control.scale_one(home, "features", 3)
        state = running_state(home)
        assert state is not None
        assert [each.name for each in state.processes_of("features")] == [f"features-{n}of3" for n in (1, 2, 3)]
        killed, other = child(home, "features-2of3").pid, child(home, "features-3of3").pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: child(home, "features-2of3").restarts == 1)
        control.wait_for_status(home, "features", ChildStatus.HEALTHY)
        assert child(home, "features-3of3").pid == other, "one exit does not affect the other services"
        control.stop_one(home, "features")
        assert [each.pid for each in running_state(home).processes_of("features")] == [None] * 3  # type: ignore[union-attr]
        control.start_one(home, "features")
        control.scale_one(home, "features", 1)
        assert child(home, "features").status is ChildStatus.HEALTHY
        with pytest.raises(DeployError, match="features cannot be 5"):
            control.scale_one(home, "features", 5)
    assert not [each for each in read_state(home).children if each.identity]  # type: ignore[union-attr]


def test_failed_rescaling_keeps_the_old_processes_and_reports_why(dummies: DummyServices) -> None:
    home = dummies.home
    features, rescaling = scalable(dummies, "raise SystemExit('error: the disk is full')")
    with supervised(home, features, rescaling=rescaling):
        eventually(lambda: is_running(home))
        with pytest.raises(DeployError, match="features to 3: failed: the disk is full"):
            control.scale_one(home, "features", 3)
        control.wait_for_status(home, "features", ChildStatus.HEALTHY)
        assert child(home, "features").pid is not None


def test_children_stop_in_reverse_order_and_are_killed_on_timeout(dummies: DummyServices) -> None:
    home = dummies.home
    services = [
        dummies.service("kafka", ProcessKind.SERVICE),
        dummies.service("risk", ProcessKind.DATAFLOW, stop="pass"),
        dummies.service("api", ProcessKind.API),
    ]
    with supervised(home, services):
        eventually(lambda: is_running(home))
        stubborn = child(home, "risk").identity
    assert stubborn is not None
    assert not stubborn.alive()
    assert dummies.stopped() == ["api", "risk", "kafka"]
    state = read_state(home)
    assert state is not None
    assert state.phase is Phase.STOPPED


def test_nothing_starts_before_the_services_are_healthy_and_initialized(dummies: DummyServices) -> None:
    home = dummies.home
    marker = home.root / "initialized"
    script = f"import pathlib, time; time.sleep(0.3); pathlib.Path({str(marker)!r}).touch()"
    started = f"import pathlib; assert pathlib.Path({str(marker)!r}).exists(), 'too early'; import time; time.sleep(60)"
    services = [
        dummies.service("kafka", ProcessKind.SERVICE),
        dummies.command("risk", ProcessKind.DATAFLOW, started, lambda pid: None),
    ]
    with supervised(home, services, initialize=(sys.executable, "-c", script)):
        eventually(lambda: is_running(home))
        assert child(home, "risk").restarts == 0


def test_failed_initialization_gives_a_one_line_error(dummies: DummyServices) -> None:
    services = [dummies.service("kafka", ProcessKind.SERVICE)]
    failing = (sys.executable, "-c", "raise SystemExit('error: topic orders has 4 partitions')")
    with pytest.raises(DeployError, match=r"^topic orders has 4 partitions"):
        Supervisor(dummies.home, services, initialize=failing).run()
    assert dummies.stopped() == ["kafka"]


def test_state_file_of_a_killed_supervisor_is_ignored(dummies: DummyServices) -> None:
    home = dummies.home
    with supervised(home, [dummies.service("risk")]):
        eventually(lambda: is_running(home))
        assert running_state(home) is not None
        text = home.state_file.read_text()
    identity = identify(os.getpid())
    assert identity is not None
    home.state_file.write_text(text.replace(str(identity.started_at), str(identity.started_at - 5)))
    state = read_state(home)
    assert state is not None
    assert state.phase is Phase.RUNNING
    assert running_state(home) is None


def test_second_start_reports_that_the_platform_is_running(dummies: DummyServices) -> None:
    home = dummies.home
    with supervised(home, [dummies.service("risk")]):
        eventually(lambda: is_running(home))
        environment = {**os.environ, "PLATFORM_HOME": str(home.root), "PLATFORM_PYTHON_ENV": "current"}
        result = subprocess.run(
            [sys.executable, "cli.py", "start"],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: the platform is already running as pid {os.getpid()}")
    assert len(result.stderr.splitlines()) == 1
