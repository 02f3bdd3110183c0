"""`backtest`: run the live stages over bar files or recorded topics, without any service of the platform."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from deploy.bar_file_options import (
    CalendarName,
    DateOrder,
    DecimalMark,
    Interval,
    SessionChoice,
    Symbol,
    TimeIs,
    Timezone,
    Volume,
    feed_values,
)
from deploy.commands.runs import trials_behind
from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.text_outputs import require_output, write_output
from schemas.errors import BadInput

if TYPE_CHECKING:
    from configs.settings import Settings
    from dataflows.replay.recorded_feed import RecordedPeriod
    from dataflows.research.frames import FrameName
    from dataflows.research.result import Result
    from dataflows.research.run_collector import BacktestRun, RunCollector
    from operators.performance import Performance
    from schemas.records import HandlerTimeout

Bars = Annotated[
    list[Path],
    typer.Option(
        help="CSV or Parquet bar files, or folders of them; accepts several. catalog:SPY,AAPL reads the catalogue of "
        "bars, catalog:* all of it. topics: reads the recorded topics of the platform with their archive, "
        "topics:SPY,AAPL only those of these symbols. archive: is the same."
    ),
]
MoreBars = Annotated[list[Path] | None, typer.Argument(hidden=True)]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Settings file. Its values override the default settings.")
]
JsonTarget = Annotated[
    str | None, typer.Option("--json", help="Write the results as JSON to this file; - for standard output.")
]
ReportFile = Annotated[
    Path | None,
    typer.Option("--report", help="Write an HTML report with charts, trades, costs and hashes to this file."),
]
_FILES_HELP = "CSV, JSON lines or Parquet files of {}, or folders of them. Can be repeated."
News = Annotated[list[Path] | None, typer.Option("--news", help=_FILES_HELP.format("headlines"))]
FundamentalsFiles = Annotated[
    list[Path] | None, typer.Option("--fundamentals", help=_FILES_HELP.format("company filings"))
]
ReferenceFiles = Annotated[
    list[Path] | None, typer.Option("--reference-data", help=_FILES_HELP.format("corporate actions and exchange rates"))
]
Data = Annotated[
    list[Path] | None, typer.Option("--data", help=_FILES_HELP.format("your own data, with a column available_at"))
]
Quotes = Annotated[list[Path] | None, typer.Option("--quotes", help=_FILES_HELP.format("quotes (bid and ask)"))]
MarketTrades = Annotated[
    list[Path] | None, typer.Option("--market-trades", help=_FILES_HELP.format("trades (price and size)"))
]
Orders = Annotated[
    Path | None,
    typer.Option(help="CSV file of orders to submit, amend and cancel at given times. They pass the risk checks."),
]
StrategyOption = Annotated[
    str | None, typer.Option(help="Strategy to run instead of those of the settings: its name, or FILE.py:Class.")
]
Start = Annotated[str | None, typer.Option(help="Read the bars that open at or after this ISO date or time.")]
End = Annotated[str | None, typer.Option(help="Read the bars that open before this ISO date or time.")]
Commands = Annotated[bool, typer.Option("--commands", help="With --bars topics:, also apply the recorded commands.")]
InSample = Annotated[
    bool, typer.Option("--allow-in-sample", help="Allow a model to forecast the bars that it was trained on.")
]
BenchmarkSymbol = Annotated[
    str | None, typer.Option("--benchmark", help="Symbol to compare with. Adds alpha, beta and the information ratio.")
]
_OUTPUT_HELP = "Write {} to this CSV or Parquet file."
Executions = Annotated[Path | None, typer.Option(help=_OUTPUT_HELP.format("every report on an order"))]
Trades = Annotated[Path | None, typer.Option(help=_OUTPUT_HELP.format("one row per closed lot"))]
OrdersOut = Annotated[Path | None, typer.Option(help=_OUTPUT_HELP.format("one row per order with its status"))]
Equity = Annotated[Path | None, typer.Option(help=_OUTPUT_HELP.format("the equity after each time slice"))]
Name = Annotated[str | None, typer.Option(help="Save the run under this name.")]
Save = Annotated[bool, typer.Option("--save", help="Save the run, so that `runs` can show and compare it.")]
Workers = Annotated[
    int, typer.Option(min=1, help="Number of worker threads. One is fastest; the result does not depend on it.")
]
Batch = Annotated[int, typer.Option(min=1, help="Time slices per batch. The result does not depend on it.")]


def register(app: typer.Typer) -> None:
    app.command("backtest", help="Run strategies or orders over bar files or recorded topics.")(backtest)


def backtest(
    bars: Bars,
    more_bars: MoreBars = None,
    news: News = None,
    fundamentals: FundamentalsFiles = None,
    data: Data = None,
    reference_data: ReferenceFiles = None,
    quotes: Quotes = None,
    market_trades: MarketTrades = None,
    settings: SettingsFile = None,
    orders: Orders = None,
    strategy: StrategyOption = None,
    start: Start = None,
    end: End = None,
    calendar: CalendarName = None,
    session: SessionChoice = None,
    timezone: Timezone = None,
    interval: Interval = None,
    symbol: Symbol = None,
    date_order: DateOrder = None,
    decimal: DecimalMark = None,
    volume: Volume = None,
    time_is: TimeIs = None,
    executions: Executions = None,
    trades: Trades = None,
    orders_out: OrdersOut = None,
    equity: Equity = None,
    benchmark: BenchmarkSymbol = None,
    commands: Commands = False,
    allow_in_sample: InSample = False,
    json_target: JsonTarget = None,
    report: ReportFile = None,
    name: Name = None,
    save: Save = False,
    workers: Workers = 1,
    batch: Batch = 256,
) -> None:
    from dataflows.backtest import recorded_period
    from dataflows.research.bar_sources import recorded_symbols
    from dataflows.research.frames import RUN_FRAME_NAMES, TRADES
    from dataflows.research.run_collector import RunCollector

    # The shell expands `--bars *.csv` into several words. The option takes the first, `more_bars` the others.
    paths = [*bars, *(more_bars or [])]
    symbols = recorded_symbols(paths)
    outputs = {"executions": executions, "trades": trades, "orders": orders_out, "equity": equity}
    results = ResultFiles({name: path for name, path in outputs.items() if path is not None}, json_target, report)
    results.check()
    save = save or name is not None
    _check_name(name)
    feed_options = {"start": start, "end": end, "calendar": calendar, "session": session, "timezone": timezone}
    feed_options |= {"symbol": symbol, "date_order": date_order, "decimal": decimal}
    feed_options |= {"volume": volume, "time_is": time_is}
    input_files = {"quotes": quotes, "trades": market_trades, "reference_data": reference_data, "data": data}
    input_files |= {"news": news, "fundamentals": fundamentals}
    if symbols is not None and any(input_files.values()):
        raise BadInput("--bars topics: reads quotes, news and other records from the topics; pass no files of them")
    with _base_settings(settings, from_topics=symbols is not None) as base:
        run_settings = base.with_files({kind: files or () for kind, files in input_files.items()})
        run_settings = run_settings.with_file_feed(feed_values(feed_options, interval))
        run_settings = _with_strategies(run_settings, strategy, settings, has_orders=orders is not None)
        if allow_in_sample:
            run_settings = run_settings.allowing_in_sample()
        source = paths if symbols is None else recorded_period(run_settings, symbols or None, with_commands=commands)
        requested = results.table_names()
        # Excursions need all bars in memory, so that only a requested table of trades has them.
        tables = {*RUN_FRAME_NAMES} if save else requested
        collector = RunCollector(tables, benchmark, run_settings, excursions=TRADES in requested)
        run = _run(run_settings, source, collector, orders=orders, workers=workers, batch_slices=batch)
    results.write(run)
    if save or report is not None:
        result = _result_of(run, run_settings, paths, orders, from_topics=symbols is not None)
        if report is not None:
            result.report(report, trials=trials_behind(result))
            if json_target != "-":
                print(f"report: {report}")
        if save:
            _save(result, name)
    _fail_if_suspended(run.performance)
    if run.summary.get("doubtful_data"):
        raise typer.Exit(1)


class ResultFiles(NamedTuple):
    """Where the results go: tables by name, JSON (`-` for standard output) and the HTML report."""

    tables: Mapping["FrameName", Path]
    json_target: str | None
    report: Path | None

    def check(self) -> None:
        """Raises BadInput if a table has no known suffix, or if the folder of a file does not exist."""
        from dataflows.research.frame_files import check_output

        require_output("--json", self.json_target)
        require_output("--report", self.report)
        for name, path in self.tables.items():
            check_output("--orders-out" if name == "orders" else f"--{name}", path)

    def table_names(self) -> set["FrameName"]:
        """The tables that the run has to collect. The report uses all of them."""
        from dataflows.research.frames import RUN_FRAME_NAMES

        return {*self.tables, *(RUN_FRAME_NAMES if self.report is not None else ())}

    def write(self, result: "BacktestRun") -> None:
        """Write tables and JSON, and print the summary, except if standard output is for the JSON."""
        from dataflows.research.frame_files import write_frame
        from dataflows.research.report import json_text

        for name, path in self.tables.items():
            write_frame(result.frames.frame(name), path)
        if self.json_target is not None:
            write_output("--json", self.json_target, json_text(result.summary))
        if self.json_target != "-":
            _print(result.summary)


def _run(
    settings: "Settings",
    source: "list[Path] | RecordedPeriod",
    collector: "RunCollector",
    *,
    orders: Path | None,
    workers: int,
    batch_slices: int,
) -> "BacktestRun":
    """Run the backtest with a progress bar. Raises BadInput or DeployError."""
    from dataflows.backtest import run
    from schemas.errors import Unavailable

    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=Console(stderr=True)
    )
    with progress if progress.console.is_terminal else nullcontext():
        try:
            performance, summary = run(
                settings,
                source,
                workers=workers,
                batch_slices=batch_slices,
                progress=_progress_callback(progress),
                orders=orders,
                make_observers=collector.make_observers,
                on_stuck=_end_stuck_run,
                explains=False,
            )
        except Unavailable as error:
            raise DeployError(str(error)) from error
    return collector.result(performance, summary)


def _check_name(name: str | None) -> None:
    """Raises BadInput, before the run, for a name that it cannot have."""
    if name is None:
        return
    from dataflows.research.run_store import RunStore, runs_folder

    RunStore(runs_folder()).require_new_name(name)


def _result_of(
    run: "BacktestRun", settings: "Settings", paths: list[Path], orders: Path | None, *, from_topics: bool
) -> "Result":
    """Return the result of the run with its tables, settings and hashes."""
    from dataflows.research.run_sources import sources_of, strategy_labels, topic_sources
    from dataflows.research.strategy_backtest import result_of

    bars = paths or list(settings.market_data.files.paths)
    sources = topic_sources(settings, str(paths[0])) if from_topics else sources_of(settings, bars, orders)
    return result_of(run, settings, strategy_labels(settings), sources)


def _save(result: "Result", name: str | None) -> None:
    """Save the run. Raises DeployError for a named run that cannot be saved; without a name, that is a warning."""
    from dataflows.research.stored_results import save_result
    from schemas.errors import Unavailable

    try:
        saved = save_result(result, name)
    except Unavailable as error:
        if name is not None:
            raise DeployError(str(error)) from error
        print(f"warning: the run is not saved: {error}", file=sys.stderr)
        return
    print(f"saved as {saved.name}", file=sys.stderr)


@contextmanager
def _base_settings(file: Path | None, *, from_topics: bool) -> Iterator["Settings"]:
    """Yield the settings of the file. For topics, use the platform's Kafka, and without a file its last settings."""
    from configs.settings import load_settings
    from deploy.recovery.recorded_topics import recorded_settings

    if not from_topics:
        yield load_settings(file)
        return
    with recorded_settings(home_from_environment(), lambda _: None) as platform:
        yield platform if file is None else load_settings(file).model_copy(update={"kafka": platform.kafka})


def _with_strategies(settings: "Settings", strategy: str | None, file: Path | None, *, has_orders: bool) -> "Settings":
    """Return the settings with the strategies that run. With orders, the default strategy does not run."""
    from configs.settings import is_overridden

    if strategy is not None:
        return settings.with_strategies([strategy])
    if has_orders and not is_overridden(("signals", "strategies"), file):
        return settings.with_strategies([])
    return settings


def _fail_if_suspended(performance: "Performance") -> None:
    """Raises DeployError if a strategy was suspended: the results then contain only its views until then."""
    from deploy.commands.strategies import describe

    if performance.suspensions:
        names = ", ".join(dict.fromkeys(suspension.strategy for suspension in performance.suspensions))
        first = describe(performance.suspensions[0])
        raise DeployError(f"suspended because of an exception or a time limit: {names}. First: {first}")


def _end_stuck_run(timeout: "HandlerTimeout") -> None:
    """End this process, because a call of the user's code does not return and cannot be interrupted."""
    print(f"error: {describe_stuck_run(timeout)}", file=sys.stderr, flush=True)
    os._exit(1)


def describe_stuck_run(timeout: "HandlerTimeout") -> str:
    """Return the error for a call that does not return. `timeout.strategy` may be the name of an indicator file."""
    from operators.handler_limit import describe_timeout

    subject = "indicator file" if timeout.strategy.endswith(".py") else "strategy"
    cause = "It cannot be interrupted, because it waits or catches every exception"
    position = f"{timeout.file}:{timeout.line}"
    return f"{subject} {timeout.strategy}: {describe_timeout(timeout)} ({position}). {cause}, so there are no results."


def _progress_callback(progress: Progress) -> Any:
    task = progress.add_task("reading bars", total=1.0)

    def update(performance: "Performance", share: float) -> None:
        counts = performance.counts
        description = f"{counts['bars']:,} bars, {counts['orders']:,} orders, {counts['fills']:,} fills"
        progress.update(task, completed=share, description=description)

    return update


def _print(summary: dict[str, Any]) -> None:
    from dataflows.research.report import figure_label

    table = Table(show_header=False, box=None)
    for name, value in summary.items():
        if name in ("warnings", "doubtful_data"):
            continue
        table.add_row(figure_label(name), _format(value))
    Console(width=120).print(table)
    for warning in summary.get("warnings", ()):
        print(f"warning: {warning}", file=sys.stderr)
    if "liquidation" in summary:
        text = "The broker closed all positions, and the backtest ended there."
        print(f"account liquidated: {summary['liquidation']}. {text}", file=sys.stderr)


def _format(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.9g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
