"""`fork`: the recorded inputs under other settings from some moment on, and how that differs from what happened."""

from __future__ import annotations

import json
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.time_arguments import nanoseconds, written
from schemas.errors import BadInput

if TYPE_CHECKING:
    from dataflows.replay.fork import Forked, Outcome

At = Annotated[str, typer.Option(help="Event time from which the other settings hold.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting, as risk_manager.max_daily_loss=5000.")]
Strategy = Annotated[
    list[str] | None,
    typer.Option(help="""Run these strategies instead: a name or file.py:Class, then parameters as JSON."""),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

DECIDING = ("instruments", "features", "signals", "portfolio_manager", "risk_manager", "execution")
"""Sections of the settings that change decisions; the others only say where things are."""


def register(app: typer.Typer) -> None:
    app.command("fork", help="What would have happened under other settings; touches nothing live.")(fork_recording)


def fork_recording(at: At, set_: Set = None, strategy: Strategy = None, as_json: AsJson = False) -> None:
    from dataflows.replay.fork import fork
    from dataflows.replay.recording import recording
    from deploy.recovery.recorded_topics import recorded_settings, settings_of
    from schemas.errors import Unavailable

    at_ns = nanoseconds("--at", at)
    assert at_ns is not None, "typer requires --at"
    changes = changed(set_ or [], strategy or [])
    home = home_from_environment()
    settings_of(home, changes)  # what is wrong with them is said before Kafka starts
    console = Console(stderr=True)
    with console.status("replaying") as status, recorded_settings(home, status.update) as before:
        after = settings_of(home, changes)
        try:
            with closing(recording(before.kafka, "fork")) as runs:
                forked = fork(before, after, runs, at_ns, lambda ticks: status.update(f"{ticks:,} ticks forked"))
        except Unavailable as error:
            raise DeployError(str(error)) from error
    if forked.difference is not None:
        raise DeployError(
            f"the recording does not replay up to --at: it differs at {written(forked.difference.ts_ns)} in "
            f"{forked.difference.topic} {forked.difference.name}; `python cli.py replay-check` says how"
        )
    if not forked.ticks:
        raise DeployError(f"nothing is recorded at or after {written(at_ns)}")
    if as_json:
        print(_as_json(forked))
    else:
        _print(forked)


def changed(sets: list[str], strategies: list[str]) -> dict[str, str]:
    """Both kinds of options as environment variables of the settings. Raises BadInput.

    >>> changed(["risk_manager.max_daily_loss=5000"], [])
    {'RISK_MANAGER__MAX_DAILY_LOSS': '5000'}
    """
    from configs.settings import NAMED

    if not sets and not strategies:
        raise BadInput("fork needs at least one --set SECTION.KEY=VALUE or --strategy NAME")
    named = {path: name for name, path in NAMED.items()}
    told: dict[str, str] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or len(path) < 2 or path[0] not in DECIDING:
            raise BadInput(f"--set takes SECTION.KEY=VALUE with a section of {', '.join(DECIDING)}, found {text!r}")
        told["__".join(path).upper()] = value.strip()
        if path in named:
            told[named[path]] = value.strip()  # it would win over the nested name
    if strategies:
        told["SIGNALS__STRATEGIES"] = json.dumps([_strategy(text) for text in strategies])
    return told


def _strategy(text: str) -> dict[str, Any]:
    name, _, parameters = text.strip().partition(" ")
    try:
        values = json.loads(parameters) if parameters.strip() else {}
    except json.JSONDecodeError as error:
        raise BadInput(f"--strategy {text!r}: the parameters must be JSON: {error}") from error
    return {"name": name, "parameters": values}


def _as_json(forked: Forked) -> str:
    tree = forked._asdict() | {
        "happened": forked.happened._asdict(),
        "forked": forked.forked._asdict(),
        "apart": [apart._asdict() for apart in forked.apart],
    }
    del tree["difference"]
    return json.dumps(tree, indent=2, default=str)


def _print(forked: Forked) -> None:
    table = Table(box=None)
    for name in ("", "happened", "forked", "difference"):
        table.add_column(name, justify="right" if name else "left")
    for name, was, now in _rows(forked.happened, forked.forked):
        table.add_row(name, _text(was), _text(now), _text(now - was) if now != was else "")
    console = Console(width=120, highlight=False)
    console.print(f"{forked.ticks:,} ticks from {written(forked.at_ns)} to {written(forked.last_ns)}")
    console.print(table)
    if not forked.ticks_apart:
        console.print("the same orders and refusals at every tick")
        return
    console.print(f"{forked.ticks_apart:,} ticks with other orders or refusals; the first of them:")
    for apart in forked.apart:
        console.print(f"  {written(apart.ts_ns)}")
        for lines, word in ((apart.only_happened, "happened"), (apart.only_forked, "forked  ")):
            for line in lines:
                console.print(f"    {word}  {line}", markup=False)


def _rows(happened: Outcome, forked: Outcome) -> list[tuple[str, Any, Any]]:
    """Name and value of both sides; what is counted by a key has a row a key."""
    rows: list[tuple[str, Any, Any]] = []
    then, would = happened._asdict(), forked._asdict()
    for name in then:
        was, now, title = then[name], would[name], name.replace("_", " ")
        if isinstance(was, dict):
            rows += [(f"{title} {key}", was.get(key, 0), now.get(key, 0)) for key in sorted({**was, **now})]
        else:
            rows.append((title, was, now))
    return rows


def _text(value: Any) -> str:
    return f"{value.normalize():,f}" if isinstance(value, Decimal) else f"{value:,}"
