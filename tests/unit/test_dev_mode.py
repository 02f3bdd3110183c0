"""`start --dev` gracefully restarts the services that run an edited source file, and no others."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from deploy.commands import platform, platform_status
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.local import dashboard_bundle
from deploy.local.ports import Ports
from deploy.supervisor import control, supervisor
from deploy.supervisor.dev_reload import FOLDERS_OF_KIND, SCAN_S, SourceWatcher
from deploy.supervisor.process_spec import ProcessKind, ProcessSpec, ProgressCallback
from deploy.supervisor.processes import identify
from deploy.supervisor.start_options import StartOptions, load_options, save_options, validate_options
from deploy.supervisor.state import ChildStatus, Phase, PlatformState, read_state, write_state
from tests.unit.test_deploy_supervisor import DummyServices, child, eventually, is_running, supervised


def service(name: str, kind: ProcessKind, replica_of: str | None = None) -> ProcessSpec:
    return ProcessSpec(
        name=name, kind=kind, command=("true",), probe=lambda pid: None, environment={}, replica_of=replica_of
    )


SERVICES = [
    service("kafka", ProcessKind.SERVICE),
    service("features-1of2", ProcessKind.DATAFLOW, "features"),
    service("risk", ProcessKind.DATAFLOW, "risk"),
    service("api", ProcessKind.API),
    service("dashboard", ProcessKind.DASHBOARD),
    service("checks", ProcessKind.CHECKS),
    service("alerts", ProcessKind.ALERTS),
]


@pytest.fixture
def dummies(tmp_path: Path) -> DummyServices:
    home = Home(tmp_path / "home")
    home.create_folders()
    return DummyServices(home)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Create a source tree with a module in each folder."""
    root = tmp_path / "tree"
    for name in (*{name for names in FOLDERS_OF_KIND.values() for name in names}, "deploy"):
        (root / name).mkdir(parents=True)
        (root / name / "module.py").write_text("A = 1\n")
    (root / "dataflows" / "features.py").write_text("A = 1\n")
    return root


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "B = 2\n")


def edited_after_scan(watcher: SourceWatcher) -> list[Path]:
    """Return the result of the second scan. The first scan only detects a change."""
    now = time.monotonic() + 10 * SCAN_S
    assert watcher.changed_files(now) == [], "an edit is reported once a scan finds no newer change"
    assert watcher.changed_files(now) == [], "scans are a second apart"
    return watcher.changed_files(now + SCAN_S)


def test_watched_folders_exist_in_the_repository() -> None:
    assert all((REPOSITORY / name).is_dir() for names in FOLDERS_OF_KIND.values() for name in names)


@pytest.mark.parametrize(
    ("file", "affected"),
    [
        ("operators/module.py", ["features-1of2", "risk", "api", "alerts"]),
        ("configs/module.py", ["features-1of2", "risk", "api", "alerts"]),
        ("dataflows/module.py", ["features-1of2", "risk", "api", "alerts"]),
        ("dataflows/features.py", ["features-1of2", "api", "alerts"]),
        ("api/module.py", ["api", "alerts"]),
    ],
)
def test_edit_affects_the_services_that_run_the_code(tree: Path, file: str, affected: list[str]) -> None:
    watcher = SourceWatcher(tree)
    edit(tree / file)
    edited = edited_after_scan(watcher)
    assert edited == [tree / file]
    assert [one.name for one in SERVICES if watcher.affects(one, edited)] == affected


def test_files_that_no_service_runs_are_ignored(tree: Path) -> None:
    watcher = SourceWatcher(tree)
    edit(tree / "deploy" / "module.py")
    (tree / "operators" / "notes.txt").write_text("x")
    (tree / "operators" / "__pycache__").mkdir()
    (tree / "operators" / "__pycache__" / "module.py").write_text("x")
    assert edited_after_scan(watcher) == []


def test_new_removed_and_touched_files_are_changes_and_so_is_the_users_settings_file(tree: Path) -> None:
    settings = tree / "mine.yaml"
    settings.write_text("{}\n")
    watcher = SourceWatcher(tree, [settings])
    (tree / "api" / "module.py").unlink()
    (tree / "schemas" / "new.avsc").write_text("{}")
    os.utime(tree / "sinks" / "module.py", (1, 1))
    edit(settings)
    edited = edited_after_scan(watcher)
    expected = ("api/module.py", "mine.yaml", "schemas/new.avsc", "sinks/module.py")
    assert edited == [tree / name for name in expected]
    assert watcher.affects(SERVICES[1], [settings]) and not watcher.affects(SERVICES[0], [settings])
    assert watcher.changed_files(time.monotonic() + 100 * SCAN_S) == [], "each edit is reported once"


def test_edit_restarts_a_service_gracefully(dummies: DummyServices, tree: Path) -> None:
    home = dummies.home
    services = [
        dummies.service("kafka", ProcessKind.SERVICE),
        dummies.service("risk"),
        dummies.service("api", ProcessKind.API),
    ]
    with supervised(home, services, watcher=SourceWatcher(tree)):
        eventually(lambda: is_running(home))
        before = {name: child(home, name).pid for name in ("kafka", "risk", "api")}
        edit(tree / "api" / "module.py")
        eventually(lambda: child(home, "api").pid not in (before["api"], None))
        eventually(lambda: child(home, "api").status is ChildStatus.HEALTHY)
        assert dummies.stopped() == ["api"], "only this service received the signal to end"
        assert {name: child(home, name).pid for name in ("kafka", "risk")} == {n: before[n] for n in ("kafka", "risk")}
        assert child(home, "api").restarts == 0, "an edit is no crash"
        edit(tree / "operators" / "module.py")
        eventually(lambda: sorted(dummies.stopped()) == ["api", "api", "risk"])
        eventually(lambda: all(child(home, name).status is ChildStatus.HEALTHY for name in before))


def test_service_broken_by_an_edit_recovers_with_the_next_edit(dummies: DummyServices, tree: Path) -> None:
    home = dummies.home
    code = tree / "operators" / "module.py"
    code.write_text("import time; time.sleep(60)\n")
    script = f"exec(open({str(code)!r}).read())"
    with supervised(
        home, [dummies.command("risk", ProcessKind.DATAFLOW, script, lambda pid: None)], watcher=SourceWatcher(tree)
    ):
        eventually(lambda: is_running(home))
        code.write_text("raise SystemExit('wrong')\n")
        eventually(lambda: child(home, "risk").restarts > 0)
        assert "wrong" in (child(home, "risk").reason or "")
        code.write_text("import time; time.sleep(61)\n")
        eventually(lambda: child(home, "risk").status is ChildStatus.HEALTHY)


def test_stopped_service_stays_stopped_after_an_edit(dummies: DummyServices, tree: Path) -> None:
    home = dummies.home
    with supervised(
        home, [dummies.service("risk"), dummies.service("api", ProcessKind.API)], watcher=SourceWatcher(tree)
    ):
        eventually(lambda: is_running(home))
        control.request(home, "stop", "risk")
        eventually(lambda: child(home, "risk").status is ChildStatus.STOPPED)
        edit(tree / "operators" / "module.py")
        eventually(lambda: "api" in dummies.stopped())
        eventually(lambda: child(home, "api").status is ChildStatus.HEALTHY)
        assert child(home, "risk").status is ChildStatus.STOPPED


def test_without_dev_an_edit_changes_nothing(dummies: DummyServices, tree: Path) -> None:
    home = dummies.home
    with supervised(home, [dummies.service("risk")]):
        eventually(lambda: is_running(home))
        pid = child(home, "risk").pid
        edit(tree / "operators" / "module.py")
        time.sleep(2.5 * SCAN_S)
        assert child(home, "risk").pid == pid and not dummies.journal.exists()


def test_dev_option_is_stored_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    home.create_folders()
    save_options(home, validate_options(None, [], None, None, dev=True))
    assert load_options(home) == StartOptions(dev=True)
    identity = identify(os.getpid())
    assert identity is not None
    state = PlatformState(
        phase=Phase.RUNNING,
        message="all healthy",
        supervisor_pid=identity.pid,
        supervisor_started_at=identity.started_at,
        updated_at=time.time(),
        dev=True,
    )
    write_state(home, state)
    assert read_state(home) == state
    console_output = io.StringIO()
    monkeypatch.setattr(platform_status, "Console", lambda: Console(file=console_output, width=200))
    platform_status._show(home, state, detailed=False)
    assert console_output.getvalue().startswith("dev mode: ")


def test_dev_mode_is_rejected_for_live_trading(dummies: DummyServices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_API_PORT", str(Ports.free().api))
    settings_file = dummies.home.root / "mine.yaml"
    settings_file.write_text(
        "{execution: {broker: alpaca, mode: live, live_account: A1}, market_data: {feed: alpaca}}\n"
    )
    save_options(dummies.home, StartOptions(settings=str(settings_file), dev=True))
    reports: list[str] = []
    state = PlatformState(
        phase=Phase.PREPARING, message="", supervisor_pid=1, supervisor_started_at=0.0, updated_at=0.0
    )
    expected = "--dev restarts services at every edit and cannot be used with TRADING_MODE=live"
    with pytest.raises(DeployError, match=expected):
        supervisor._build_supervisor(dummies.home, state, reports.append, lambda state: None)
    assert not reports, "nothing was prepared"


@pytest.mark.parametrize(("dashboard_setting", "built"), [("", [True]), ("off", [])])
def test_build_option_rebuilds_the_enabled_dashboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dashboard_setting: str, built: list[bool]
) -> None:
    builds: list[bool] = []

    def bundle(home: Home, report: ProgressCallback, *, rebuild: bool) -> Path:
        builds.append(rebuild)
        return home.root

    monkeypatch.setattr(dashboard_bundle, "bundle", bundle)
    monkeypatch.setenv("PLATFORM_DASHBOARD", dashboard_setting)
    platform._rebuild(Home(tmp_path))
    assert builds == built


def test_an_edited_dataflow_restarts_the_compact_process_that_runs_it(tree: Path) -> None:
    watcher, compact = SourceWatcher(tree), service("compact", ProcessKind.DATAFLOW, "compact")
    assert watcher.affects(compact, [tree / "dataflows" / "features.py"])
    assert watcher.affects(compact, [tree / "dataflows" / "compact.py"])
    assert not watcher.affects(compact, [tree / "dataflows" / "market_data.py"])
    assert not watcher.affects(SERVICES[1], [tree / "dataflows" / "compact.py"])
