"""`walk-forward`: choose parameters on training periods, and test them on the bars after each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.bar_file_options import CalendarName, Interval, SessionChoice, Symbol, Timezone
from deploy.commands.backtest import End, InSample, MoreBars, SettingsFile, Start
from deploy.commands.sweep import (
    BarFilesOption,
    Constraints,
    GridValues,
    JsonResult,
    ObjectiveText,
    Processes,
    SearchName,
    StrategyName,
    figure_text,
    search_progress,
)
from deploy.text_outputs import require_output, write_output

if TYPE_CHECKING:
    from dataflows.research.sweeps.walk_forward_result import WalkForwardResult


def register(app: typer.Typer) -> None:
    app.command("walk-forward", help="Choose parameters on training periods, and test them on the bars after each.")(
        walk_forward
    )


def walk_forward(
    strategy: StrategyName,
    bars: BarFilesOption,
    grid: GridValues,
    train: Annotated[str, typer.Option(help="Length of a training period in days or weeks, such as 60d or 8w.")],
    test: Annotated[str, typer.Option(help="Length of a test period in days or weeks.")],
    more_bars: MoreBars = None,
    anchored: Annotated[bool, typer.Option("--anchored", help="Start each training period with the bars.")] = False,
    purge: Annotated[
        str | None, typer.Option(help="Days between training and test: the longest holding time of a position.")
    ] = None,
    embargo: Annotated[str | None, typer.Option(help="Further days between training and test.")] = None,
    random: Annotated[int | None, typer.Option(min=1, help="Compare this many random sets of the grid.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of --random.")] = 0,
    objective: ObjectiveText = "sharpe",
    constraint: Constraints = None,
    settings: SettingsFile = None,
    start: Start = None,
    end: End = None,
    calendar: CalendarName = None,
    session: SessionChoice = None,
    timezone: Timezone = None,
    interval: Interval = None,
    symbol: Symbol = None,
    allow_in_sample: InSample = False,
    processes: Processes = None,
    name: SearchName = None,
    json_target: JsonResult = None,
) -> None:
    from dataflows.research.sweeps.parameter_sets import parse_grid
    from dataflows.research.sweeps.walk_forward_analysis import walk_forward as run_walk_forward

    require_output("--json", json_target)
    with search_progress() as progress:
        result = run_walk_forward(
            strategy,
            [*bars, *(more_bars or [])],
            grid=parse_grid(grid),
            train=train,
            test=test,
            anchored=anchored,
            purge=purge,
            embargo=embargo,
            random=random,
            seed=seed,
            objective=objective,
            constraints=constraint or [],
            settings=settings,
            processes=processes,
            name=name,
            progress=progress,
            start=start,
            end=end,
            calendar=calendar,
            session=session,
            timezone=timezone,
            interval=interval,
            symbol=symbol,
            allow_in_sample=allow_in_sample,
        )
    if json_target is not None:
        write_output("--json", json_target, json.dumps(_tree(result), indent=2) + "\n")
    if json_target != "-":
        _print(result)


def _tree(result: WalkForwardResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "objective": result.objective,
        "trials": result.trials,
        "metrics": result.metrics,
        "efficiency": result.efficiency,
        "probabilistic_sharpe": result.probabilistic_sharpe,
        "stability": json.loads(result.stability.to_json(orient="records", double_precision=15)),
        "windows": json.loads(result.windows.to_json(orient="records", double_precision=15)),
        "returns": {str(day)[:10]: value for day, value in result.returns.items()},
    }


def _print(result: WalkForwardResult) -> None:
    table = Table(box=None)
    columns = [name for name in result.windows.columns if name not in ("decision_hash", "error")]
    for title in (*columns, "decisions"):
        table.add_column(title.replace("_", " "))
    for _, row in result.windows.iterrows():
        table.add_row(*(figure_text(row[name]) for name in columns), row["error"] or row["decision_hash"][:8])
    Console(width=200, highlight=False, markup=False).print(table)
    print(result)
