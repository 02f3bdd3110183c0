"""A second supervisor takes over the processes of one that was killed, or ends them if they differ."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.local.ports import free_ports, require_free
from deploy.supervisor import control
from deploy.supervisor.adopted_process import UNKNOWN_STATUS, AdoptedProcess
from deploy.supervisor.child import end_orphans
from deploy.supervisor.process_fingerprint import fingerprint
from deploy.supervisor.process_spec import ProcessKind, ProcessSpec
from deploy.supervisor.processes import ProcessIdentity, identify
from deploy.supervisor.state import ChildStatus, Phase, read_state, write_state
from deploy.supervisor.supervision import Supervisor
from deploy.supervisor.takeover import end_if_interrupted, survivors
from tests.unit.test_deploy_supervisor import DummyServices, child, eventually, is_running

INITIALIZED = "initialized"


def specs(home: Home) -> list[ProcessSpec]:
    dummies = DummyServices(home)
    services = [
        dummies.service("kafka", ProcessKind.SERVICE),
        dummies.service("features"),
        dummies.service("risk"),
        dummies.service("api", ProcessKind.API),
    ]
    # pytest changes a variable with each phase of a test.
    return [replace(service, environment={"PATH": os.defpath}) for service in services]


def supervise_dummies(folder: str) -> None:
    """Run a supervisor until it is killed, in a process of its own."""
    home = Home(Path(folder))
    Supervisor(home, specs(home), initialize=initialize_command(home)).run()


def initialize_command(home: Home) -> tuple[str, ...]:
    journal = home.root / INITIALIZED
    return (sys.executable, "-c", f"open({str(journal)!r}, 'a').write('x')")


@pytest.fixture
def abandoned(tmp_path: Path) -> Iterator[Home]:
    """A platform whose supervisor was killed while everything ran, with risk stopped by a user."""
    home = Home(tmp_path)
    home.create_folders()
    command = f"from tests.unit.test_takeover import supervise_dummies; supervise_dummies({str(tmp_path)!r})"
    supervisor = subprocess.Popen([sys.executable, "-c", command], cwd=REPOSITORY)
    try:
        eventually(lambda: is_running(home))
        control.stop_one(home, "risk")
    finally:
        supervisor.kill()
        supervisor.wait()
    yield home
    if (state := read_state(home)) is not None:
        end_orphans(survivors(state))


class SecondSupervisor:
    """A supervisor in a thread of this process."""

    def __init__(self, home: Home, services: list[ProcessSpec]) -> None:
        self.home = home
        self._supervisor = Supervisor(home, services, initialize=initialize_command(home), predecessor=read_state(home))
        self._thread = threading.Thread(target=self._supervisor.run)

    def __enter__(self) -> "SecondSupervisor":
        self._thread.start()
        eventually(lambda: (state := read_state(self.home)) is not None and state.supervisor_pid == os.getpid())
        eventually(lambda: is_running(self.home))
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.stop = True
        self._thread.join(60)


def pids(home: Home) -> dict[str, int | None]:
    state = read_state(home)
    assert state is not None
    return {one.name: one.pid for one in state.children}


def test_processes_of_a_killed_supervisor_run_on_under_the_next_one(abandoned: Home) -> None:
    before = pids(abandoned)
    assert before["features"] and before["risk"] is None
    with SecondSupervisor(abandoned, specs(abandoned)):
        assert pids(abandoned) == before
        assert child(abandoned, "risk").status is ChildStatus.STOPPED, "what a user has stopped stays stopped"
        assert (abandoned.root / INITIALIZED).read_text() == "x", "not initialized again"
        # An adopted process is supervised like any other: restarted after a crash, and stopped in order.
        os.kill(before["features"], signal.SIGKILL)
        eventually(lambda: child(abandoned, "features").restarts == 1)
        eventually(lambda: child(abandoned, "features").status is ChildStatus.HEALTHY)
        assert child(abandoned, "features").pid != before["features"]
    assert DummyServices(abandoned).stopped() == ["risk", "api", "features", "kafka"]
    assert set(pids(abandoned).values()) == {None}


def test_processes_with_other_options_are_started_again_and_servers_stay(abandoned: Home) -> None:
    before = pids(abandoned)
    services = [
        one if one.kind is ProcessKind.SERVICE else replace(one, environment={**one.environment, "MODE": "other"})
        for one in specs(abandoned)
    ]
    with SecondSupervisor(abandoned, services):
        after = pids(abandoned)
        assert after["kafka"] == before["kafka"]
        assert after["features"] != before["features"] and after["api"] != before["api"]
        assert after["risk"] is not None
        assert (abandoned.root / INITIALIZED).read_text() == "xx"


def test_everything_is_started_again_if_a_server_has_other_options(abandoned: Home) -> None:
    before = pids(abandoned)
    services = specs(abandoned)
    services[0] = replace(services[0], environment={**services[0].environment, "PORT": "1"})
    with SecondSupervisor(abandoned, services):
        after = pids(abandoned)
        assert all(after[name] != before[name] for name in ("kafka", "features", "api"))


def test_everything_is_ended_after_a_supervisor_died_in_the_middle_of_a_change(abandoned: Home) -> None:
    state = read_state(abandoned)
    assert state is not None and end_if_interrupted(state) == []
    write_state(abandoned, replace(state, rescale="features to 3: in progress"))
    assert set(end_if_interrupted(read_state(abandoned))) == {"kafka", "features", "api"}
    assert survivors(state) == ()
    write_state(abandoned, replace(state, phase=Phase.STARTING))
    assert end_if_interrupted(read_state(abandoned)) == []


def test_fingerprint_covers_options_and_code_and_ignores_the_session(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("a: 1")
    environment = {"MODE": "paper", "PLATFORM_SETTINGS": str(settings)}
    spec = ProcessSpec("risk", ProcessKind.DATAFLOW, ("run",), lambda pid: None, environment=environment)
    same = replace(spec, environment={**environment, "PWD": "/elsewhere", "SSH_TTY": "1", "INVOCATION_ID": "7"})
    assert fingerprint(spec, "code") == fingerprint(same, "code")
    others = [
        replace(spec, command=("run", "-x")),
        replace(spec, environment={**environment, "MODE": "live"}),
        replace(spec, uid=1),
    ]
    assert len({fingerprint(one, "code") for one in [spec, *others]} | {fingerprint(spec, "other code")}) == 5
    before = fingerprint(spec, "code")
    settings.write_text("a: 20")
    assert fingerprint(spec, "code") != before


def test_adopted_process_is_never_another_one_with_its_pid() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    identity = identify(process.pid)
    assert identity is not None
    with pytest.raises(ProcessLookupError):
        AdoptedProcess(ProcessIdentity(identity.pid, identity.started_at - 5))
    adopted = AdoptedProcess(identity)
    assert adopted.poll() is None
    adopted.send_signal(signal.SIGTERM)
    process.wait(60)
    assert adopted.poll() == UNKNOWN_STATUS
    adopted.kill()  # has no effect on an ended process


def test_port_of_the_own_process_is_not_taken_by_another_program() -> None:
    (port,) = free_ports(1)
    server = subprocess.Popen([sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"])
    try:
        eventually(lambda: bool(psutil.Process(server.pid).net_connections("tcp")))
        with pytest.raises(DeployError, match="taken by another program"):
            require_free("the API", port, "PLATFORM_API_PORT", owners=[os.getpid()])
        require_free("the API", port, "PLATFORM_API_PORT", owners=[server.pid])
    finally:
        server.kill()
        server.wait()
