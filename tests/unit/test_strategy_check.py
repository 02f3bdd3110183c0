"""`strategies check` and `strategies list`: what is wrong with a strategy, before it trades."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dataflows.research.strategy_check import check_strategy
from deploy.commands import strategies
from schemas.errors import BadInput

app = typer.Typer()
strategies.register(app)
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def write(folder: Path, body: str, head: str = "") -> str:
    """Write a trading strategy of KO with this handler, and return its name for the settings."""
    file = folder / "own.py"
    lines = [
        *([head] if head else []),
        "from operators.strategies import TradingStrategy",
        "class Own(TradingStrategy):",
        "    symbols = ('KO',)",
        "    def on_slice(self, ctx):",
        *(f"        {line}" for line in body.splitlines()),
    ]
    file.write_text("\n".join(lines) + "\n")
    return f"{file}:Own"


def findings(source: str) -> list[tuple[str, str, int]]:
    report = check_strategy(source, minutes=30)
    assert {finding.file for finding in report.findings} <= {source.rpartition(":")[0]}
    return [(finding.check, finding.message, finding.line) for finding in report.findings]


def test_an_example_has_no_findings_and_trades() -> None:
    report = check_strategy(f"{EXAMPLES / 'bracket.py'}:OpeningRange", minutes=60)
    assert (report.name, report.form, report.findings) == ("opening_range", "trading strategy", [])
    assert report.decisions > 0
    assert report.declarations["schedules"] == "place AFTER_OPEN, flatten BEFORE_CLOSE"


def test_a_view_strategy_of_the_platform_has_no_findings() -> None:
    report = check_strategy("ema_cross", minutes=120)
    assert (report.form, report.findings) == ("view strategy", [])
    assert report.decisions > 0


@pytest.mark.parametrize(
    ("head", "body", "message", "line"),
    [
        ("import time", "pass", "imports time", 1),
        ("from random import gauss", "pass", "imports random", 1),
        ("import numpy as np", "ctx.note(str(np.random.default_rng(1)))", "uses randomness: np.random", 6),
        ("", "open('/dev/null')", "calls open()", 5),
        ("import datetime", "datetime.datetime.now()", "reads a clock: datetime.datetime.now()", 6),
    ],
)
def test_clocks_randomness_and_files_are_found(tmp_path: Path, head: str, body: str, message: str, line: int) -> None:
    assert ("purity", message, line) in findings(write(tmp_path, body, head))


def test_memory_on_self_is_found_in_the_source_and_in_the_dry_run(tmp_path: Path) -> None:
    found = findings(write(tmp_path, "self.last = ctx.price('KO')"))
    assert found[0] == ("purity", "on_slice changes self.last; use the state", 5)
    assert found[1][0] == "dry run"


def test_memory_in_the_module_is_found_by_restores(tmp_path: Path) -> None:
    body = "SEEN.append(1)\nif len(SEEN) % 7 == 0:\n    ctx.note('seventh')"
    checks = [check for check, _, _ in findings(write(tmp_path, body, "SEEN = []"))]
    assert "snapshots" in checks


def test_a_look_into_the_future_is_found(tmp_path: Path) -> None:
    """The strategy reads the bars of the dry run, as a strategy that reads its own file of prices does."""
    head = "from dataflows.research import strategy_check as tape"
    body = "future = [r for s in tape.LAST_TAPE for r in s if r.ts_ns > ctx.time][:1]\nctx.note(str(future))"
    source = write(tmp_path, body, head)
    from dataflows.research import strategy_check

    original, strategy_check.LAST_TAPE = strategy_check.make_tape, []  # type: ignore[attr-defined]  # set by the test

    def remembering(*arguments: object, **options: object) -> object:
        made = original(*arguments, **options)  # type: ignore[arg-type]  # passed on
        strategy_check.LAST_TAPE = made  # type: ignore[attr-defined]  # set by the test
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategy_check, "make_tape", remembering)
        checks = [check for check, _, _ in findings(source)]
    assert "look-ahead" in checks


def test_a_failure_names_the_line_that_raised(tmp_path: Path) -> None:
    assert findings(write(tmp_path, "ctx.note('x')\nctx.target_weight('KO', float('nan'))")) == [
        ("dry run", "BadInput: weight must be a finite number, found nan", 6)
    ]


def test_a_strategy_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        check_strategy(f"{tmp_path}/missing.py:Own")


def test_the_command_prints_findings_and_fails(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["strategies", "check", write(tmp_path, "pass", "import time"), "--minutes", "5"])
    assert result.exit_code == 1
    assert "own.py:1: purity: imports time" in result.output
    good = CliRunner().invoke(app, ["strategies", "check", write(tmp_path, "pass"), "--json", "--minutes", "5"])
    assert (good.exit_code, json.loads(good.output)["findings"]) == (0, [])


def test_the_list_has_the_platforms_strategies_and_those_of_the_settings() -> None:
    result = CliRunner().invoke(app, ["strategies", "list", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.output)
    assert ("ema_cross", "view", True) in [(row["name"], row["form"], row["runs"]) for row in rows]
    assert ("buy_and_hold", "view", False) in [(row["name"], row["form"], row["runs"]) for row in rows]
