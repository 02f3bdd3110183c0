"""`backtest`: run the live stages over bar files, without any service."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

if TYPE_CHECKING:
    from operators.performance import Performance

Bars = Annotated[list[Path], typer.Option(help="CSV or Parquet bar files, or folders of them; takes one or more.")]
MoreBars = Annotated[list[Path] | None, typer.Argument(hidden=True)]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Settings file. Its values override the default settings.")
]
JsonTarget = Annotated[
    str | None, typer.Option("--json", help="Write the results as JSON to this file; - for standard output.")
]
ReportFile = Annotated[
    Path | None, typer.Option("--report", help="Write an HTML report with the equity curve and the fills to this file.")
]
_FILES_HELP = "CSV or JSON lines files of {}, or folders of them. Can be repeated."
News = Annotated[list[Path] | None, typer.Option("--news", help=_FILES_HELP.format("headlines"))]
Fundamentals = Annotated[list[Path] | None, typer.Option("--fundamentals", help=_FILES_HELP.format("company filings"))]
Reference = Annotated[
    list[Path] | None, typer.Option("--reference-data", help=_FILES_HELP.format("corporate actions and exchange rates"))
]
Quotes = Annotated[list[Path] | None, typer.Option("--quotes", help=_FILES_HELP.format("quotes (bid and ask)"))]
Workers = Annotated[
    int, typer.Option(min=1, help="Number of worker threads. One is fastest; the result does not depend on it.")
]
Batch = Annotated[int, typer.Option(min=1, help="Time slices per batch. The result does not depend on it.")]


def register(app: typer.Typer) -> None:
    app.command("backtest", help="Run the strategies over bar files, without any service.")(backtest)


def backtest(
    bars: Bars,
    more_bars: MoreBars = None,
    news: News = None,
    fundamentals: Fundamentals = None,
    reference_data: Reference = None,
    quotes: Quotes = None,
    settings: SettingsFile = None,
    json_target: JsonTarget = None,
    report: ReportFile = None,
    workers: Workers = 1,
    batch: Batch = 256,
) -> None:
    from configs.settings import load_settings
    from dataflows.backtest import run
    from dataflows.research.report import render_html, write_json

    # The shell expands `--bars *.csv` into several words. The option takes the first, `more_bars` the others.
    paths = [*bars, *(more_bars or [])]
    input_files = {"quotes": quotes, "reference_data": reference_data, "news": news, "fundamentals": fundamentals}
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=Console(stderr=True)
    )
    with progress if progress.console.is_terminal else nullcontext():
        performance, summary = run(
            load_settings(settings).with_files({kind: files or () for kind, files in input_files.items()}),
            paths,
            workers=workers,
            batch_slices=batch,
            progress=_progress_callback(progress),
        )
    if json_target is not None:
        write_json(summary, json_target)
    if report is not None:
        report.write_text(render_html(performance, summary, f"Backtest of {', '.join(path.name for path in paths)}"))
    if json_target != "-":
        _print(summary)
        if report is not None:
            print(f"report: {report}")


def _progress_callback(progress: Progress) -> Any:
    task = progress.add_task("reading bars", total=1.0)

    def update(performance: "Performance", share: float) -> None:
        counts = performance.counts
        description = f"{counts['bars']:,} bars, {counts['orders']:,} orders, {counts['fills']:,} fills"
        progress.update(task, completed=share, description=description)

    return update


def _print(summary: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    for name, value in summary.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    Console(width=120).print(table)
