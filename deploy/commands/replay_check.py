"""`replay-check`: replay the recorded inputs through the stages, and compare with the recorded outputs."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.name_arguments import unknown_name
from deploy.recovery.trust_source import TrustSource, source_of_recording
from deploy.time_arguments import format_ns, parse_time_ns
from schemas.errors import BadInput

if TYPE_CHECKING:
    from rich.status import Status

    from configs.settings import Settings
    from dataflows.replay.checkpoint_states import CheckpointState
    from dataflows.replay.comparison import Progress, ReplayComparison, ReplayWindow
    from dataflows.replay.differences import Difference
    from dataflows.replay.recorded_source import RecordedSource
    from deploy.home import Home

From = Annotated[
    str | None, typer.Option("--from", help="Compare from this event time on (default: from the beginning).")
]
To = Annotated[str | None, typer.Option("--to", help="Compare up to this event time (default: to the end).")]
Portfolio = Annotated[str, typer.Option(help="Portfolio whose decisions to compare.")]
FromStart = Annotated[
    bool, typer.Option("--from-start", help="Replay the topics from their beginning, without a checkpoint.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

DEFAULT_PORTFOLIO = "default_portfolio"
"""Name of the only portfolio: the platform trades one account."""


def register(app: typer.Typer) -> None:
    app.command("replay-check", help="Replay the recorded topics and compare with the recorded decisions.")(
        replay_check
    )


def replay_check(
    since: From = None,
    to: To = None,
    portfolio: Portfolio = DEFAULT_PORTFOLIO,
    trust_source: TrustSource = False,
    from_start: FromStart = False,
    as_json: AsJson = False,
) -> None:
    from dataflows.replay.comparison import ReplayWindow

    if portfolio != DEFAULT_PORTFOLIO:
        raise BadInput(unknown_name("portfolio", portfolio, [DEFAULT_PORTFOLIO]))
    window = ReplayWindow(parse_time_ns("--from", since), parse_time_ns("--to", to))
    comparison = run_replay_check(window, from_start=from_start, trust_source=trust_source)
    print(comparison_as_json(comparison) if as_json else comparison_as_text(comparison))
    raise typer.Exit(0 if comparison.agrees else 1)


def run_replay_check(window: ReplayWindow, *, from_start: bool = False, trust_source: bool = False) -> ReplayComparison:
    """Replay the platform in PLATFORM_HOME. Raises DeployError if its topics cannot be read or hold no time slice, and
    BadInput if a strategy or indicator file has changed and its recorded source code must not run.

    The replay begins at the newest checkpoint before the window. Without one, without a beginning of the window or with
    `from_start`, it begins with the topics.
    """
    from deploy.checkpoints.selection import newest_checkpoint
    from deploy.recovery.recorded_topics import recorded_settings
    from schemas.errors import Unavailable

    console, home = Console(stderr=True), home_from_environment()
    with (
        console.status("replaying") as status,
        source_of_recording(home, trust_source) as source,
        recorded_settings(home, status.update) as settings,
    ):
        status.update("replaying")
        try:
            start = None
            if window.from_ns is not None and not from_start:
                # Strictly before the window, so that its first time slice is compared.
                start = newest_checkpoint(
                    home, settings, window.from_ns - 1, lambda text: print(text, file=sys.stderr), source
                )
            comparison = _replay_and_compare(home, settings, source, start, window, show_progress(status))
        except Unavailable as error:
            raise DeployError(str(error)) from error
    if not comparison.ticks and comparison.difference is None:
        raise DeployError("nothing to compare: no time slice in this window is recorded in every topic")
    return comparison


def _replay_and_compare(
    home: Home,
    settings: Settings,
    source: RecordedSource,
    start: CheckpointState | None,
    window: ReplayWindow,
    progress: Progress,
) -> ReplayComparison:
    from dataflows.replay.checkpoint_replay import compare_from_checkpoint, open_replay
    from dataflows.replay.comparison import compare
    from dataflows.replay.recording import open_recording
    from dataflows.runtime.live_endpoints import platform_version
    from deploy.checkpoints.selection import later_checkpoints, unreadable_after

    if start is None:
        with closing(open_recording(settings.kafka, "replay-check")) as runs:
            return compare(settings, runs, window, progress, source)
    with closing(open_replay(settings, start, source)) as replay:
        later = later_checkpoints(home, start.slice_ns, platform_version())
        comparison = compare_from_checkpoint(replay, start, later, window, progress)
    unreadable = unreadable_after(home, start.checkpoint_id)
    return comparison._replace(damaged=(*comparison.damaged, *unreadable))


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
    if comparison.from_checkpoint:
        lines.insert(1, f"started at {comparison.from_checkpoint}")
    lines += [f"the state equals {checkpoint}" for checkpoint in comparison.checkpoints if not comparison.difference]
    lines += [f"NOT COMPARED: {sentence}" for sentence in comparison.damaged]
    if comparison.difference is None:
        return "\n".join([*lines, f"decision hash {comparison.decision_hash}", "the replay equals the recording"])
    return "\n".join([*lines, *_difference_lines(comparison.difference)])


def _difference_lines(difference: Difference) -> list[str]:
    at = format_ns(difference.ts_ns)
    if difference.state:
        return [f"FIRST DIFFERENCE at {at}: {difference.state}"]
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
