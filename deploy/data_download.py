"""`data download`: fetch historical bars of a provider into the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from deploy.catalog_commands import SettingsFile, added_text, one_line_errors, own_catalog
from deploy.time_arguments import parse_time_ns
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from dataflows.research.download import BarDownload

PROVIDERS = ("alpaca", "polygon")
Symbols = Annotated[list[str], typer.Argument(help="Symbols, as the provider names them.")]
ProviderName = Annotated[str, typer.Option("--provider", help="alpaca or polygon. The settings have its keys.")]
Start = Annotated[str, typer.Option("--from", help="Bars that open at or after this ISO date or time (UTC).")]
End = Annotated[
    str | None, typer.Option("--to", help="Bars that open before this ISO date or time (UTC). Default: now.")
]
BarInterval = Annotated[str, typer.Option("--interval", help="Length of a bar: 1m, 5m, 15m, 30m or 1d.")]
RequestLimit = Annotated[
    float | None,
    typer.Option(min=0.1, help="Most requests per minute. Default: as many as the provider accepts."),
]


def download(
    symbols: Symbols,
    provider: ProviderName,
    start: Start,
    end: End = None,
    interval: BarInterval = "1m",
    requests_per_minute: RequestLimit = None,
    settings: SettingsFile = None,
) -> None:
    """Download bars. The exit code is 1 if sessions are missing between the first and the last bar of a symbol."""
    import time

    from configs.settings import load_settings
    from dataflows.research.download import BarDownload
    from dataflows.sources.market.live_feed_setup import history_source
    from operators.bar_completion import parse_interval_s

    if provider not in PROVIDERS:
        raise BadInput(
            f"--provider must be {' or '.join(PROVIDERS)}, found {provider!r}{did_you_mean(provider, PROVIDERS)}"
        )
    start_ns, end_ns = parse_time_ns("--from", start), parse_time_ns("--to", end) or time.time_ns()
    assert start_ns is not None, "--from is required"
    if start_ns >= end_ns:
        raise BadInput(f"--from must be before --to, found {start} and {end or 'now'}")
    source = history_source(load_settings(settings), provider)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("months"))
    with one_line_errors(), Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("download")
        one = BarDownload(
            own_catalog(),
            source.history,
            source.name,
            parse_interval_s(interval),
            source.calendar,
            requests_per_minute=requests_per_minute,
            on_wait=lambda reason, seconds: progress.console.print(f"{reason}; waiting {seconds:g} s", markup=False),
            on_period=lambda period: progress.advance(task),
        )
        total = sum(len(one.periods(symbol, start_ns, end_ns)) for symbol in symbols)
        progress.update(task, total=total)
        has_gaps = [_download(one, symbol, interval, start_ns, end_ns) for symbol in symbols]
    if any(has_gaps):
        raise typer.Exit(1)


def _download(one: BarDownload, symbol: str, interval: str, start_ns: int, end_ns: int) -> bool:
    """Download a symbol, print what was added, and return whether sessions are missing."""
    done = one.run(symbol, start_ns, end_ns)
    print(f"{symbol}, bars of {interval}: {added_text(done.added)}")
    if done.gaps:
        print(f"warning: {symbol}: {done.gaps}")
    return bool(done.gaps)
