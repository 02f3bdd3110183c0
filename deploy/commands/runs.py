"""`runs`: list, show, report, compare and remove the saved backtests."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.text_outputs import STANDARD_OUTPUT, require_output, write_output
from deploy.time_arguments import format_ns
from schemas.errors import Unavailable

if TYPE_CHECKING:
    import pandas as pd

    from dataflows.research.html_report.run_report import TrialNote
    from dataflows.research.run_store import RunStore, StoredRun
    from dataflows.research.trial_notes import NotedRun

Name = Annotated[str, typer.Argument(help="Name of a run, as `list` prints it.")]
Names = Annotated[list[str], typer.Argument(help="Names of runs; the first is compared with the others.")]
Removed = Annotated[list[str], typer.Argument(help="Names of the runs to remove.")]
Output = Annotated[str, typer.Option("--output", "-o", help="HTML file to write; - for standard output.")]
HtmlFile = Annotated[
    str | None,
    typer.Option("--html", help="Write the comparison with curves to this HTML file; - for standard output."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_LISTED = ("total_return", "sharpe", "max_drawdown", "fills")


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="List, show, report, compare and remove the saved backtests.", no_args_is_help=True)
    group.command("list", help="List the saved runs, oldest first.")(list_all)
    group.command("show", help="Print the metrics, the data and the hashes of a run.")(show)
    group.command("report", help="Write the HTML report of a run.")(report)
    group.command("compare", help="Compare metrics, settings and decisions of runs with those of the first.")(compare)
    group.command("rm", help="Remove runs with their tables.")(remove)
    app.add_typer(group, name="runs")


def list_all(as_json: AsJson = False) -> None:
    runs = _store().runs()
    if as_json:
        print(json.dumps([_fields(run) for run in runs], indent=2))
        return
    table = Table(box=None)
    for title in ("name", "time", "strategies", *(name.replace("_", " ") for name in _LISTED), "decisions"):
        table.add_column(title)
    for run in runs:
        figures = [_figure(run.summary.get(name)) for name in _LISTED]
        strategies = ", ".join(run.strategies) or "orders"
        table.add_row(run.name, format_ns(run.created_ns), strategies, *figures, run.decision_hash[:12])
    Console(width=160).print(table)


def show(name: Name, as_json: AsJson = False) -> None:
    run = _store().run(name)
    if as_json:
        print(json.dumps(_fields(run) | {"settings": run.settings}, indent=2))
        return
    sources = run.sources
    rows = {"name": run.name, "time": format_ns(run.created_ns), "strategies": ", ".join(run.strategies) or "orders"}
    rows |= {name.replace("_", " "): _figure(value) for name, value in run.summary.items() if name != "warnings"}
    rows |= {"data": ", ".join(sources.data), "data sha256": sources.data_sha256 or "–"}
    rows |= {"code sha256": sources.code_sha256}
    rows |= {f"source of {strategy}": sha256 for strategy, sha256 in sources.source_sha256.items()}
    table = Table(show_header=False, box=None)
    for title, text in rows.items():
        table.add_row(title, text)
    Console(width=160).print(table)
    for sentence in (one for note in trials_behind(run) for one in note.sentences()):
        print(sentence)
    for warning in run.warnings:
        print(f"warning: {warning}")


def report(name: Name, output: Output = "report.html") -> None:
    from dataflows.research.stored_results import load_run

    require_output("--output", output)
    try:
        result = load_run(name)
    except Unavailable as error:
        raise DeployError(str(error)) from error
    write_output("--output", output, result.report(trials=trials_behind(result)))
    if output != STANDARD_OUTPUT:
        print(f"report: {output}")


def trials_behind(run: NotedRun) -> list[TrialNote]:
    """Return how many trials stand behind a run. If the ledger cannot be read, print a warning and return none."""
    from dataflows.research.trial_ledger import TrialLedger
    from dataflows.research.trial_notes import trial_notes

    try:
        return trial_notes(run, TrialLedger(home_from_environment().trial_ledger))
    except Unavailable as error:
        print(f"warning: trials are not counted: {error}", file=sys.stderr)
        return []


def compare(names: Names, as_json: AsJson = False, html: HtmlFile = None) -> None:
    from dataflows.research.run_comparison import compare as compare_runs

    require_output("--html", html)
    try:
        comparison = compare_runs(*names)
    except Unavailable as error:
        raise DeployError(str(error)) from error
    if html is not None:
        write_output("--html", html, comparison.report())
    if html == STANDARD_OUTPUT:
        return
    if as_json:
        fields: dict[str, Any] = {"metrics": _records(comparison.metrics), "settings": _records(comparison.parameters)}
        fields |= {"sources": list(comparison.sources), "first_differences": dict(comparison.first_differences)}
        print(json.dumps(fields, indent=2))
        return
    print(comparison)
    if html is not None:
        print(f"report: {html}")


def remove(names: Removed) -> None:
    try:
        _store().remove(names)
    except Unavailable as error:
        raise DeployError(str(error)) from error
    print(f"removed {', '.join(names)}")


def _store() -> RunStore:
    from dataflows.research.run_store import RunStore, runs_folder

    return RunStore(runs_folder())


def _fields(run: StoredRun) -> dict[str, Any]:
    fields = run._asdict()
    del fields["folder"], fields["settings"]
    return fields | {"sources": run.sources._asdict()}


def _records(table: pd.DataFrame) -> dict[str, Any]:
    records: dict[str, Any] = json.loads(table.to_json(orient="index", double_precision=15))
    return records


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
