"""Check a strategy before it trades: its declarations, its purity, and a dry run on simulated bars."""

from __future__ import annotations

import ast
import inspect
import random
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from configs.settings import Settings
from configs.strategies import load_strategies
from operators.features import FeatureStage
from operators.portfolio import PortfolioSettings, PortfolioStage
from operators.risk import RiskSettings, RiskStage
from operators.signals.stage import SignalStage
from operators.strategies import STRATEGIES, Strategy, TradingStrategy
from operators.strategies.trading_strategy import schedules_of
from operators.trading.declarations import row_features
from operators.trading.intervals import DAY_NS, MINUTE_NS
from operators.trading.sessions import SessionTimes
from operators.trading.settings import TradingSettings
from operators.trading.stage import TradingStrategyStage
from operators.trading_loop import TradingLoop
from operators.venue import VenueSettings, VenueStage
from schemas.records import REGULAR, SUSPENDED, Bar, Record, Signal, StrategyAction, StrategySuspension

SESSION_MINUTES = 390
MINUTES = 2 * SESSION_MINUTES
"""Length of the dry run: two sessions."""
SAMPLE_SYMBOLS = ("AAA", "BBB", "CCC")
_FIRST_OPEN_NS = 1_704_205_800 * 1_000_000_000  # 2 January 2024, 9:30 in New York
_FIRST_DAY = 20240102
_SESSIONS_MAX = 28  # in the month of the first day
_NEW_YORK_OFFSET_S = -5 * 3600
_IMPURE_MODULES = frozenset({"asyncio", "http", "httpx", "io", "multiprocessing", "os", "pathlib", "random"})
_IMPURE_MODULES |= {"requests", "secrets", "shutil", "socket", "sqlite3", "subprocess", "tempfile", "threading"}
_IMPURE_MODULES |= {"time", "urllib"}
_IMPURE_CALLS = frozenset({"open", "input", "print", "exec", "eval"})
_CLOCK_CALLS = frozenset({"now", "utcnow", "today"})


class Finding(NamedTuple):
    """Something that makes a strategy unfit to trade. `check` is purity, dry run, snapshots or look-ahead."""

    check: str
    message: str
    file: str
    line: int


class StrategySummary(NamedTuple):
    """A strategy in a list. `source` is its name in the settings; `runs` is whether the settings name it."""

    name: str
    source: str
    form: str  # view or trading
    runs: bool
    summary: str  # first line of its docstring


class StrategyReport(NamedTuple):
    """What a check has found. `slice_ms` is the processor time of a time slice, `decisions` are signals or actions."""

    name: str
    form: str
    declarations: dict[str, str]
    slices: int
    decisions: int
    slice_ms: float
    findings: list[Finding]


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
    name: str, parameters: Mapping[str, Any] | None = None, folder: Path | None = None, *, minutes: int = MINUTES
) -> StrategyReport:
    """Check the strategy `path/to/file.py:ClassName`, or one of the platform. Loading a file runs it.

    `minutes` is the length of the dry run in bars. Raises BadInput for a strategy that cannot be loaded or declares
    something invalid.
    """
    (strategy,) = load_strategies([{"name": name, "parameters": dict(parameters or {})}], folder)
    tape = make_tape(strategy, minutes)
    findings = purity_findings(strategy)
    started = time.process_time()
    expected, failures = _run(strategy, tape)
    slice_ms = (time.process_time() - started) * 1000 / len(tape)
    findings += failures
    if not failures:
        findings += _snapshot_findings(strategy, tape, expected)
        findings += _look_ahead_findings(strategy, tape, expected)
    return StrategyReport(
        name=strategy.name,
        form=f"{_form(type(strategy))} strategy",
        declarations=declarations_of(strategy),
        slices=len(tape),
        decisions=sum(len(records) for records in expected),
        slice_ms=slice_ms,
        findings=findings,
    )


def declarations_of(strategy: Strategy | TradingStrategy) -> dict[str, str]:
    """Return what a strategy declares, as text."""
    if not isinstance(strategy, TradingStrategy):
        return {"features": ", ".join(strategy.features) or "none"}
    features: Any = strategy.features
    return {
        "symbols": "the universe of the settings" if strategy.symbols is None else ", ".join(strategy.symbols),
        "features": str(dict(features) if isinstance(features, Mapping) else tuple(features)),
        "history": str(dict(strategy.history)),
        "warm_up": f"{strategy.warm_up} bars",
        "schedules": ", ".join(f"{handler} {schedule.kind}" for handler, schedule in schedules_of(strategy)) or "none",
    }


# -- purity


def purity_findings(strategy: object) -> list[Finding]:
    """Return the places in the strategy's file that read a clock, randomness or files, or change `self`."""
    file = inspect.getsourcefile(type(strategy)) or ""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    found: list[Finding] = []
    for node in ast.walk(tree):
        found += [Finding("purity", text, file, getattr(node, "lineno", 0)) for text in _impurities(node)]
    for one in ast.walk(tree):
        if isinstance(one, ast.ClassDef) and one.name == type(strategy).__name__:
            found += _changes_of_self(one, file)
    return sorted(found, key=lambda finding: finding.line)


def _impurities(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        return [f"imports {name}" for name in names if name.partition(".")[0] in _IMPURE_MODULES]
    if isinstance(node, ast.Global):
        return [f"changes the global variable {name}" for name in node.names]
    if isinstance(node, ast.Call):
        called = node.func
        if isinstance(called, ast.Name) and called.id in _IMPURE_CALLS:
            return [f"calls {called.id}()"]
        if isinstance(called, ast.Attribute) and called.attr in _CLOCK_CALLS:
            return [f"reads a clock: {ast.unparse(called)}()"]
    if isinstance(node, ast.Attribute) and node.attr == "random" and isinstance(node.value, ast.Name):
        return [f"uses randomness: {ast.unparse(node)}"]
    return []


def _changes_of_self(class_definition: ast.ClassDef, file: str) -> list[Finding]:
    found: list[Finding] = []
    for method in class_definition.body:
        if not isinstance(method, ast.FunctionDef) or method.name == "__init__":
            continue
        for node in ast.walk(method):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found += [
                Finding("purity", f"{method.name} changes {ast.unparse(target)}; use the state", file, target.lineno)
                for target in targets
                if isinstance(target, ast.Attribute)
                and isinstance(target.value, ast.Name)
                and target.value.id == "self"
            ]
    return found


# -- dry run


def make_tape(
    strategy: Strategy | TradingStrategy, minutes: int, seed: int = 1, *, other_from: int | None = None
) -> list[list[Record]]:
    """Return minute bars of consecutive sessions: a random walk for each symbol.

    From the time slice `other_from` on, the prices follow another path.
    """
    symbols = (strategy.symbols if isinstance(strategy, TradingStrategy) else None) or SAMPLE_SYMBOLS
    generator = random.Random(seed)  # noqa: S311  (simulated prices)
    prices = dict.fromkeys(symbols, 100.0)
    tape: list[list[Record]] = []
    for number in range(minutes):
        if number == other_from:
            generator = random.Random(seed + 1)  # noqa: S311  (simulated prices)
        session, minute = divmod(number, SESSION_MINUTES)
        open_ns = _FIRST_OPEN_NS + session * DAY_NS + minute * MINUTE_NS
        bars: list[Record] = []
        for symbol in symbols:
            start, close = prices[symbol], prices[symbol] * (1 + generator.gauss(0, 0.002))
            prices[symbol] = close
            bars.append(
                Bar(
                    symbol=symbol,
                    seq=number + 1,
                    ts_ns=open_ns + MINUTE_NS,
                    open_ns=open_ns,
                    open=start,
                    high=max(start, close) * 1.0005,
                    low=min(start, close) * 0.9995,
                    close=close,
                    volume=float(generator.randint(1_000, 100_000)),
                    session=REGULAR,
                    trading_day=_FIRST_DAY + session,
                    traded=True,
                )
            )
        tape.append(bars)
    return tape


class _DryRun:
    """A fresh strategy with the stages around it. `on_slice` returns its signals or actions."""

    def __init__(self, strategy: Strategy | TradingStrategy, symbols: Sequence[str]) -> None:
        fresh = deepcopy(strategy)
        specs = row_features(fresh) if isinstance(fresh, TradingStrategy) else fresh.features
        self._features = FeatureStage(specs)
        self._stage: Any = _trading_loop(fresh, symbols) if isinstance(fresh, TradingStrategy) else SignalStage([fresh])

    def on_slice(self, records: Sequence[Record]) -> list[Record]:
        ts_ns = max(record.ts_ns for record in records if type(record) is Bar)
        rows = self._features.on_slice(ts_ns, records)
        out: list[Record] = self._stage.on_slice(ts_ns, [*records, *rows])
        return [one for one in out if type(one) in (Signal, StrategyAction, StrategySuspension)]

    def snapshot(self) -> Any:
        return self._features.snapshot(), self._stage.snapshot()

    def restore(self, snapshot: Any) -> None:
        features, stage = snapshot
        self._features.restore(features)
        self._stage.restore(stage)


def _trading_loop(strategy: TradingStrategy, symbols: Sequence[str]) -> TradingLoop:
    """Return the strategy with a venue, a portfolio, and risk without limits."""
    days = {
        _FIRST_DAY + number: SessionTimes(
            _FIRST_DAY + number,
            _FIRST_OPEN_NS + number * DAY_NS,
            _FIRST_OPEN_NS + number * DAY_NS + SESSION_MINUTES * MINUTE_NS,
            _NEW_YORK_OFFSET_S,
        )
        for number in range(_SESSIONS_MAX)
    }
    calendars = {"XNYS", *(schedule.calendar for _, schedule in schedules_of(strategy) if schedule.calendar)}
    settings = TradingSettings(universe=tuple(symbols), sessions=dict.fromkeys(calendars, days))
    portfolio = PortfolioSettings(
        allow_short=True, max_position_percentage=Decimal(1), trading_strategies=(strategy.name,)
    )
    stage = TradingStrategyStage([strategy], settings)
    return TradingLoop(
        VenueStage(VenueSettings()), PortfolioStage(portfolio), RiskStage(RiskSettings.unlimited()), stage
    )


def _run(
    strategy: Strategy | TradingStrategy, tape: Sequence[Sequence[Record]]
) -> tuple[list[list[Record]], list[Finding]]:
    """Return the decisions of each time slice, and how the strategy failed, if it did."""
    dry_run, out = _DryRun(strategy, _symbols(tape)), list[list[Record]]()
    for records in tape:
        decisions = dry_run.on_slice(records)
        out.append(decisions)
        for one in decisions:
            if type(one) is StrategyAction and one.kind == SUSPENDED:
                text = f"{one.arguments['error_type']}: {one.arguments['message']}"
                return out, [Finding("dry run", text, one.arguments["file"], int(one.arguments["line"]))]
            if type(one) is StrategySuspension:
                return out, [Finding("dry run", f"{one.error_type}: {one.message}", one.file, one.line)]
    return out, []


def _symbols(tape: Sequence[Sequence[Record]]) -> list[str]:
    return [record.symbol for record in tape[0] if type(record) is Bar]


def _snapshot_findings(
    strategy: Strategy | TradingStrategy, tape: Sequence[Sequence[Record]], expected: Sequence[Sequence[Record]]
) -> list[Finding]:
    """Restore the strategy in every time slice, and compare its decisions with those of the run without restores."""
    snapshot: Any = None
    for number, records in enumerate(tape):
        dry_run = _DryRun(strategy, _symbols(tape))
        if snapshot is not None:
            dry_run.restore(snapshot)
        if dry_run.on_slice(records) != expected[number]:
            text = f"decides otherwise after a restore in minute {number + 1}: it has memory outside its state"
            return [_at_class("snapshots", text, strategy)]
        snapshot = dry_run.snapshot()
    return []


def _look_ahead_findings(
    strategy: Strategy | TradingStrategy, tape: Sequence[Sequence[Record]], expected: Sequence[Sequence[Record]]
) -> list[Finding]:
    """Change the prices from the middle on, and end the tape there: earlier decisions must stay as they are."""
    middle = len(tape) // 2
    changed = make_tape(strategy, len(tape), other_from=middle)
    for text, other in (("the future changes", changed), ("the tape ends", tape[:middle])):
        decisions, _ = _run(strategy, other)
        if decisions[:middle] != list(expected[:middle]):
            return [_at_class("look-ahead", f"decides otherwise if {text} after minute {middle}", strategy)]
    return []


def _at_class(check: str, message: str, strategy: object) -> Finding:
    kind = type(strategy)
    return Finding(check, message, inspect.getsourcefile(kind) or "", inspect.getsourcelines(kind)[1])
