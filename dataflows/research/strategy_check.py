"""Check a strategy before it trades: its declarations, its source, and a dry run on simulated bars."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from configs.declared_trade_bars import trade_bars_of
from configs.settings import Settings
from configs.strategies import load_strategies
from configs.universe_files import universe_members
from dataflows.research.strategy_changes import change_findings
from dataflows.research.strategy_dry_run import (
    SESSION_MINUTES,
    DryRun,
    line_of_action,
    make_tape,
    run_over,
    symbols_of,
)
from dataflows.research.strategy_source import Finding, at_class, at_declaration, purity_findings
from dataflows.research.strategy_warm_up import WarmUp, measure_warm_up
from dataflows.runtime.handler_watchdog import HandlerWatchdog, TimeLimits
from operators.handler_limit import describe_timeout
from operators.strategies import STRATEGIES, Strategy, TradingStrategy
from operators.strategies.trading_strategy import schedules_of
from operators.trading.settings import TradingSettings
from schemas.errors import BadInput
from schemas.records import (
    SUBMIT_ORDER,
    TARGET_QUANTITY,
    TARGET_WEIGHT,
    Bar,
    HandlerTimeout,
    Record,
    StrategyAction,
    Trade,
)

MINUTES = 2 * SESSION_MINUTES
"""Length of the dry run: two sessions."""
ORDER_SHARE_MAX = 100
"""An order or target of more than this multiple of the capital is a mistake."""
HANDLER_LIMITS = TimeLimits(processor_s=5.0, waiting_s=15.0)
"""Time limits of a handler in the dry run."""
_CAPITAL = 100_000
_DECLARATIONS = ("symbols", "features", "history", "events", "data", "warm_up", "name", "universe")


class StrategySummary(NamedTuple):
    """A strategy in a list. `source` is its name in the settings; `runs` is whether the settings name it."""

    name: str
    source: str
    form: str  # view or trading
    runs: bool
    summary: str  # first line of its docstring


class StrategyReport(NamedTuple):
    """What a check has found. `slice_ms` is the processor time of a time slice, `decisions` are signals or actions.

    `bars_needed` is the number of bars after which two start dates agree; None if the dry run does not show it.
    `notes` are what to know besides the findings.
    """

    name: str
    form: str
    declarations: dict[str, str]
    slices: int
    decisions: int
    slice_ms: float
    bars_needed: int | None
    findings: list[Finding]
    notes: list[str]


def platform_summaries() -> list[StrategySummary]:
    """Return the strategies that come with the platform, by name."""
    return [
        StrategySummary(name=name, source=name, form=_form(kind), runs=False, summary=_summary(kind))
        for name, kind in STRATEGIES.items()
    ]


def configured_summaries(settings: Settings) -> list[StrategySummary]:
    """Return the strategies that the settings run, in their order. Raises BadInput if one cannot be loaded."""
    entries = settings.signals.strategies
    loaded = load_strategies([{"name": entry.name, "parameters": entry.parameters} for entry in entries])
    return [
        StrategySummary(name=one.name, source=entry.name, form=_form(type(one)), runs=True, summary=_summary(type(one)))
        for entry, one in zip(entries, loaded, strict=True)
    ]


def _form(kind: type) -> str:
    return "trading" if issubclass(kind, TradingStrategy) else "view"


def _summary(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def check_strategy(
    name: str,
    parameters: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    *,
    minutes: int = MINUTES,
    on_stuck: Callable[[StrategyReport], None] = lambda report: None,
    limits: TimeLimits = HANDLER_LIMITS,
) -> StrategyReport:
    """Check the strategy `path/to/file.py:ClassName`, or one of the platform. Loading a file runs it.

    `minutes` is the length of the dry run in bars. A handler that exceeds `limits` is a finding. If it cannot be
    interrupted, the check does not end; `on_stuck` then receives the report so far, in another thread. Raises BadInput
    for a strategy that cannot be loaded.
    """
    (strategy,) = load_strategies([{"name": name, "parameters": dict(parameters or {})}], folder)
    findings = purity_findings(strategy)
    report = StrategyReport(
        name=strategy.name,
        form=f"{_form(type(strategy))} strategy",
        declarations={},
        slices=0,
        decisions=0,
        slice_ms=0.0,
        bars_needed=None,
        findings=findings,
        notes=[],
    )
    try:
        if isinstance(strategy, TradingStrategy):
            universe_members([strategy])
        tape = make_tape(strategy, minutes)
        DryRun(strategy, symbols_of(tape))
    except BadInput as error:
        findings.append(_declaration_finding(strategy, str(error)))
        return report
    return _dry_run_report(strategy, tape, report, minutes=minutes, on_stuck=on_stuck, limits=limits)


def _dry_run_report(
    strategy: Strategy | TradingStrategy,
    tape: Sequence[Sequence[Record]],
    report: StrategyReport,
    *,
    minutes: int,
    on_stuck: Callable[[StrategyReport], None],
    limits: TimeLimits,
) -> StrategyReport:
    """Run a strategy over simulated bars. Return the report with the figures; add the findings to its own."""
    findings = report.findings

    def end_stuck_run(timeout: HandlerTimeout) -> None:
        text = f"{describe_timeout(timeout)}, and cannot be interrupted"
        finding = Finding("dry run", text, timeout.file, timeout.line)
        on_stuck(report._replace(findings=[*findings, finding]))

    limit = HandlerWatchdog(limits, on_stuck=end_stuck_run)
    started = time.process_time()
    expected, failures = run_over(strategy, tape, limit)
    slice_ms = (time.process_time() - started) * 1000 / len(tape)
    findings += failures
    warm_up = WarmUp(None, 0)
    if not failures:
        findings += _order_findings(strategy, tape, expected)
        findings += _snapshot_findings(strategy, tape, expected)
        findings += _look_ahead_findings(strategy, tape, expected)
        findings += change_findings(strategy, minutes, limit)
        if len(tape) > SESSION_MINUTES:
            market = [[one for one in records if type(one) in (Bar, Trade)] for records in tape]
            warm_up = measure_warm_up(strategy, market, SESSION_MINUTES)
            findings += _warm_up_findings(strategy, warm_up)
    return report._replace(
        declarations=declarations_of(strategy),
        slices=len(tape),
        decisions=sum(len(records) for records in expected),
        slice_ms=slice_ms,
        bars_needed=warm_up.needed,
        notes=_notes(strategy),
    )


def declarations_of(strategy: Strategy | TradingStrategy) -> dict[str, str]:
    """Return what a strategy declares, as text."""
    if not isinstance(strategy, TradingStrategy):
        return {"features": ", ".join(strategy.features) or "none"}
    features: Any = strategy.features
    return {
        "symbols": "the universe of the settings" if strategy.symbols is None else ", ".join(strategy.symbols),
        "universe": "all symbols" if strategy.universe is None else strategy.universe.describe(),
        "features": str(dict(features) if isinstance(features, Mapping) else tuple(features)),
        "history": str(dict(strategy.history)),
        "events": ", ".join(strategy.events) or "none",
        "warm_up": f"{strategy.warm_up} bars",
        "schedules": ", ".join(f"{handler} {schedule.kind}" for handler, schedule in schedules_of(strategy)) or "none",
    }


def _notes(strategy: Strategy | TradingStrategy) -> list[str]:
    """Return on which feeds the strategy starts without a history."""
    bar_interval = TradingSettings.bar_interval
    declared = [*trade_bars_of(strategy, bar_interval)] if isinstance(strategy, TradingStrategy) else []
    if not declared:
        return []
    names = ", ".join(one.interval for one in declared)
    return [
        f"bars of {names} warm up from recorded trades in files and topics; a live feed and the simulator have none, "
        "so that they warm up with the first trades there"
    ]


def _declaration_finding(strategy: Strategy | TradingStrategy, error: str) -> Finding:
    """Return the finding at the declaration that an error is about."""
    message = error.removeprefix(f"strategy {strategy.name}: ")
    named = next((name for name in _DECLARATIONS if re.search(rf"\b{name}\b", message)), None)
    if named is None:  # an indicator or an interval
        history = getattr(strategy, "history", {})
        named = "history" if any(repr(interval) in message for interval in history) else "features"
    return at_declaration("declarations", message, type(strategy), named)


def _order_findings(
    strategy: Strategy | TradingStrategy, tape: Sequence[Sequence[Record]], expected: Sequence[Sequence[Record]]
) -> list[Finding]:
    """Find the first order or target whose value is a large multiple of the capital."""
    prices: dict[str, float] = {}
    for records, decisions in zip(tape, expected, strict=True):
        prices.update({record.symbol: record.close for record in records if type(record) is Bar})
        for one in decisions:
            if type(one) is not StrategyAction:
                continue
            share = _share_of_capital(one, prices)
            if share > ORDER_SHARE_MAX:
                assert isinstance(strategy, TradingStrategy), "view strategies have no actions"
                kind = type(strategy)
                file = inspect.getsourcefile(kind) or ""
                amount = one.arguments.get("quantity") or one.arguments["weight"]
                text = f"{one.kind} of {amount} {one.symbol} is {share:,.0f} times the capital; check the amount"
                return [Finding("orders", text, file, line_of_action(strategy, tape, one.action_id, file))]
    return []


def _share_of_capital(action: StrategyAction, prices: Mapping[str, float]) -> float:
    if action.kind == TARGET_WEIGHT:
        return abs(float(action.arguments["weight"]))
    if action.kind not in (SUBMIT_ORDER, TARGET_QUANTITY) or action.symbol not in prices:
        return 0.0
    return abs(float(action.arguments["quantity"])) * prices[action.symbol] / _CAPITAL


def _warm_up_findings(strategy: Strategy | TradingStrategy, measured: WarmUp) -> list[Finding]:
    """Compare the declared warm-up with the number of bars after which two start dates agree."""
    declared = strategy.warm_up if isinstance(strategy, TradingStrategy) else 0
    if not declared or (measured.needed or measured.available) <= declared:
        return []
    if measured.needed is None:
        expected = f"two start dates do not agree within {measured.available} bars; use more --minutes"
    else:
        expected = f"two start dates agree from bar {measured.needed} on"
    return [at_declaration("warm-up", f"warm_up is {declared} bars, but {expected}", type(strategy), "warm_up")]


def _snapshot_findings(
    strategy: Strategy | TradingStrategy, tape: Sequence[Sequence[Record]], expected: Sequence[Sequence[Record]]
) -> list[Finding]:
    """Restore the strategy in every time slice, and compare its decisions with those of the run without restores."""
    snapshot: Any = None
    for number, records in enumerate(tape):
        dry_run = DryRun(strategy, symbols_of(tape))
        if snapshot is not None:
            dry_run.restore(snapshot)
        if dry_run.on_slice(records) != expected[number]:
            text = f"decides differently after a restore in minute {number + 1}: it has memory outside its state"
            return [at_class("snapshots", text, type(strategy))]
        snapshot = dry_run.snapshot()
    return []


def _look_ahead_findings(
    strategy: Strategy | TradingStrategy, tape: Sequence[Sequence[Record]], expected: Sequence[Sequence[Record]]
) -> list[Finding]:
    """Change the prices from the middle on, and end the tape there. Earlier decisions must not change."""
    middle = len(tape) // 2
    changed = make_tape(strategy, len(tape), other_from=middle)
    for text, other in (("later prices change", changed), ("the tape ends", tape[:middle])):
        decisions, _ = run_over(strategy, other)
        if decisions[:middle] != list(expected[:middle]):
            return [at_class("look-ahead", f"decides differently if {text} after minute {middle}", type(strategy))]
    return []
