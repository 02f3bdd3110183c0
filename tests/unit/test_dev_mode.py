"""`start --dev`: an edited source file starts those services again that run it, the graceful way; no others."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from deploy.commands import platform, watch
from deploy.errors import DeployError
from deploy.home import REPOSITORY, Home
from deploy.local import dashboard_bundle
from deploy.local.endpoints import Ports
from deploy.supervisor import supervisor
from deploy.supervisor.dev_reload import FOLDERS, SCAN_S, Edits
from deploy.supervisor.processes import identify
from deploy.supervisor.service import Kind, Report, Service
from deploy.supervisor.start_options import Choices, choose, remember, remembered
from deploy.supervisor.state import Phase, State, Status, read_state, write_state
from tests.unit.test_deploy_supervisor import Dummies, child, eventually, is_running, supervised


def service(name: str, kind: Kind, replica_of: str | None = None) -> Service:
    return Service(name, kind, ("true",), lambda pid: None, {}, replica_of=replica_of)


SERVICES = [
    service("kafka", Kind.SERVICE),
    service("features-1of2", Kind.DATAFLOW, "features"),
    service("risk", Kind.DATAFLOW, "risk"),
    service("api", Kind.API),
    service("dashboard", Kind.DASHBOARD),
    service("checks", Kind.CHECKS),
    service("alerts", Kind.ALERTS),
]


@pytest.fixture
def dummies(tmp_path: Path) -> Dummies:
    home = Home(tmp_path / "home")
    home.make()
    return Dummies(home)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Sources of one module in each folder."""
    root = tmp_path / "tree"
    for name in (*{name for names in FOLDERS.values() for name in names}, "deploy"):
        (root / name).mkdir(parents=True)
        (root / name / "module.py").write_text("A = 1\n")
    (root / "dataflows" / "features.py").write_text("A = 1\n")
    return root


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "B = 2\n")


def told_after(edits: Edits) -> list[Path]:
    """What the second scan says: the first one only sees that something changed."""
    now = time.monotonic() + 10 * SCAN_S
    assert edits.told(now) == [], "an edit is told when nothing has changed since the last scan"
    assert edits.told(now) == [], "scans are a second apart"
    return edits.told(now + SCAN_S)


def test_the_folders_are_those_of_the_repository() -> None:
    assert all((REPOSITORY / name).is_dir() for names in FOLDERS.values() for name in names)


@pytest.mark.parametrize(
    ("file", "concerned"),
    [
        ("operators/module.py", ["features-1of2", "risk", "api", "alerts"]),
        ("configs/module.py", ["features-1of2", "risk", "api", "alerts"]),
        ("dataflows/module.py", ["features-1of2", "risk", "api", "alerts"]),
        ("dataflows/features.py", ["features-1of2", "api", "alerts"]),
        ("api/module.py", ["api", "alerts"]),
    ],
)
def test_an_edit_concerns_who_runs_the_code(tree: Path, file: str, concerned: list[str]) -> None:
    edits = Edits(tree)
    edit(tree / file)
    edited = told_after(edits)
    assert edited == [tree / file]
    assert [one.name for one in SERVICES if edits.concern(one, edited)] == concerned


def test_what_no_service_runs_is_not_looked_at(tree: Path) -> None:
    edits = Edits(tree)
    edit(tree / "deploy" / "module.py")
    (tree / "operators" / "notes.txt").write_text("x")
    (tree / "operators" / "__pycache__").mkdir()
    (tree / "operators" / "__pycache__" / "module.py").write_text("x")
    assert told_after(edits) == []


def test_new_removed_and_touched_files_are_edits_and_so_is_the_users_settings_file(tree: Path) -> None:
    settings = tree / "mine.yaml"
    settings.write_text("{}\n")
    edits = Edits(tree, [settings])
    (tree / "api" / "module.py").unlink()
    (tree / "schemas" / "new.avsc").write_text("{}")
    os.utime(tree / "sinks" / "module.py", (1, 1))
    edit(settings)
    edited = told_after(edits)
    expected = ("api/module.py", "mine.yaml", "schemas/new.avsc", "sinks/module.py")
    assert edited == [tree / name for name in expected]
    assert edits.concern(SERVICES[1], [settings]) and not edits.concern(SERVICES[0], [settings])
    assert edits.told(time.monotonic() + 100 * SCAN_S) == [], "each is told once"


def test_an_edit_starts_a_service_again_the_graceful_way(dummies: Dummies, tree: Path) -> None:
    home = dummies.home
    services = [dummies.service("kafka", Kind.SERVICE), dummies.service("risk"), dummies.service("api", Kind.API)]
    with supervised(home, services, edits=Edits(tree)):
        eventually(lambda: is_running(home))
        before = {name: child(home, name).pid for name in ("kafka", "risk", "api")}
        edit(tree / "api" / "module.py")
        eventually(lambda: child(home, "api").pid not in (before["api"], None))
        eventually(lambda: child(home, "api").status is Status.HEALTHY)
        assert dummies.stopped() == ["api"], "it was asked to end, and nobody else was"
        assert {name: child(home, name).pid for name in ("kafka", "risk")} == {n: before[n] for n in ("kafka", "risk")}
        assert child(home, "api").restarts == 0, "an edit is no crash"
        edit(tree / "operators" / "module.py")
        eventually(lambda: sorted(dummies.stopped()) == ["api", "api", "risk"])
        eventually(lambda: all(child(home, name).status is Status.HEALTHY for name in before))


def test_an_edit_that_breaks_a_service_is_made_good_by_the_next(dummies: Dummies, tree: Path) -> None:
    home = dummies.home
    code = tree / "operators" / "module.py"
    code.write_text("import time; time.sleep(60)\n")
    script = f"exec(open({str(code)!r}).read())"
    with supervised(home, [dummies.command("risk", Kind.DATAFLOW, script, lambda pid: None)], edits=Edits(tree)):
        eventually(lambda: is_running(home))
        code.write_text("raise SystemExit('wrong')\n")
        eventually(lambda: child(home, "risk").restarts > 0)
        assert "wrong" in (child(home, "risk").reason or "")
        code.write_text("import time; time.sleep(61)\n")
        eventually(lambda: child(home, "risk").status is Status.HEALTHY)


def test_what_somebody_stopped_stays_stopped(dummies: Dummies, tree: Path) -> None:
    home = dummies.home
    with supervised(home, [dummies.service("risk"), dummies.service("api", Kind.API)], edits=Edits(tree)) as running:
        eventually(lambda: is_running(home))
        assert running._act("stop", "risk", 0) is None
        eventually(lambda: child(home, "risk").status is Status.STOPPED)
        edit(tree / "operators" / "module.py")
        eventually(lambda: "api" in dummies.stopped())
        eventually(lambda: child(home, "api").status is Status.HEALTHY)
        assert child(home, "risk").status is Status.STOPPED


def test_without_dev_an_edit_changes_nothing(dummies: Dummies, tree: Path) -> None:
    home = dummies.home
    with supervised(home, [dummies.service("risk")]):
        eventually(lambda: is_running(home))
        pid = child(home, "risk").pid
        edit(tree / "operators" / "module.py")
        time.sleep(2.5 * SCAN_S)
        assert child(home, "risk").pid == pid and not dummies.journal.exists()


def test_dev_is_remembered_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    home.make()
    remember(home, choose(None, [], None, None, dev=True))
    assert remembered(home) == Choices(dev=True)
    me = identify(os.getpid())
    assert me is not None
    state = State(Phase.RUNNING, "all healthy", me.pid, me.started_at, time.time(), dev=True)
    write_state(home, state)
    assert read_state(home) == state
    shown = io.StringIO()
    monkeypatch.setattr(watch, "Console", lambda: Console(file=shown, width=200))
    watch._show(home, state, detailed=False)
    assert shown.getvalue().startswith("dev mode: ")


def test_dev_is_not_for_real_money(dummies: Dummies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORM_API_PORT", str(Ports.free().api))
    given = dummies.home.root / "mine.yaml"
    given.write_text("{execution: {broker: alpaca, mode: live, live_account: A1}, market_data: {feed: alpaca}}\n")
    remember(dummies.home, Choices(settings=str(given), dev=True))
    said: list[str] = []
    state = State(Phase.PREPARING, "", 1, 0.0, 0.0)
    with pytest.raises(DeployError, match="--dev starts services again at every edit and is not for TRADING_MODE=live"):
        supervisor._platform(dummies.home, state, said.append, lambda state: None)
    assert not said, "nothing was prepared"


@pytest.mark.parametrize(("shown", "built"), [("", [True]), ("off", [])])
def test_build_builds_the_dashboard_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str, built: list[bool]
) -> None:
    asked: list[bool] = []

    def bundle(home: Home, report: Report, *, anew: bool) -> Path:
        asked.append(anew)
        return home.root

    monkeypatch.setattr(dashboard_bundle, "bundle", bundle)
    monkeypatch.setenv("PLATFORM_DASHBOARD", shown)
    platform._build(Home(tmp_path))
    assert asked == built
