"""`stress`: how a strategy's backtest changes with costs, with the traded capital, and with noise in the prices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.bar_file_options import CalendarName, Interval, SessionChoice, Timezone
from schemas.errors import BadInput

if TYPE_CHECKING:
    from dataflows.research.robustness.stressed_runs import StressTable

Bars = Annotated[list[Path], typer.Option(help="CSV or Parquet bar files, or folders of them. Can be repeated.")]
StrategyName = Annotated[str, typer.Option(help="Strategy to run: its name, or FILE.py:Class.")]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Settings file. Its values override the default settings.")
]
Start = Annotated[str | None, typer.Option(help="Read the bars that open at or after this ISO date or time.")]
End = Annotated[str | None, typer.Option(help="Read the bars that open before this ISO date or time.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Fees = Annotated[str, typer.Option(help="Multiples of the configured fees, with commas.")]
Slippage = Annotated[str, typer.Option("--slippage-bps", help="Slippages in basis points, with commas.")]
Delays = Annotated[str, typer.Option("--delays-s", help="Delays of orders in seconds of market time, with commas.")]
Multiples = Annotated[str, typer.Option(help="Multiples of the capital, with commas.")]
Impact = Annotated[
    float | None,
    typer.Option("--impact-bps", help="Impact of an order for the whole volume of a bar; default: that of the venue."),
]
Noise = Annotated[float, typer.Option("--noise-bps", help="Standard deviation of the noise in basis points.")]
Runs = Annotated[int, typer.Option(min=1, help="Number of backtests with noise.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the first one; the next have the following numbers.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Test how costs, capital and noise change a backtest.", no_args_is_help=True)
    group.command("costs", help="Change fees, slippage and delay, one at a time.")(costs)
    group.command("capacity", help="Find the capital at which market impact halves the Sharpe ratio.")(capacity)
    group.command("noise", help="Change all prices by random amounts.")(noise)
    app.add_typer(group, name="stress")


def costs(
    strategy: StrategyName,
    bars: Bars,
    fees: Fees = "0,1,2,4",
    slippage_bps: Slippage = "0,1,2,5,10",
    delays_s: Delays = "0,60,300",
    settings: SettingsFile = None,
    start: Start = None,
    end: End = None,
    calendar: CalendarName = None,
    session: SessionChoice = None,
    timezone: Timezone = None,
    interval: Interval = None,
    as_json: AsJson = False,
) -> None:
    from dataflows.research import cost_sensitivity

    levels: dict[str, Any] = {
        "fees": _numbers("--fees", fees),
        "slippage_bps": _numbers("--slippage-bps", slippage_bps),
        "delays_s": _numbers("--delays-s", delays_s),
    }
    options: dict[str, Any] = {"settings": settings, "start": start, "end": end, "calendar": calendar}
    options |= {"session": session, "timezone": timezone, "interval": interval}
    _print(cost_sensitivity(strategy, bars, **levels, **options), as_json)


def capacity(
    strategy: StrategyName,
    bars: Bars,
    multiples: Multiples = "1,4,16,64,256",
    impact_bps: Impact = None,
    settings: SettingsFile = None,
    start: Start = None,
    end: End = None,
    calendar: CalendarName = None,
    session: SessionChoice = None,
    timezone: Timezone = None,
    interval: Interval = None,
    as_json: AsJson = False,
) -> None:
    from dataflows import research

    options: dict[str, Any] = {"settings": settings, "start": start, "end": end, "calendar": calendar}
    options |= {"session": session, "timezone": timezone, "interval": interval}
    levels = _numbers("--multiples", multiples)
    _print(research.capacity(strategy, bars, multiples=levels, impact_bps=impact_bps, **options), as_json)


def noise(
    strategy: StrategyName,
    bars: Bars,
    noise_bps: Noise = 5.0,
    runs: Runs = 10,
    seed: Seed = 0,
    settings: SettingsFile = None,
    start: Start = None,
    end: End = None,
    calendar: CalendarName = None,
    session: SessionChoice = None,
    timezone: Timezone = None,
    interval: Interval = None,
    as_json: AsJson = False,
) -> None:
    from dataflows.research import bar_noise

    options: dict[str, Any] = {"settings": settings, "start": start, "end": end, "calendar": calendar}
    options |= {"session": session, "timezone": timezone, "interval": interval}
    _print(bar_noise(strategy, bars, noise_bps=noise_bps, runs=runs, seed=seed, **options), as_json)


def _numbers(option: str, text: str) -> list[float]:
    """Return the numbers of a text such as `0,1,2`. Raises BadInput."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"{option} must be numbers with commas between them, such as 0,1,2; found {text!r}") from None


def _print(table: StressTable, as_json: bool) -> None:
    if not as_json:
        print(table)
        return
    rows = json.loads(table.frame.to_json(orient="records"))
    print(json.dumps({"title": table.title, "rows": rows, "notes": list(table.notes)}, indent=2))
