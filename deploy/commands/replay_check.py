"""`replay-check`: replay the recorded inputs through the stages, and compare with the recorded outputs."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.name_arguments import unknown_name
from deploy.time_arguments import format_ns, parse_time_ns
from schemas.errors import BadInput

if TYPE_CHECKING:
    from rich.status import Status

    from dataflows.replay.comparison import ReplayComparison, ReplayWindow
    from dataflows.replay.differences import Difference

From = Annotated[
    str | None, typer.Option("--from", help="Compare from this event time on (default: from the beginning).")
]
To = Annotated[str | None, typer.Option("--to", help="Compare up to this event time (default: to the end).")]
Portfolio = Annotated[str, typer.Option(help="Portfolio whose decisions to compare.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

DEFAULT_PORTFOLIO = "default_portfolio"
"""Name of the only portfolio: the platform trades one account."""


def register(app: typer.Typer) -> None:
    app.command("replay-check", help="Replay the recorded topics and compare with the recorded decisions.")(
        replay_check
    )


def replay_check(
    since: From = None, to: To = None, portfolio: Portfolio = DEFAULT_PORTFOLIO, as_json: AsJson = False
) -> None:
    from dataflows.replay.comparison import ReplayWindow

    if portfolio != DEFAULT_PORTFOLIO:
        raise BadInput(unknown_name("portfolio", portfolio, [DEFAULT_PORTFOLIO]))
    window = ReplayWindow(parse_time_ns("--from", since), parse_time_ns("--to", to))
    comparison = run_replay_check(window)
    print(comparison_as_json(comparison) if as_json else comparison_as_text(comparison))
    raise typer.Exit(0 if comparison.difference is None else 1)


def run_replay_check(window: ReplayWindow) -> ReplayComparison:
    """Replay the platform in PLATFORM_HOME. Raises DeployError if its topics cannot be read or hold no time slice."""
    from dataflows.replay.comparison import compare
    from dataflows.replay.recording import open_recording
    from deploy.recovery.recorded_topics import recorded_settings
    from schemas.errors import Unavailable

    console = Console(stderr=True)
    with console.status("replaying") as status, recorded_settings(home_from_environment(), status.update) as settings:
        status.update("replaying")
        try:
            with closing(open_recording(settings.kafka, "replay-check")) as runs:
                comparison = compare(settings, runs, window, show_progress(status))
        except Unavailable as error:
            raise DeployError(str(error)) from error
    if not comparison.ticks and comparison.difference is None:
        raise DeployError("nothing to compare: no time slice in this window is recorded in every topic")
    return comparison


def show_progress(status: Status) -> Any:
    def show(comparison: ReplayComparison) -> None:
        status.update(f"{comparison.ticks:,} time slices equal, up to {format_ns(comparison.last_ns)}")

    return show


def comparison_as_json(comparison: ReplayComparison) -> str:
    from schemas.records.flat import to_flat_dict

    difference = comparison.difference
    document = comparison._asdict() | {"equal": difference is None}
    if difference is not None:
        document["difference"] = difference._asdict() | {
            "name": difference.name,
            "causes": difference.causes,
            "recorded": None if difference.recorded is None else to_flat_dict(difference.recorded),
            "replayed": None if difference.replayed is None else to_flat_dict(difference.replayed),
            "instead": None if difference.instead is None else to_flat_dict(difference.instead),
            "fields": [field._asdict() for field in difference.fields],
        }
    return json.dumps(document, indent=2, default=str)


def comparison_as_text(comparison: ReplayComparison) -> str:
    inputs = ", ".join(f"{count:,} {name}" for name, count in comparison.given.items())
    lines = [f"replayed {comparison.ticks:,} time slices" + (f" ({inputs})" if inputs else "")]
    if comparison.ticks:
        lines[0] += f" from {format_ns(comparison.first_ns)} to {format_ns(comparison.last_ns)}"
    lines += [f"  {name:14} {count:>9,}  equal" for name, count in comparison.records.items()]
    if comparison.difference is None:
        return "\n".join([*lines, f"decision hash {comparison.decision_hash}", "the replay equals the recording"])
    return "\n".join([*lines, *_difference_lines(comparison.difference)])


def _difference_lines(difference: Difference) -> list[str]:
    at = format_ns(difference.ts_ns)
    if difference.missing_tick:
        return [f"FIRST DIFFERENCE at {at}: this time slice is {difference.missing_tick}"]
    lines = [f"FIRST DIFFERENCE at {at} in topic {difference.topic}: {difference.name}"]
    if difference.recorded is None:
        lines.append(f"  replayed but not recorded: {difference.replayed}")
    elif difference.replayed is None:
        lines.append(f"  recorded but not replayed: {difference.recorded}")
    if difference.instead is not None:
        lines.append(f"  in its place: {difference.instead}")
    for field, recorded, replayed in difference.fields:
        lines += [f"  {field}", f"    recorded  {recorded}", f"    replayed  {replayed}"]
    return [*lines, f"  causes: {', '.join(difference.causes) or 'none recorded'}"]
