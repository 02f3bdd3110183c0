"""`sweep`: run a strategy with many parameter sets, and judge the best one by the number of trials behind it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from deploy.bar_file_options import CalendarName, Interval, SessionChoice, Symbol, Timezone
from deploy.commands.backtest import End, InSample, MoreBars, SettingsFile, Start
from deploy.errors import DeployError
from deploy.text_outputs import STANDARD_OUTPUT, require_output, write_output
from schemas.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from dataflows.research.sweeps.sweep_result import SweepResult
    from dataflows.research.sweeps.trial_search import Progress as TrialProgress

BarFilesOption = Annotated[
    list[Path], typer.Option("--bars", help="CSV or Parquet bar files, or folders of them; accepts several.")
]
StrategyName = Annotated[str, typer.Option("--strategy", help="Strategy to run: its name, or FILE.py:Class.")]
GridValues = Annotated[
    list[str],
    typer.Option("--grid", help="Values of a parameter: NAME=5,10,20 or NAME=FIRST:LAST:STEP. Can be repeated."),
]
Constraints = Annotated[
    list[str] | None, typer.Option("--constraint", help='Run only sets that fulfil it: "fast < slow". Can be repeated.')
]
ObjectiveText = Annotated[
    str,
    typer.Option("--objective", help='Metric, or formula of metrics such as "sharpe - 2 * max_drawdown", to maximize.'),
]
Processes = Annotated[int | None, typer.Option(min=1, help="Number of processes; by default one for each core.")]
SearchName = Annotated[
    str | None, typer.Option("--name", help="Name of the search. Repeat the command to continue an interrupted one.")
]
JsonResult = Annotated[
    str | None, typer.Option("--json", help="Write the result as JSON to this file; - for standard output.")
]
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
_COLUMNS = ("objective", "neighbourhood_mean", "total_return", "sharpe", "max_drawdown", "fills")


def register(app: typer.Typer) -> None:
    app.command("sweep", help="Run a strategy with many parameter sets, and judge the best one.")(sweep)


def sweep(
    strategy: StrategyName,
    bars: BarFilesOption,
    grid: GridValues,
    more_bars: MoreBars = None,
    random: Annotated[int | None, typer.Option(min=1, help="Run this many random sets of the grid.")] = None,
    optuna: Annotated[
        int | None, typer.Option(min=1, help="Run this many sets of the grid that Optuna's TPE sampler chooses.")
    ] = None,
    stop_after: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many sets without a better one.")
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="With --optuna, end trials early whose interim objective is poor.")
    ] = False,
    per_symbol: Annotated[
        bool,
        typer.Option("--per-symbol", help="Sweep each symbol on its own, then run all with their best sets."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of --random, --optuna and the order of --stop-after.")] = 0,
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
    limit: Annotated[int, typer.Option(min=1, help="Number of trials to print, best first.")] = 20,
    html: Annotated[
        str | None, typer.Option("--html", help="Write a report with heat maps to this file; - for standard output.")
    ] = None,
    json_target: JsonResult = None,
) -> None:
    from dataflows.research.sweeps.parameter_sets import parse_grid
    from dataflows.research.sweeps.parameter_sweep import sweep as run_sweep

    for option, target in (("--html", html), ("--json", json_target)):
        require_output(option, target)
    options: dict[str, Any] = {
        "grid": parse_grid(grid),
        "random": random,
        "seed": seed,
        "objective": objective,
        "constraints": constraint or [],
        "settings": settings,
        "processes": processes,
        "name": name,
        "start": start,
        "end": end,
        "calendar": calendar,
        "session": session,
        "timezone": timezone,
        "interval": interval,
        "symbol": symbol,
        "allow_in_sample": allow_in_sample,
    }
    files = [*bars, *(more_bars or [])]
    if per_symbol:
        refused = {"--optuna": optuna, "--stop-after": stop_after, "--prune": prune or None, "--html": html}
        _sweep_symbols(strategy, files, options, refused, json_target)
        return
    with search_progress() as progress:
        result = run_sweep(
            strategy, files, optuna=optuna, stop_after=stop_after, prune=prune, progress=progress, **options
        )
    if json_target is not None:
        write_output("--json", json_target, json.dumps(_tree(result), indent=2) + "\n")
    if html is not None:
        write_output("--html", html, result.report())
    if STANDARD_OUTPUT not in (html, json_target):
        _print(result, limit)


def _sweep_symbols(
    strategy: str,
    files: Sequence[Path],
    options: Mapping[str, Any],
    refused: Mapping[str, Any],
    json_target: str | None,
) -> None:
    """Sweep each symbol and print the result. Raises BadInput if an option is set that is not for single symbols."""
    from dataflows.research.sweeps.symbol_sweep import sweep_symbols

    if given := [option for option, value in refused.items() if value is not None]:
        raise BadInput(f"--per-symbol runs the whole grid or --random sets of each symbol; remove {given[0]}")
    with search_progress() as progress:
        result = sweep_symbols(strategy, files, progress=progress, **options)
    if json_target is not None:
        deflated = result.deflated_sharpe
        tree = {
            "name": result.name,
            "parameters_by_symbol": result.best,
            "trials": result.trials,
            "deflated_sharpe": None if deflated is None else deflated.probability,
            "metrics": result.result.metrics,
            "decision_hash": result.result.decision_hash,
            "symbols": {symbol: _tree(one) for symbol, one in result.sweeps.items()},
        }
        write_output("--json", json_target, json.dumps(tree, indent=2) + "\n")
    if json_target != STANDARD_OUTPUT:
        print(result)


@contextmanager
def search_progress() -> Iterator[TrialProgress]:
    """Yield a function that shows the progress. Ctrl-C ends the command with a sentence that says how to continue.

    Raises DeployError if the state folder cannot be used or a process ends early.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    counts = [0, 0]
    task = bar.add_task("trials", total=None)

    def update(ended: int, requested: int) -> None:
        counts[:] = ended, requested
        bar.update(task, completed=ended, total=requested)

    try:
        with bar:
            yield update
    except Unavailable as error:
        raise DeployError(str(error)) from error
    except KeyboardInterrupt:
        print(
            f"stopped: {counts[0]} of {counts[1]} trials are recorded; run the same command to continue",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None


def _tree(result: SweepResult) -> dict[str, Any]:
    summary = result.overfitting
    deflated, pbo = summary.deflated_sharpe, summary.pbo
    return {
        "name": result.name,
        "objective": result.objective,
        "best": result.best,
        "overfitting": {
            "trials": summary.trials,
            "pruned": summary.pruned,
            "trials_in_ledger": summary.trials_in_ledger,
            "deflated_sharpe": None if deflated is None else deflated.probability,
            "expected_maximum_sharpe": None if deflated is None else deflated.expected_maximum_sharpe,
            "probability_of_overfitting": None if pbo is None else pbo.probability,
            "blocks": None if pbo is None else pbo.blocks,
            "plateau": None if summary.plateau is None else summary.plateau._asdict(),
        },
        "trials": json.loads(result.trials.to_json(orient="records", double_precision=15)),
    }


def _print(result: SweepResult, limit: int) -> None:
    table = Table(box=None)
    for title in (*result.parameters, *_COLUMNS, "decisions"):
        table.add_column(title.replace("_", " "))
    for _, row in result.trials.head(limit).iterrows():
        metrics = [result.column_of(name) for name in _COLUMNS]
        figures = [figure_text(row[name]) for name in (*result.parameters, *metrics)]
        table.add_row(*figures, row["error"] or row["decision_hash"][:8])
    Console(width=160, highlight=False, markup=False).print(table)
    if len(result.trials) > limit:
        print(f"{len(result.trials) - limit} more trials; --limit prints them")
    print(result)


def figure_text(value: Any) -> str:
    """Return a number with six digits, "–" for none, and other values as text."""
    if value is None or value != value:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
