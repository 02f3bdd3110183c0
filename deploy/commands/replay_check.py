"""`replay-check`: replays the recorded inputs through the stages and compares with what was recorded."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.time_arguments import nanoseconds, written
from schemas.errors import BadInput

if TYPE_CHECKING:
    from rich.status import Status

    from dataflows.replay.comparison import Compared, Window
    from dataflows.replay.differences import Difference

From = Annotated[str | None, typer.Option("--from", help="Compare from this event time on.")]
To = Annotated[str | None, typer.Option("--to", help="Compare up to this event time.")]
Portfolio = Annotated[str, typer.Option(help="The portfolio whose decisions are compared.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

PORTFOLIO = "default_portfolio"
"""The platform keeps the books of one account, under this name."""


def register(app: typer.Typer) -> None:
    app.command("replay-check", help="Replay the recorded topics and compare with what was decided then.")(replay_check)


def replay_check(since: From = None, to: To = None, portfolio: Portfolio = PORTFOLIO, as_json: AsJson = False) -> None:
    from dataflows.replay.comparison import Window

    if portfolio != PORTFOLIO:
        raise BadInput(f"--portfolio {portfolio}: there is no such portfolio; there is {PORTFOLIO}")
    window = Window(nanoseconds("--from", since), nanoseconds("--to", to))
    compared = check(window)
    print(_as_json(compared) if as_json else _as_text(compared))
    raise typer.Exit(0 if compared.difference is None else 1)


def check(window: Window) -> Compared:
    """Replay the platform in PLATFORM_HOME. Raises DeployError where its log cannot be read."""
    from dataflows.replay.comparison import compare
    from dataflows.replay.recording import recording
    from deploy.recovery.recorded_topics import recorded_settings
    from schemas.errors import Unavailable

    console = Console(stderr=True)
    with console.status("replaying") as status, recorded_settings(home_from_environment(), status.update) as settings:
        status.update("replaying")
        try:
            with closing(recording(settings.kafka, "replay-check")) as runs:
                compared = compare(settings, runs, window, _progress(status))
        except Unavailable as error:
            raise DeployError(str(error)) from error
    if not compared.ticks and compared.difference is None:
        raise DeployError("nothing to compare: no tick is recorded in all topics in that time")
    return compared


def _progress(status: Status) -> Any:
    def show(compared: Compared) -> None:
        status.update(f"{compared.ticks:,} ticks the same, up to {written(compared.last_ns)}")

    return show


def _as_json(compared: Compared) -> str:
    difference = compared.difference
    told = compared._asdict() | {"equal": difference is None}
    if difference is not None:
        told["difference"] = difference._asdict() | {
            "name": difference.name,
            "causes": difference.causes,
            "recorded": None if difference.recorded is None else difference.recorded._asdict(),
            "replayed": None if difference.replayed is None else difference.replayed._asdict(),
            "instead": None if difference.instead is None else difference.instead._asdict(),
            "fields": [field._asdict() for field in difference.fields],
        }
    return json.dumps(told, indent=2, default=str)


def _as_text(compared: Compared) -> str:
    given = ", ".join(f"{count:,} {name}" for name, count in compared.given.items())
    lines = [f"replayed {compared.ticks:,} ticks" + (f" ({given})" if given else "")]
    if compared.ticks:
        lines[0] += f" from {written(compared.first_ns)} to {written(compared.last_ns)}"
    lines += [f"  {name:14} {count:>9,}  the same" for name, count in compared.records.items()]
    if compared.difference is None:
        return "\n".join([*lines, f"decision hash {compared.decision_hash}", "the replay equals the recording"])
    return "\n".join([*lines, *_told(compared.difference)])


def _told(difference: Difference) -> list[str]:
    at = written(difference.ts_ns)
    if difference.missing_tick:
        return [f"FIRST DIFFERENCE at {at}: this tick is {difference.missing_tick}"]
    lines = [f"FIRST DIFFERENCE at {at} in topic {difference.topic}: {difference.name}"]
    if difference.recorded is None:
        lines.append(f"  replayed, but not recorded: {difference.replayed}")
    elif difference.replayed is None:
        lines.append(f"  recorded, but not replayed: {difference.recorded}")
    if difference.instead is not None:
        lines.append(f"  there instead: {difference.instead}")
    for field, recorded, replayed in difference.fields:
        lines += [f"  {field}", f"    recorded  {recorded}", f"    replayed  {replayed}"]
    return [*lines, f"  made from {', '.join(difference.causes) or 'nothing that it names'}"]
