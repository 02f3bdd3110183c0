"""A misspelled command, option, name or choice exits with status 2 and an error that suggests the right spelling."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy import cli
from deploy.commands.dead_letters import _require_topic
from deploy.home import REPOSITORY, Home
from deploy.supervisor.processes import identify
from deploy.supervisor.state import ChildState, ChildStatus, Phase, PlatformState, write_state
from schemas.errors import BadInput
from tests.replay.market import write_market
from tests.unit.tape import settings

cli.register_all()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A state folder with one log, one recovery store and the state of a running platform."""
    home = Home(tmp_path / "home")
    home.create_folders()
    (home.logs / "risk.log").write_text("{}\n")
    (home.recovery / "portfolio").mkdir()
    identity = identify(os.getpid())
    assert identity is not None
    children = (
        ChildState("kafka", "service", ChildStatus.HEALTHY),
        ChildState("features-1of2", "dataflow", ChildStatus.HEALTHY, replica_of="features"),
        ChildState("risk", "dataflow", ChildStatus.HEALTHY),
    )
    write_state(
        home,
        PlatformState(
            phase=Phase.RUNNING,
            message="",
            supervisor_pid=identity.pid,
            supervisor_started_at=identity.started_at,
            updated_at=time.time(),
            children=children,
        ),
    )
    monkeypatch.setenv("PLATFORM_HOME", str(home.root))
    monkeypatch.setenv("COLUMNS", "200")  # keeps each typer message on one line
    monkeypatch.chdir(tmp_path)
    return home


def error_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command line that must exit with status 2, and return its standard error."""
    monkeypatch.setattr(sys, "argv", ["cli.py", *arguments])
    try:
        status: object = cli.main()
    except SystemExit as exit_:
        status = exit_.code
    error = capsys.readouterr().err
    assert status == 2, error
    return error


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        # commands
        ("strat", "'start'"),
        ("secrets lst", "'list'"),
        ("performance anlyze", "'analyze'"),
        # options
        ("--hepl", "--help"),
        ("logs --folow", "--follow"),
        ("start --fed simulator", "--feed"),
        ("secrets rotate POLYGON_API_KEY --confrim", "--confirm"),
        # services
        ("logs rsk", "risk"),
        ("exec rsk true", "risk"),
        ("scale featurs 2", "features"),
        ("service stop kafak", "kafka"),
        ("service start featurs", "features"),
        ("performance profile featurs", "features"),
        ("dead-letters release featurs", "features"),
        ("snapshots inspect portfolo", "portfolio"),
        ("rebuild portfolo", "portfolio"),
        ("rebuild exections --table", "executions"),
        # choices
        ("logs --level INF", "INFO"),
        ("logs --export --format jsn", "json"),
        ("lots --fills fills.csv --method fio", "fifo"),
        ("lots --fills fills.csv --format lot", "lots"),
        ("lots --fills fills.csv --zone America/NewYork", "America/New_York"),
        ("optimize-weights --method hpr", "hrp"),
        ("optimize-weights --method hrp --returns dayly", "daily"),
        ("train --bars bars --model gradient_bosting", "gradient_boosting"),
        ("chaos --faults kill,clok", "clock"),
        ("chaos --services potgres", "postgres"),
        # other names
        ("alerts test --channel peple", "people"),
        ("secrets get POLYGON_API_KY", "POLYGON_API_KEY"),
        ("replay-check --portfolio default_portfoilo", "default_portfolio"),
        ("fork --at 2024-01-02 --set risk_manger.max_daily_loss=1", "risk_manager"),
        ("fork --at 2024-01-02 --set risk_manager.max_dayly_loss=1", "max_daily_loss"),
        ("fork --at 2024-01-02 --strategy ema_cros", "ema_cross"),
        ("fork --at 2024-01-02 --set signals.strategies.ema_cros.capital=0.5", "ema_cross"),
        # record ids
        ("explain order-7", "ord-7"),
        ("explain ord7", "ord-7"),
        ("explain refusel-3", "refusal-3"),
        ("explain command-7", "cmd-7"),
    ],
)
def test_misspelled_name_is_suggested(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, suggestion: str
) -> None:
    error = error_of(arguments.split(), monkeypatch, capsys)
    message, did_you_mean, rest = re.sub("Did you mean", "did you mean", error).partition("did you mean")
    assert message and did_you_mean and suggestion in rest, error


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [("start --feed simulatr", "simulator"), ("start --broker alpacca", "alpaca")],
)
def test_misspelled_start_option_is_suggested(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, suggestion: str
) -> None:
    home.state_file.unlink()  # `start` requires a stopped platform
    assert f"did you mean {suggestion}?" in error_of(arguments.split(), monkeypatch, capsys)


def test_misspelled_strategy_of_a_backtest_is_suggested(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_market(tmp_path / "bars", symbols=("A",), minutes=30)
    (tmp_path / "mine.yaml").write_text("signals: {strategies: [{name: ema_cros}]}\n")
    error = error_of(["backtest", "--bars", "bars", "--settings", "mine.yaml"], monkeypatch, capsys)
    assert "did you mean ema_cross?" in error


def test_misspelled_topic_is_suggested() -> None:
    kafka = settings().kafka
    with pytest.raises(BadInput, match=r"unknown topic 'order'; did you mean orders\?"):
        _require_topic("order", kafka, {})
    for topic in (None, "orders", "file:bars.csv", "feed:polygon"):
        _require_topic(topic, kafka, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "users create ann trade",
            "Invalid value for 'role': must be one of viewer, trader, risk, admin, found 'trade'; did you mean trader?",
        ),
        ("users set-role ann boss", "must be one of viewer, trader, risk, admin, found 'boss'"),
        ("config history --limit many", "must be a valid integer, unable to parse string as an integer"),
        ("config history --limit 0", "must be greater than or equal to 1"),
    ],
)
def test_an_invalid_value_names_the_valid_ones(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    error = " ".join(error_of(arguments.split(), monkeypatch, capsys).replace("│", " ").split())
    assert message in error and "Value error" not in error, error


def test_unrelated_name_gets_no_suggestion(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = error_of(["logs", "zzz"], monkeypatch, capsys)
    assert error == "error: unknown service 'zzz'. Known services: risk\n"


def test_each_command_is_found_without_importing_the_modules_of_the_others() -> None:
    names = [str(name) for name in cli._command_names()]
    assert len(names) > 30
    code = (
        "import sys\nfrom deploy import cli\n"
        "def registered(name):\n"
        "    cli._registered.clear(), cli.app.registered_commands.clear(), cli.app.registered_groups.clear()\n"
        "    cli.register_for([name, '--json'])\n"
        "    return len(cli._registered)\n"
        "print([name for name in sys.argv[1:] if registered(name) != 1])\n"
        "print(registered('unknown') == registered('--help') > 20)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert run.stdout.splitlines() == ["[]", "True"]
