"""`strategies check` and `strategies list`: what is wrong with a strategy, before it trades."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dataflows.research.strategy_check import check_strategy
from dataflows.research.strategy_dry_run import decisions_of, make_tape
from dataflows.research.strategy_warm_up import measure_warm_up
from deploy.commands import strategies
from deploy.home import Home
from deploy.supervisor.start_options import StartOptions, save_options
from operators.strategies import TradingStrategy
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
    assert report.decisions > 0 and report.notes == []
    assert report.declarations["schedules"] == "place AFTER_OPEN, flatten BEFORE_CLOSE"


def test_a_strategy_on_bars_of_trades_is_checked_on_simulated_trades(tmp_path: Path) -> None:
    source = write(tmp_path, "if ctx.closed('6t') and ctx.closed('1e5v'):\n    ctx.note('both')")
    file = Path(source.rpartition(":")[0])
    declared = "    features, history, bar_source = {'6t': ('sma_2',)}, {'1e5v': 2}, 'trades'\n    def on_slice"
    file.write_text(file.read_text().replace("    def on_slice", declared))
    report = check_strategy(source, minutes=60)
    assert (report.findings, report.decisions > 3) == ([], True)
    [note] = report.notes
    assert note.startswith("bars of 6t, 1e5v warm up from recorded trades in files and topics; a live feed ")
    # Four minutes have 16 trades.
    assert [one.kind for one in decisions_of(source, {"KO": [100.0, 101.0, 102.0, 103.0]})] == ["NOTE"] * 2


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


@pytest.mark.parametrize(
    ("body", "check", "message", "line"),
    [
        ("ctx.note('x')\n1 / 0", "dry run", "ZeroDivisionError: division by zero", 6),
        ("ctx.target_weight('KO', float('nan'))", "dry run", "BadInput: weight must be a finite number, found nan", 5),
        (
            "ctx.note('x')\nctx.submit('KO', 'BUY', 1e9)",
            "orders",
            "SUBMIT_ORDER of 1000000000 KO is 1,002,576 times the capital; check the amount",
            6,
        ),
        (
            "ctx.target_weight('KO', 100)\nctx.target_quantity('KO', 1e12)",
            "orders",
            "TARGET_QUANTITY of 1000000000000",
            6,
        ),
        (
            "ctx.price('KOO')",
            "dry run",
            "BadInput: 'KOO' is not in the universe of strategy own; did you mean KO? The universe has 1 symbols",
            5,
        ),
        ("self.count = 1", "purity", "on_slice changes self.count; use the state", 5),
        ("ctx.state['x'] = object()", "dry run", "BadInput: ctx.state['x'] must be a plain value", 4),
        ("return 5", "dry run", "BadInput: on_slice returned int, expected nothing", 4),
        ("ctx.feature('KO', 'sma_5')", "dry run", "BadInput: feature 'sma_5' of 1m is not declared.", 5),
        ("ctx.cancel('ord-1')", "dry run", "BadInput: order id must be that of an order of the strategy", 5),
    ],
)
def test_bad_input_is_one_sentence_with_file_and_line(
    tmp_path: Path, body: str, check: str, message: str, line: int
) -> None:
    found = findings(write(tmp_path, body))[0]
    assert (found[0], found[2]) == (check, line)
    assert found[1].startswith(message)
    assert "\n" not in found[1]


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ("features = ('smaa_20',)", "unknown indicator 'smaa_20'; did you mean sma_20?"),
        ("features = {'7x': ('sma_20',)}", "interval must be a text such as 15m"),
        ("history = {'1m': -1}", "history of 1m must be a number of bars from 1 to 1000000, found -1"),
        ("history = {'x': 9}", "interval must be a text such as 15m"),
        ("warm_up = 'long'", "`warm_up` must be a number of bars of at least 0, found 'long'"),
        ("symbols = 'KO'", "`symbols` must be a tuple of symbols"),
        ("events = 5", "`events` must be a tuple of names"),
        ("events = ('quote',)", "`events` must only contain quotes, news, sentiment, filings, found 'quote'"),
        ("data = 5", "`data` must be a tuple of names of your data"),
    ],
)
def test_an_invalid_declaration_is_a_finding_at_its_line(tmp_path: Path, declaration: str, message: str) -> None:
    source = write(tmp_path, "pass")
    file = tmp_path / "own.py"
    file.write_text(file.read_text().replace("    def on_slice", f"    {declaration}\n    def on_slice"))
    (check, text, line), *others = findings(source)
    assert (check, line, others) == ("declarations", 4, [])
    assert text.startswith(message), text


def test_a_warm_up_that_is_too_short_is_found(tmp_path: Path) -> None:
    source = write(tmp_path, "pass")
    file = tmp_path / "own.py"
    declared = "    features = ('sma_20',)\n    warm_up = 19\n    def on_slice"
    file.write_text(file.read_text().replace("    def on_slice", declared))
    report = check_strategy(source, minutes=415)
    assert [(one.check, one.message, one.line) for one in report.findings] == [
        ("warm-up", "warm_up is 19 bars, but two start dates agree from bar 20 on", 5)
    ]


@pytest.mark.parametrize(
    ("features", "history", "minutes", "needed"),
    [
        (("sma_20",), {}, 60, 20),
        (("sma_20",), {"1m": 25}, 60, 25),
        ({"5m": ("sma_3",)}, {}, 60, 3),
        (("sma_40",), {}, 60, None),
        ((), {}, 60, 0),
        (("beta_20(SPY)",), {}, 60, 21),
        ({"5m": ("correlation_4(SPY)",)}, {}, 60, 5),
    ],
)
def test_two_start_dates_agree_after_the_bars_that_the_declarations_need(
    features: Any, history: dict[str, int], minutes: int, needed: int | None
) -> None:
    """The later start is in the middle: 30 bars."""

    class Declared(TradingStrategy):
        pass

    strategy = Declared()
    strategy.features, strategy.history = features, history
    assert measure_warm_up(strategy, make_tape(strategy, minutes), minutes // 2).needed == needed


def test_an_exponential_average_needs_more_bars_than_its_period() -> None:
    """The weight of the bars before the start is (1 - 2 / 6) ** n of the average of five bars after n bars."""

    class Declared(TradingStrategy):
        features = ("ema_5", "rsi_5")

    tape = make_tape(Declared(), 200)
    needed = measure_warm_up(Declared(), tape, 100).needed
    assert needed is not None and 6 < needed < 60


def test_a_strategy_that_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        check_strategy(f"{tmp_path}/missing.py:Own")


def test_the_command_prints_findings_and_fails(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["strategies", "check", write(tmp_path, "pass", "import time"), "--minutes", "5"])
    assert result.exit_code == 1
    assert "own.py:1: purity: imports time" in result.output
    good = CliRunner().invoke(app, ["strategies", "check", write(tmp_path, "pass"), "--json", "--minutes", "5"])
    assert (good.exit_code, json.loads(good.output)["findings"]) == (0, [])


def test_the_list_has_the_platforms_strategies_and_those_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["strategies", "list", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.output)
    assert ("ema_cross", "view", True) in [(row["name"], row["form"], row["runs"]) for row in rows]
    assert ("buy_and_hold", "view", False) in [(row["name"], row["form"], row["runs"]) for row in rows]


def test_the_list_has_the_strategies_of_the_last_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "mine.yaml"
    settings.write_text("signals: {strategies: [{name: grid, parameters: {name: my_grid}}]}")
    home = Home(tmp_path / "home")
    home.create_folders()
    save_options(home, StartOptions(settings=str(settings)))
    monkeypatch.setenv("PLATFORM_HOME", str(home.root))
    rows = json.loads(CliRunner().invoke(app, ["strategies", "list", "--json"]).output)
    assert [row["name"] for row in rows if row["runs"]] == ["my_grid"]
