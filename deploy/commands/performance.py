"""`performance`: how fast it is, where the time goes, and what would make it faster."""

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

from deploy.errors import DeployError
from deploy.home import Home, home_from_environment
from deploy.supervisor.state import State, running_state
from deploy.testing.temporary_platform import SYMBOLS, own_platform, write_walk

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.performance.analysis import Load, Statement, TableUse
    from deploy.performance.benchmark import Figure

TICKS_A_SECOND = 10.0
Seconds = Annotated[int, typer.Option(min=10, max=600, help="How long a platform of its own plays its market.")]
Own = Annotated[bool, typer.Option("--own", help="Measure a platform started for it, also where one runs.")]
Ticks = Annotated[int, typer.Option(min=50, help="So many of the last ticks count.")]
Check = Annotated[bool, typer.Option("--check", help="Status 1 where a p50 or rate misses its target.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="How fast it is, where the time goes, and what would make it faster.")
    group.callback(invoke_without_command=True)(default)
    group.command("analyze", help="Lag, load, tables and statements of the running platform; says what stands out.")(
        analyze
    )
    group.command("benchmark", help="Latencies and throughput beside their targets.")(benchmark)
    group.command("profile", help="Where one stage's time goes, over bars, function by function.")(profile)
    group.command("optimize", help="What would make the database and Kafka faster; --apply does what is safe.")(
        optimize
    )
    app.add_typer(group, name="performance")


def default(context: typer.Context) -> None:
    """How fast it is, where the time goes, and what would make it faster. Without a subcommand: analyze."""
    if context.invoked_subcommand is None:
        analyze()


def benchmark(
    seconds: Seconds = 60, ticks: Ticks = 2000, own: Own = False, check: Check = False, as_json: AsJson = False
) -> None:
    from deploy.performance import benchmark as measure

    home = home_from_environment()
    with _measured(home, seconds, own=own) as (where, settings):
        figures = measure.hops(settings.kafka, ticks)
        figures.append(measure.database_queries(settings.database.postgres.url))
        figures.append(measure.message_rate(settings.kafka))
    if as_json:
        rows = [figure._asdict() | {"met": figure.met} for figure in figures]
        print(json.dumps({"measured": where, "figures": rows}, indent=2))
    else:
        _print(where, figures)
    raise typer.Exit(1 if check and any(figure.met is False for figure in figures) else 0)


@contextmanager
def _measured(home: Home, seconds: int, *, own: bool) -> Iterator[tuple[str, Settings]]:
    """What is measured, in words, and its settings: the platform that runs, else one for this."""
    if running_state(home) is not None and not own:
        yield f"the platform in {home.root}, as it runs", _settings(home)
        return
    console = Console(stderr=True)
    ticks = int(seconds * TICKS_A_SECOND)
    told = f"a platform of its own, {os.cpu_count()} cores, {SYMBOLS} symbols, {TICKS_A_SECOND:.0f} bars a second each"
    with (
        console.status("starting a platform to measure") as status,
        own_platform(ticks * 2, TICKS_A_SECOND * 60) as made,
    ):
        status.update(f"playing {seconds} s of bars")
        time.sleep(seconds)
        status.update("measuring")
        yield told, _settings(made)


def _settings(home: Home) -> Settings:
    from deploy.recovery.recorded_topics import settings_of

    told = json.loads((home.secrets / "endpoints.json").read_text())
    return settings_of(home, {name: value for name, value in told.items() if name != "PLATFORM_HOME"})


def _print(where: str, figures: list[Figure]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for title in ("target", "p50", "p99", "n"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("measured as", no_wrap=True)
    for figure in figures:
        sign = "<" if figure.unit == "ms" else "≥"
        met = {True: "met", False: "missed", None: "-"}[figure.met]
        table.add_row(
            figure.name,
            f"{sign} {figure.target:,.0f} {figure.unit}",
            _text(figure.p50, figure.unit),
            _text(figure.p99, figure.unit),
            f"{figure.n:,}",
            met,
            figure.how,
        )
    console = Console(highlight=False)
    console.width = max(console.width, 210)
    console.print(f"measured: {where}")
    console.print(table)
    print("met: the p50 is within the target. Times between topics are whole milliseconds.")


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
            tables, (source, slow), cached = analysis.table_uses(db), analysis.statements(db), analysis.cache_share(db)
    except DBAPIError as error:
        raise analysis.unreachable(error) from error
    finally:
        engine.dispose()
    dataflows = analysis.loads(home, state)
    found = analysis.findings(state, dataflows, tables, slow)
    if as_json:
        tree = {
            "findings": found,
            "dataflows": [load._asdict() for load in dataflows],
            "tables": [table._asdict() for table in tables],
            "statements": {"from": source, "slowest": [one._asdict() for one in slow]},
            "database_cache_share": cached,
        }
        print(json.dumps(tree, indent=2))
    else:
        _print_analysis(dataflows, tables, source, slow, cached)
        print("\n".join(["", *(found or ["nothing stands out"])]))
    raise typer.Exit(1 if found else 0)


def _print_analysis(
    dataflows: list[Load], tables: list[TableUse], source: str, slow: list[Statement], cached: float | None
) -> None:
    console = Console(highlight=False)
    console.width = max(console.width, 130)
    table = Table("dataflow", box=None, pad_edge=False)
    for title in ("behind s", "cores", "records in", "dead letters", "MB"):
        table.add_column(title, justify="right")
    for load in dataflows:
        cells = ("-" if value is None else f"{value:,.2f}" for value in (load.lag_s, load.cores))
        memory = "-" if load.rss_mb is None else f"{load.rss_mb:,.0f}"
        table.add_row(load.service, *cells, f"{load.records_in:,}", f"{load.dead_letters:,}", memory)
    console.print(table, "")
    table = Table("table", box=None, pad_edge=False)
    for title in ("rows", "dead", "MB", "whole scans", "index scans"):
        table.add_column(title, justify="right")
    for use in (use for use in tables if use.rows):
        counts = (use.rows, use.dead_rows, use.bytes / 1e6, use.sequential_scans, use.index_scans)
        table.add_row(use.name, *(f"{count:,.1f}" if isinstance(count, float) else f"{count:,}" for count in counts))
    console.print(table, "")
    console.print(f"statements: {source}" + (f"; {cached:.1%} of blocks from memory" if cached is not None else ""))
    for one in slow:
        calls = "" if one.calls is None else f" x {one.calls:,}"
        console.print(f"  {one.mean_ms:,.2f} ms{calls}  {one.text[:110]}", markup=False)


def profile(
    service: Annotated[str, typer.Argument(help="A dataflow with a stage, such as features.")],
    bars: Annotated[
        list[Path] | None, typer.Option(help="CSV or Parquet files of bars; without: a random walk.")
    ] = None,
    minutes: Annotated[int, typer.Option(min=100, help="Of the random walk, five symbols.")] = 5000,
    top: Annotated[int, typer.Option(min=1, help="How many functions.")] = 20,
    as_json: AsJson = False,
) -> None:
    from deploy.performance.stage_profile import profile_stage, profiled_services
    from deploy.service_names import service_named

    name = service_named(service, profiled_services())
    settings = _profiled_settings(walk=not bars)
    with tempfile.TemporaryDirectory(prefix="trading-profile-") as folder:
        files = bars or [write_walk(Path(folder) / f"S{n}.csv", minutes, n) for n in range(SYMBOLS)]
        summary, spent = profile_stage(settings, name, files)
    if as_json:
        print(json.dumps({"service": name, "bars": summary["bars"], "functions": [s._asdict() for s in spent[:top]]}))
        return
    whole = sum(row.own_s for row in spent)
    a_bar = whole / summary["bars"] * 1e6
    print(f"{name}: {whole:.2f} s under the profiler, {summary['bars']:,} bars, {a_bar:.1f} us a bar")
    print(f"{'own s':>8} {'share':>6} {'total s':>8} {'calls':>12}  function")
    for row in spent[:top]:
        print(f"{row.own_s:8.3f} {row.own_s / whole:6.1%} {row.total_s:8.3f} {row.calls:12,}  {row.function}")


def _profiled_settings(*, walk: bool) -> Settings:
    from configs.settings import load_settings

    told = {"MARKET_DATA__FILES__CALENDAR": "24/7"} if walk else {}
    return load_settings(environment={**os.environ, **told})


def optimize(
    apply: Annotated[bool, typer.Option("--apply", help="Carry out what is safe at any time.")] = False,
    as_json: AsJson = False,
) -> None:
    from sqlalchemy.exc import DBAPIError

    from deploy.performance import analysis, optimization
    from sinks.database import open_engine

    home = home_from_environment()
    _running(home)
    settings = _settings(home)
    url = settings.database.postgres.url
    engine = open_engine(url)
    try:
        with engine.connect() as db:
            hints = optimization.database_hints(analysis.table_uses(db))
    except DBAPIError as error:
        raise analysis.unreachable(error) from error
    finally:
        engine.dispose()
    hints += optimization.kafka_hints(settings.kafka)
    done = optimization.apply(url, hints) if apply else []
    if as_json:
        print(json.dumps({"hints": [hint._asdict() for hint in hints], "done": done}, indent=2))
        return
    for hint in hints:
        safe = "" if not hint.statement else " (done)" if hint.statement in done else f" (--apply: {hint.statement})"
        print(f"{hint.about}: {hint.said}{safe}")
    if not hints:
        print("nothing to do")


def _running(home: Home) -> State:
    state = running_state(home)
    if state is None:
        raise DeployError(f"no platform runs in {home.root}")
    return state
