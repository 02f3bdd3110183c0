"""`strategies check` simulates the events that a strategy declares or handles, and what it can read."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from dataflows.research.simulated_changes import limit_changes, listing_changes
from dataflows.research.strategy_changes import change_findings
from dataflows.research.strategy_check import check_strategy
from dataflows.research.strategy_dry_run import SESSION_MINUTES, make_tape, run_over
from operators.indicators import INDICATORS
from operators.reference_data import is_valid_action, split_merger
from operators.risk.breakers import SCOPES_OF_MEASURE
from operators.strategies import STRATEGIES, TradingStrategy
from schemas.records import NOTE, SPLIT, Bar, CorporateAction, Record, RiskEvent, StrategyAction
from tests.unit import strategy_examples

MINUTES = 14
"""Every kind of event occurs in the first 14 minutes."""
HANDLED: tuple[str, ...] = (
    "TRADING_HALT",
    "TRADING_RESUMED",
    "CASH_DIVIDEND",
    "SPLIT",
    "STOCK_DIVIDEND",
    "SPIN_OFF",
    "RIGHTS",
)
HANDLED += ("SYMBOL_CHANGE", "MERGER_CASH", "DELISTING", "MARGIN_CALL", *(one.upper() for one in SCOPES_OF_MEASURE))
DECLARED = {"QUOTE": "quotes", "NEWS": "news", "SENTIMENT": "sentiment", "FILING": "filings", "DATA": ""}
TRADING = """from operators.strategies import TradingStrategy

class Own(TradingStrategy):
    symbols = ("KO", "PEP")
    events = {events}
    data = {data}

    def on_event(self, ctx, event):
        ctx.note(event.kind)
        if event.kind == "{kind}":
            {body}
"""
ORDERS_AFTER = """from operators.strategies import TradingStrategy

class Own(TradingStrategy):
    symbols = ("KO", "PEP")

    def on_event(self, ctx, event):
        if event.kind in ("DELISTING", "SYMBOL_CHANGE"):
            ctx.state["ended"] = [event.symbol, event.new_symbol, event.kind]

    def on_slice(self, ctx):
        ended, new_symbol, kind = ctx.state.get("ended", ["", "", ""])
        {decision}
"""
DELISTED = "KO was delisted on 2024-01-02; an order must name a symbol of ctx.universe"
RENAMED = "KO is KO.NEW since 2024-01-02; an order must name KO.NEW"
MERGED = "PEP is PEP.NEW since 2024-01-02; an order must name PEP.NEW"
VIEW = """from schemas.records import {reads}

class Own:
    name, features, reads = "own", (), ({reads},)

    def decide(self, record, state):
        return state, {body}
"""


def trading(folder: Path, kind: str, body: str) -> str:
    event = DECLARED.get(kind, "")
    file = folder / "own.py"
    data = ("vix",) if kind == "DATA" else ()
    file.write_text(TRADING.format(kind=kind, body=body, events=(event,) if event else (), data=data))
    return f"{file}:Own"


@pytest.mark.parametrize("kind", [*HANDLED, *DECLARED])
def test_a_strategy_that_raises_on_an_event_is_found_with_file_and_line(tmp_path: Path, kind: str) -> None:
    source = trading(tmp_path, kind, "1 / 0")
    report = check_strategy(source, minutes=MINUTES)
    assert [(one.check, one.message, one.file, one.line) for one in report.findings] == [
        ("dry run", "ZeroDivisionError: division by zero", str(tmp_path / "own.py"), 11)
    ]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("CASH_DIVIDEND", "ctx.note(str(event.amount))"),
        ("SPLIT", "ctx.note(f'{event.ratio} {ctx.price(event.symbol):.0f}')"),
        ("TRADING_HALT", "ctx.note(event.reason)"),
        ("QUOTE", "ctx.note(str(ctx.quote(event.symbol).ask - event.bid > 0))"),
        ("NEWS", "ctx.note(f'{event.headline} {event.symbols}')"),
        ("SENTIMENT", "ctx.target_weight(event.symbol, event.score / 10)"),
        ("FILING", "ctx.note(str(event.facts['eps'] + event.ratios['net_margin']))"),
        ("DATA", "ctx.note(f\"{event.symbol} {event.values['close'] + ctx.data('vix').values.get('open')}\")"),
    ],
)
def test_a_sound_strategy_on_an_event_has_no_findings_and_decides(tmp_path: Path, kind: str, body: str) -> None:
    report = check_strategy(trading(tmp_path, kind, body), minutes=MINUTES)
    assert report.findings == [] and report.decisions > 1


@pytest.mark.parametrize(
    ("decision", "ended"),
    [
        ("if kind == 'DELISTING': ctx.target_weight(ended, 0.5)", DELISTED),
        ("ctx.target_weight('KO' if kind == 'DELISTING' else new_symbol or 'PEP', 0.5)", DELISTED),
        ("if new_symbol: ctx.submit(ended, 'BUY', 1)", RENAMED),
        ("ctx.target_weight('KO', 0.5)", RENAMED),
        ("ctx.target_weight(new_symbol or 'KO', 0.5) if kind != 'DELISTING' and ended != 'PEP' else None", None),
        ("ctx.target_weight('PEP', 0.5)", MERGED),
        ("[ctx.submit(symbol, 'BUY', 1) for symbol in ctx.closed()]", None),
        ("[ctx.submit(symbol, 'BUY', 1) for symbol in ctx.universe]", None),
        ("if kind == 'DELISTING': ctx.close(ended)", None),
        ("if new_symbol: ctx.close(ended)", RENAMED),
    ],
)
def test_an_order_for_a_symbol_that_ended_is_found_with_its_line(
    tmp_path: Path, decision: str, ended: str | None
) -> None:
    file = tmp_path / "own.py"
    file.write_text(ORDERS_AFTER.format(decision=decision))
    report = check_strategy(f"{file}:Own", minutes=MINUTES)
    expected = [] if ended is None else [("orders", ended, 12)]
    assert [(one.check, one.message, one.line) for one in report.findings] == expected


@pytest.mark.parametrize(
    ("handlers", "line"),
    [
        ("    def on_slice(self, ctx):\n        ctx.submit('KO', 'BUY', 1)\n", 5),
        ("    @every('1m')\n    def buy(self, ctx):\n        ctx.target_weight('KO', 0.1)\n", 6),
        (
            "    def on_slice(self, ctx):\n        ctx.submit(ctx.closed()[0], 'BUY', 1)\n"
            "    def on_order(self, ctx, update):\n        if ctx.current('KO') == 'KO.NEW':\n"
            "            ctx.close('KO')\n",
            8,
        ),
    ],
)
def test_a_strategy_without_on_event_is_checked_for_symbols_that_end(tmp_path: Path, handlers: str, line: int) -> None:
    file = tmp_path / "own.py"
    head = "from operators.strategies import TradingStrategy, every\nclass Own(TradingStrategy):\n"
    file.write_text(f"{head}    symbols = ('KO', 'PEP')\n{handlers}")
    findings = check_strategy(f"{file}:Own", minutes=MINUTES).findings
    assert [(one.check, one.message, one.line) for one in findings] == [("orders", RENAMED, line)]


def test_a_strategy_without_on_event_is_checked_in_a_halt(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from operators.strategies import TradingStrategy\nclass Own(TradingStrategy):\n    symbols = ('KO',)\n"
        "    def on_slice(self, ctx):\n        ctx.submit(ctx.closed()[0], 'BUY', 1)\n"
        "    def on_order(self, ctx, update):\n        1 / (update.check != 'exchange_halt')\n"
    )
    [finding] = check_strategy(f"{file}:Own", minutes=MINUTES).findings
    assert (finding.check, finding.message, finding.line) == ("dry run", "ZeroDivisionError: division by zero", 7)


def test_a_view_strategy_that_raises_on_the_new_symbol_is_found(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(VIEW.format(reads="FeatureRow", body="1 / (record.symbol != 'AAA.NEW') and None"))
    [finding] = check_strategy(f"{file}:Own", minutes=MINUTES).findings
    assert (finding.check, finding.message, finding.line) == ("dry run", "ZeroDivisionError: division by zero", 7)


def test_an_order_for_the_only_symbol_of_a_strategy_on_its_delisting_is_found(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    source = TRADING.replace(', "PEP"', ",")
    file.write_text(source.format(kind="DELISTING", events=(), data=(), body="ctx.target_quantity(event.symbol, 1)"))
    [finding] = check_strategy(f"{file}:Own", minutes=MINUTES).findings
    assert (finding.message, finding.line) == (DELISTED, 11)


def test_an_exception_is_found_besides_an_order_for_a_symbol_that_ended(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    own = TRADING.format(kind="MARGIN_CALL", events=(), data=(), body="1 / 0")
    file.write_text(f"{own}\n    def on_slice(self, ctx):\n        ctx.target_weight('KO', 0.5)\n")
    findings = check_strategy(f"{file}:Own", minutes=MINUTES).findings
    assert [(one.check, one.line) for one in findings] == [("orders", 14), ("dry run", 11)]


EXAMPLES = sorted(strategy_examples.EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.stem for file in EXAMPLES])
def test_an_example_trades_on_when_a_symbol_ends(file: Path) -> None:
    kinds = [one for one in run_path(str(file)).values() if isinstance(one, type) and one is not TradingStrategy]
    [strategy] = [one() for one in kinds if issubclass(one, TradingStrategy)]
    assert change_findings(strategy, SESSION_MINUTES // 6) == []


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_a_strategy_of_the_platform_trades_on_when_a_symbol_ends(name: str) -> None:
    assert change_findings(STRATEGIES[name](), SESSION_MINUTES // 6) == []


def test_mergers_are_valid_and_reach_a_strategy_as_the_actions_that_they_consist_of() -> None:
    tapes = [
        [one for records in changes.values() for one in records if type(one) is CorporateAction]
        for changes in listing_changes(MINUTES, ["KO"])
    ]
    assert all(is_valid_action(one) for actions in tapes for one in actions)
    kinds = [
        [part.kind for one in actions for part in split_merger(one) if isinstance(part, CorporateAction)]
        for actions in tapes
    ]
    mergers = [["SPLIT", "SYMBOL_CHANGE"], ["MERGER_CASH", "SPLIT", "SYMBOL_CHANGE"]]
    assert kinds[1:] == [*mergers, ["DELISTING"], ["DELISTING"]]


def test_each_circuit_breaker_trips_and_resets_and_a_margin_call_starts_and_ends() -> None:
    class Noting(TradingStrategy):
        symbols = ("KO",)

        def on_event(self, ctx: Any, event: Any) -> None:
            if type(event) is RiskEvent and event.breaker != "exchange_halt":
                ctx.note(f"{event.kind} {event.scope} {event.state}")

    tape = make_tape(Noting(), MINUTES, changes=limit_changes(MINUTES, ["KO"], Noting.name))
    decisions, failures = run_over(Noting(), tape)
    assert failures == []
    notes = [one.arguments["text"] for records in decisions for one in records if type(one) is StrategyAction]
    scopes = {(measure.upper(), scope) for measure, scopes in SCOPES_OF_MEASURE.items() for scope in scopes}
    events = [tuple(note.split()) for note in notes]
    expected = {*scopes, ("MARGIN_CALL", "PORTFOLIO")}
    assert {(kind, scope) for kind, scope, state in events if state == "ACTIVE"} == expected
    assert {(kind, scope) for kind, scope, state in events if state != "ACTIVE"} == expected
    assert len(events) == 2 * len(expected)


class Liquidated(TradingStrategy):
    symbols = ("KO", "PEP")

    def on_slice(self, ctx: Any) -> None:
        for symbol in ctx.closed():
            if not ctx.state_of(symbol):
                ctx.state_of(symbol)["entered"] = True
                ctx.submit(symbol, "BUY", 100 if symbol == "KO" else 50)

    def on_event(self, ctx: Any, event: Any) -> None:
        if event.kind == "MARGIN_CALL":
            ctx.note(f"{event.state} {[ctx.position(symbol) for symbol in ctx.universe]}")

    def on_fill(self, ctx: Any, fill: Any) -> None:
        if fill.side == "SELL":
            ctx.note(f"{fill.symbol} {fill.quantity:g}")


def test_a_margin_call_closes_positions_and_the_strategy_receives_its_trades() -> None:
    """Each of its two minutes closes half of the required margin, of the largest position first."""
    tape = make_tape(Liquidated(), MINUTES, changes=limit_changes(MINUTES, ["KO", "PEP"], Liquidated.name))
    decisions, failures = run_over(Liquidated(), tape)
    assert failures == []
    actions = [one for records in decisions for one in records if type(one) is StrategyAction]
    notes = [one.arguments["text"] for one in actions if one.kind == NOTE]
    assert notes[0].startswith("REDUCING [") and notes[-1].startswith("ACTIVE [")
    sold = [one.split() for one in notes[1:-1]]
    assert len(sold) >= 2 and sold[0][0] == "KO" and 70 <= float(sold[0][1]) <= 80
    assert sum(float(quantity) for _, quantity in sold) > 110


def test_a_strategy_that_expects_its_position_after_a_margin_call_is_found(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from operators.strategies import TradingStrategy\nclass Own(TradingStrategy):\n    symbols = ('KO',)\n"
        "    def on_slice(self, ctx):\n        if not ctx.state:\n            ctx.state['bought'] = 1\n"
        "            ctx.submit(ctx.closed()[0], 'BUY', 10)\n"
        "    def on_fill(self, ctx, fill):\n        1 / (fill.side == 'BUY')\n"
    )
    [finding] = check_strategy(f"{file}:Own", minutes=MINUTES).findings
    assert (finding.check, finding.message, finding.line) == ("dry run", "ZeroDivisionError: division by zero", 9)


@pytest.mark.parametrize("reads", ["Fundamentals", "SentimentScore", "Prediction"])
def test_a_view_strategy_that_raises_on_a_record_that_it_reads_is_found(tmp_path: Path, reads: str) -> None:
    file = tmp_path / "own.py"
    file.write_text(VIEW.format(reads=reads, body="1 / 0"))
    [finding] = check_strategy(f"{file}:Own", minutes=MINUTES).findings
    assert (finding.check, finding.message, finding.line) == ("dry run", "ZeroDivisionError: division by zero", 7)
    file.write_text(VIEW.format(reads=reads, body="None"))
    assert check_strategy(f"{file}:Own", minutes=MINUTES).findings == []


def test_a_strategy_that_handles_no_event_is_checked_on_bars_and_what_it_can_read() -> None:
    class Plain(TradingStrategy):
        symbols = ("KO",)

    class Handling(TradingStrategy):
        symbols = ("KO",)

        def on_event(self, ctx: object, event: object) -> None:
            pass

    plain, handling = make_tape(Plain(), MINUTES), make_tape(Handling(), MINUTES)
    kinds = {type(one).__name__ for records in plain for one in records}
    assert kinds == {"Bar", "Prediction", "Fundamentals", "SentimentScore"}
    split = [any(type(one) is CorporateAction and one.kind == SPLIT for one in records) for records in handling].index(
        True
    )

    def closes(tape: list[list[Record]]) -> list[float]:
        return [one.close for records in tape for one in records if type(one) is Bar]

    ratios = [before / after for before, after in zip(closes(plain), closes(handling), strict=True)]
    assert ratios == pytest.approx([1.0] * split + [2.0] * (MINUTES - split))


def test_an_indicator_of_the_user_that_fails_is_found_with_file_and_line(tmp_path: Path) -> None:
    """Its file is loaded by the settings; here the strategy registers it."""
    file = tmp_path / "own.py"
    file.write_text(
        "from operators.indicators import INDICATORS, Indicator\n"
        "from operators.strategies import TradingStrategy\n"
        "class Broken(Indicator):\n"
        "    kind = 'broken'\n"
        "    def __init__(self, name):\n"
        "        self.name = name\n"
        "    def update(self, bar, values):\n"
        "        values[self.name] = float('nan')\n"
        "    def snapshot(self):\n"
        "        return ()\n"
        "    def restore(self, snapshot):\n"
        "        pass\n"
        "INDICATORS['broken'] = Broken\n"
        "class Own(TradingStrategy):\n"
        "    symbols, features = ('KO',), ('broken',)\n"
    )
    try:
        [finding] = check_strategy(f"{file}:Own", minutes=3).findings
    finally:
        INDICATORS.pop("broken")
    assert (finding.check, finding.file, finding.line) == ("dry run", str(file), 7)
    assert finding.message == (
        "indicator broken is suspended for KO: update wrote nan as broken, expected a finite number"
    )
