"""A backtest and the check of a strategy end, whatever a handler does: each names its file and line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dataflows.research.strategy_check import StrategyReport, check_strategy
from dataflows.runtime.handler_watchdog import TimeLimits
from deploy.commands.backtest import backtest
from deploy.errors import DeployError
from deploy.home import REPOSITORY
from tests import endless_strategy
from tests.replay import recorded

FILE = endless_strategy.__file__
SPINNING = TimeLimits(processor_s=0.2, waiting_s=3600)
LINES = Path(FILE).read_text().splitlines()


def settings_file(folder: Path, **parameters: Any) -> Path:
    file = folder / "settings.yaml"
    strategies = [{"name": f"{FILE}:Endless", "parameters": {"at": 5, **parameters}, "handler_time_limit_s": 0.5}]
    file.write_text(json.dumps({"signals": {"strategies": strategies}}))
    return file


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "cli.py", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_a_backtest_with_an_endless_loop_suspends_the_strategy_and_fails_after_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DeployError) as raised:
        backtest([recorded.BARS], settings=settings_file(tmp_path), json_target="-")
    summary = json.loads(capsys.readouterr().out)
    assert summary["orders"] > 0, "the results are printed first"
    sentence = str(raised.value)
    assert "suspended because of an exception or a time limit: endless" in sentence
    assert "HandlerTimeLimit: on_slice did not return within its limit of 0.5 s of processor time" in sentence
    assert f"({FILE}:" in sentence


def test_a_backtest_whose_handler_catches_every_exception_ends_with_a_sentence(tmp_path: Path) -> None:
    result = run_cli("backtest", "--bars", str(recorded.BARS), "--settings", str(settings_file(tmp_path, how="catch")))
    assert result.returncode == 1
    assert "error: strategy endless: on_slice did not return within its limit of 0.5 s" in result.stderr
    assert f"({FILE}:" in result.stderr and "It cannot be interrupted" in result.stderr


@pytest.mark.parametrize("name", ["Endless", "EndlessView"])
def test_the_check_finds_an_endless_loop(name: str) -> None:
    parameters = {"at": 5, **({"symbol": "BBB"} if name == "EndlessView" else {})}
    report = check_strategy(f"{FILE}:{name}", parameters, minutes=30, limits=SPINNING)
    [finding] = [finding for finding in report.findings if finding.check == "dry run"]
    assert finding.message.startswith("HandlerTimeLimit: ") and finding.message.endswith("0.2 s of processor time")
    assert finding.file == FILE and LINES[finding.line - 1].strip() in (
        "pass",
        'while self.how == "spin":',
        *VIEW_LINES,
    )


VIEW_LINES = ("while row.symbol == self.symbol and count == self.at:",)


def test_the_check_reports_a_handler_that_cannot_be_interrupted_while_it_runs(tmp_path: Path) -> None:
    """`on_stuck` receives the report. Here it lets the handler return; the command line ends the process."""
    released = tmp_path / "released"
    file = tmp_path / "own.py"
    file.write_text(
        "import time\n"
        "from pathlib import Path\n"
        "from operators.strategies import TradingStrategy\n"
        "class Own(TradingStrategy):\n"
        "    symbols = ('KO',)\n"
        "    def on_slice(self, ctx):\n"
        f"        while not Path({str(released)!r}).exists():\n"
        "            try:\n"
        "                time.sleep(0.05)\n"
        "            except BaseException:\n"
        "                pass\n"
    )
    reports: list[StrategyReport] = []

    def on_stuck(report: StrategyReport) -> None:
        reports.append(report)
        released.touch()

    limits = TimeLimits(processor_s=3600, waiting_s=0.5)
    check_strategy(f"{file}:Own", minutes=2, limits=limits, on_stuck=on_stuck)
    finding = reports[0].findings[-1]
    assert (finding.check, finding.file) == ("dry run", str(file)) and 7 <= finding.line <= 11
    assert finding.message == (
        "on_slice did not return within its limit of 0.5 s of waiting time, and cannot be interrupted"
    )


def test_the_command_check_ends_although_a_handler_catches_every_exception() -> None:
    parameters = json.dumps({"at": 5, "how": "catch"})
    result = run_cli("strategies", "check", f"{FILE}:Endless", "--parameters", parameters, "--minutes", "30")
    assert result.returncode == 1
    assert "dry run: on_slice did not return within its limit of " in result.stdout
    assert result.stdout.splitlines()[-2].startswith(f"{FILE}:"), "a finding with file and line"
