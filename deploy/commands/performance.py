"""`performance`: analyze, benchmark, profile and tune the platform."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from configs.recorded_endpoints import ADMIN
from dataflows.runtime.topology import Layout
from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.name_arguments import require_choice
from deploy.supervisor.state import PlatformState, running_state
from deploy.testing.temporary_platform import SYMBOL_COUNT, temporary_platform, write_random_walk

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.performance.analysis import DataflowLoad, SlowStatement, TableUse
    from deploy.performance.benchmark import BenchmarkResult
    from deploy.performance.tuning_hints import TuningHint

SLICES_PER_SECOND = 10.0
Seconds = Annotated[
    int, typer.Option(min=10, max=600, help="Seconds that a temporary platform runs before it is measured.")
]
OwnPlatform = Annotated[
    bool, typer.Option("--own", help="Measure a temporary platform even if the platform is running.")
]
SliceCount = Annotated[int, typer.Option(min=50, help="Number of most recent time slices to measure.")]
CheckTargets = Annotated[bool, typer.Option("--check", help="Exit with status 1 if a p50 or a rate misses its target.")]
LayoutName = Annotated[
    str, typer.Option("--layout", help="Layout of the temporary platform of --broker: services or compact.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Analyze, benchmark, profile and tune the platform. Without a subcommand: analyze.")
    group.callback(invoke_without_command=True)(default)
    group.command("analyze", help="Report lag, load, tables, slow statements and problems of the running platform.")(
        analyze
    )
    group.command("benchmark", help="Measure latencies and throughput and compare them with their targets.")(benchmark)
    group.command("profile", help="Profile one stage over bars, function by function.")(profile)
    group.command("optimize", help="List tuning hints for the database and Kafka; --apply carries out the safe ones.")(
        optimize
    )
    group.command("trace", help="Print how long each step of one order took, from its command or bars on.")(trace)
    app.add_typer(group, name="performance")


def trace(
    order_id: Annotated[str, typer.Argument(help="Order id, such as ord-12, or the id of its command (cmd-…).")],
    as_json: AsJson = False,
) -> None:
    from deploy.open_tables import open_tables
    from deploy.performance.order_trace import read_trace
    from sinks.lineage import DatabaseRecordLookup

    with open_tables(home_from_environment()) as (settings, db):
        lookup = DatabaseRecordLookup(db)
        order = lookup.order(order_id) or lookup.order_of(order_id)
    if order is None:
        raise DeployError(f"no approved order {order_id} in the tables; see `python cli.py explain {order_id}`")
    steps = read_trace(settings.kafka, order)
    if as_json:
        print(json.dumps({"order_id": order.order_id, "steps": [step._asdict() for step in steps]}, indent=2))
        return
    print(f"{'ms':>10} {'+ ms':>9}  step of {order.order_id}")
    for step in steps:
        since_first, since_previous = step.since_first_ms or 0.0, step.since_previous_ms or 0.0
        print(f"{since_first:10.1f} {since_previous:9.1f}  {step.step}")


def default(context: typer.Context) -> None:
    """Analyze, benchmark, profile and tune the platform. Without a subcommand: analyze."""
    if context.invoked_subcommand is None:
        analyze()


def benchmark(
    seconds: Seconds = 60,
    ticks: SliceCount = 2000,
    own: OwnPlatform = False,
    broker: Annotated[
        bool,
        typer.Option("--broker", help="Measure the latency to a local broker on a temporary platform for each --load."),
    ] = False,
    load: Annotated[
        list[int] | None,
        typer.Option(min=1, max=1000, help="Symbols with a bar per second each, for --broker (default: 1 and 100)."),
    ] = None,
    layout: LayoutName = Layout.SERVICES,
    check: CheckTargets = False,
    as_json: AsJson = False,
) -> None:
    from deploy.performance import benchmark as measure

    require_choice("--layout", layout, tuple(Layout))
    if broker:
        _measure_broker(load or [1, 100], seconds, Layout(layout), as_json=as_json)
        return
    home = home_from_environment()
    with _measured_platform(home, seconds, own=own) as (description, settings):
        results, catch_up = measure.measure_hops(settings.kafka, ticks)
        results.append(measure.database_queries(settings.database.postgres.url))
        results.append(measure.message_rate(settings.kafka))
    if as_json:
        rows = [result._asdict() | {"met": result.met} for result in results]
        tree = {"measured": description, "catch_up": catch_up._asdict(), "load_average": _load(), "figures": rows}
        print(json.dumps(tree, indent=2))
    else:
        _print(description, results)
        print(f"{catch_up.describe()}. Load average of the last minute: {_load():.1f}.")
    raise typer.Exit(1 if check and any(result.met is False for result in results) else 0)


def _measure_broker(loads: list[int], seconds: int, layout: Layout, *, as_json: bool) -> None:
    from deploy.performance.broker_load import measure_broker_latency

    console, rows = Console(stderr=True), []
    for symbols in loads:
        with console.status(f"measuring with {symbols} bars per second"):
            rows.append((symbols, measure_broker_latency(symbols, seconds, layout), _load()))
    if as_json:
        trees = [
            {
                "layout": layout,
                "bars_per_second": symbols,
                "load_average": load,
                "latencies_ms": [figure._asdict() for figure in figures],
            }
            for symbols, figures, load in rows
        ]
        print(json.dumps(trees, indent=2))
        return
    print(f"{'bars/s':>6} {'load':>5} {'n':>5} {'missing':>7} {'p50 ms':>9} {'p99 ms':>9} {'max ms':>9}  latency")
    for symbols, figures, load in rows:
        for figure in figures:
            times = " ".join("        -" if ms is None else f"{ms:9.1f}" for ms in (figure.p50, figure.p99, figure.max))
            print(f"{symbols:6} {load:5.1f} {figure.n:5} {figure.missing:7} {times}  {figure.name}")
    print("Each latency counts from the time at which the request was due (open loop).")


def _load() -> float:
    """Return the load average of the last minute. On a busy machine, the figures are only indicative."""
    return os.getloadavg()[0]


@contextmanager
def _measured_platform(home: Home, seconds: int, *, own: bool) -> Iterator[tuple[str, Settings]]:
    """Yield description and settings of the measured platform: the running one, or a temporary one."""
    if running_state(home) is not None and not own:
        yield f"the running platform in {home.root}", _settings(home)
        return
    console = Console(stderr=True)
    bar_count = int(seconds * SLICES_PER_SECOND)
    load = f"{SYMBOL_COUNT} symbols, {SLICES_PER_SECOND:.0f} bars per second each"
    description = f"a temporary platform, {os.cpu_count()} cores, {load}"
    with (
        console.status("starting a temporary platform") as status,
        temporary_platform(bar_count * 2, SLICES_PER_SECOND * 60) as temporary_home,
    ):
        status.update(f"playing {seconds} s of bars")
        time.sleep(seconds)
        status.update("measuring")
        yield description, _settings(temporary_home)


def _settings(home: Home) -> Settings:
    from deploy.recovery.recorded_topics import platform_settings

    addresses = json.loads((home.secrets / "endpoints.json").read_text())
    variables = {name: value for name, value in addresses.items() if name != "PLATFORM_HOME"}
    return platform_settings(home, variables, principal=ADMIN)  # creates a topic of its own


def _print(description: str, results: list[BenchmarkResult]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for title in ("target", "p50", "p99", "n"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("measured as", no_wrap=True)
    for result in results:
        sign = "<" if result.unit == "ms" else "≥"
        met = {True: "met", False: "missed", None: "-"}[result.met]
        table.add_row(
            result.name,
            f"{sign} {result.target:,.0f} {result.unit}",
            _text(result.p50, result.unit),
            _text(result.p99, result.unit),
            f"{result.n:,}",
            met,
            result.how,
        )
    console = Console(highlight=False)
    console.width = max(console.width, 210)
    console.print(f"measured: {description}")
    console.print(table)
    print("met: the p50 is within the target. Latencies between topics are whole milliseconds.")


def _text(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:.1f} ms" if unit == "ms" else f"{value:,.0f}/s"


def analyze(as_json: AsJson = False) -> None:
    from sqlalchemy.exc import DBAPIError

    from deploy.performance import analysis
    from sinks.database import open_engine

    home = home_from_environment()
    state = _running(home)
    engine = open_engine(_settings(home).database.postgres.url)
    try:
        with engine.connect() as db:
            tables, (source, slow_statements), cache_share = (
                analysis.table_uses(db),
                analysis.slowest_statements(db),
                analysis.cache_share(db),
            )
    except DBAPIError as error:
        raise analysis.database_error(error) from error
    finally:
        engine.dispose()
    dataflows = analysis.dataflow_loads(home, state)
    findings = analysis.findings(state, dataflows, tables, slow_statements)
    if as_json:
        tree = {
            "findings": findings,
            "dataflows": [load._asdict() for load in dataflows],
            "tables": [table._asdict() for table in tables],
            "statements": {"from": source, "slowest": [statement._asdict() for statement in slow_statements]},
            "database_cache_share": cache_share,
        }
        print(json.dumps(tree, indent=2))
    else:
        _print_analysis(dataflows, tables, source, slow_statements, cache_share)
        print("\n".join(["", *(findings or ["no findings"])]))
    raise typer.Exit(1 if findings else 0)


def _print_analysis(
    dataflows: list[DataflowLoad],
    tables: list[TableUse],
    source: str,
    slow_statements: list[SlowStatement],
    cache_share: float | None,
) -> None:
    console = Console(highlight=False)
    console.width = max(console.width, 130)
    table = Table("dataflow", box=None, pad_edge=False)
    for title in ("lag s", "cores", "records in", "dead letters", "MB"):
        table.add_column(title, justify="right")
    for load in dataflows:
        cells = ("-" if value is None else f"{value:,.2f}" for value in (load.lag_s, load.cores))
        memory = "-" if load.rss_mb is None else f"{load.rss_mb:,.0f}"
        table.add_row(load.service, *cells, f"{load.records_in:,}", f"{load.dead_letters:,}", memory)
    console.print(table, "")
    table = Table("table", box=None, pad_edge=False)
    for title in ("rows", "dead rows", "MB", "full scans", "index scans"):
        table.add_column(title, justify="right")
    for table_use in (table_use for table_use in tables if table_use.rows):
        counts = (
            table_use.rows,
            table_use.dead_rows,
            table_use.bytes / 1e6,
            table_use.sequential_scans,
            table_use.index_scans,
        )
        table.add_row(
            table_use.name, *(f"{count:,.1f}" if isinstance(count, float) else f"{count:,}" for count in counts)
        )
    console.print(table, "")
    console.print(
        f"statements: {source}" + (f"; {cache_share:.1%} of blocks from memory" if cache_share is not None else "")
    )
    for statement in slow_statements:
        calls = "" if statement.calls is None else f" x {statement.calls:,}"
        console.print(f"  {statement.mean_ms:,.2f} ms{calls}  {statement.text[:110]}", markup=False)


def profile(
    service: Annotated[str, typer.Argument(help="Dataflow with a stage, such as features.")],
    bars: Annotated[list[Path] | None, typer.Option(help="CSV or Parquet bar files (default: a random walk).")] = None,
    minutes: Annotated[
        int, typer.Option(min=100, help="Length of the random walk of five symbols, in minutes.")
    ] = 5000,
    top: Annotated[int, typer.Option(min=1, help="Number of functions to print.")] = 20,
    as_json: AsJson = False,
) -> None:
    from deploy.performance.stage_profile import profile_stage, profiled_services
    from deploy.service_names import resolve_service

    name = resolve_service(service, profiled_services())
    settings = _profiled_settings(walk=not bars)
    with tempfile.TemporaryDirectory(prefix="trading-profile-") as folder:
        files = bars or [write_random_walk(Path(folder) / f"S{n}.csv", minutes, n) for n in range(SYMBOL_COUNT)]
        summary, function_times = profile_stage(settings, name, files)
    if as_json:
        print(
            json.dumps(
                {"service": name, "bars": summary["bars"], "functions": [s._asdict() for s in function_times[:top]]}
            )
        )
        return
    total_s = sum(row.own_s for row in function_times)
    us_per_bar = total_s / summary["bars"] * 1e6
    print(f"{name}: {total_s:.2f} s with the profiler, {summary['bars']:,} bars, {us_per_bar:.1f} us per bar")
    print(f"{'own s':>8} {'share':>6} {'total s':>8} {'calls':>12}  function")
    for row in function_times[:top]:
        print(f"{row.own_s:8.3f} {row.own_s / total_s:6.1%} {row.total_s:8.3f} {row.calls:12,}  {row.function}")


def _profiled_settings(*, walk: bool) -> Settings:
    from configs.settings import load_settings

    variables = {"MARKET_DATA__FILES__CALENDAR": "24/7"} if walk else {}
    return load_settings(environment={**os.environ, **variables})


def optimize(
    apply: Annotated[bool, typer.Option("--apply", help="Carry out the hints that are safe at any time.")] = False,
    as_json: AsJson = False,
) -> None:
    from sqlalchemy.exc import DBAPIError

    from deploy.performance import analysis, tuning_hints
    from sinks.database import open_engine

    home = home_from_environment()
    _running(home)
    settings = _settings(home)
    url = settings.database.postgres.url
    engine = open_engine(url)
    try:
        with engine.connect() as db:
            hints = tuning_hints.database_hints(analysis.table_uses(db))
    except DBAPIError as error:
        raise analysis.database_error(error) from error
    finally:
        engine.dispose()
    hints += tuning_hints.kafka_hints(settings.kafka)
    applied = tuning_hints.apply_hints(url, hints) if apply else []
    if as_json:
        print(json.dumps({"hints": [_hint_tree(hint) for hint in hints], "done": applied}, indent=2))
        return
    for hint in hints:
        suffix = (
            "" if not hint.statement else " (applied)" if hint.statement in applied else f" (--apply: {hint.statement})"
        )
        print(f"{hint.about}: {hint.text}{suffix}")
    if not hints:
        print("no hints")


def _hint_tree(hint: TuningHint) -> dict[str, str]:
    return {"about": hint.about, "said": hint.text, "statement": hint.statement}


def _running(home: Home) -> PlatformState:
    state = running_state(home)
    if state is None:
        raise DeployError(f"no platform is running in {home.root}; start it with `python cli.py start`")
    return state
