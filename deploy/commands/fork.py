"""`fork`: replay the recorded inputs with other settings from a given time on, and compare the results."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.assignments import parse_assignments
from deploy.errors import DeployError
from deploy.home import home_from_environment
from deploy.recovery.trust_source import TrustSource, source_of_recording
from deploy.time_arguments import format_ns, parse_time_ns
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from dataflows.replay.fork import ForkComparison, ForkOutcome

At = Annotated[str, typer.Option(help="Event time from which the changed settings apply.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Setting to change, such as risk_manager.max_daily_loss=5000. Can be repeated."),
]
StrategyOptions = Annotated[
    list[str] | None,
    typer.Option(
        help="Strategy to run instead of the current ones: NAME or FILE.py:Class, optionally with JSON parameters."
    ),
]
FromStart = Annotated[
    bool, typer.Option("--from-start", help="Replay the recording from its beginning, without a checkpoint.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

DECISION_SECTIONS = ("instruments", "features", "signals", "portfolio_manager", "risk_manager", "execution")
"""Sections of the settings that change decisions. The other sections hold addresses and files."""


def register(app: typer.Typer) -> None:
    app.command(
        "fork",
        help="Replay the recording with other settings, and compare the decisions. Does not affect live trading.",
    )(fork_recording)


def fork_recording(
    at: At,
    set_: Set = None,
    strategy: StrategyOptions = None,
    trust_source: TrustSource = False,
    from_start: FromStart = False,
    as_json: AsJson = False,
) -> None:
    from configs.configuration_changes import with_overrides
    from configs.strategies import configured_strategies
    from dataflows.replay.settings_change import SettingsChange
    from deploy.checkpoints.recorded_fork import fork_recorded
    from deploy.recovery.recorded_topics import platform_settings, recorded_settings
    from schemas.errors import Unavailable

    at_ns = parse_time_ns("--at", at)
    assert at_ns is not None, "typer requires --at"
    changes = overrides(set_ or [], strategy or [])
    home = home_from_environment()
    after = with_overrides(platform_settings(home, {}), changes)
    configured_strategies(after)  # report invalid settings before Kafka starts
    console = Console(stderr=True)
    with (
        console.status("replaying") as status,
        source_of_recording(home, trust_source) as source,
        recorded_settings(home, status.update) as before,
    ):
        try:
            forked = fork_recorded(
                home,
                before,
                SettingsChange(after, at_ns),
                source,
                reader="fork",
                from_start=from_start,
                skipped=lambda text: print(text, file=sys.stderr),
                progress=lambda slice_count: status.update(f"{slice_count:,} time slices replayed"),
            )
        except Unavailable as error:
            raise DeployError(str(error)) from error
    if forked.difference is not None:
        raise DeployError(
            f"the recording does not replay up to --at: first difference at {format_ns(forked.difference.ts_ns)} in "
            f"{forked.difference.place}; print it with `python cli.py replay-check`"
        )
    if not forked.ticks:
        raise DeployError(f"no recorded inputs at or after --at {format_ns(at_ns)}")
    if as_json:
        print(_as_json(forked))
    else:
        _print(forked)


def overrides(assignments: list[str], strategies: list[str]) -> dict[str, str]:
    """Return the --set and --strategy options as JSON by setting. Raises BadInput if malformed.

    >>> overrides(["risk_manager.max_daily_loss=5000"], [])
    {'risk_manager.max_daily_loss': '5000'}
    """
    if not assignments and not strategies:
        raise BadInput("fork needs at least one --set SECTION.KEY=VALUE or --strategy NAME")
    for text in assignments:
        setting, equals, _ = text.partition("=")
        section, dot, _ = setting.strip().partition(".")
        if not equals or not dot or section not in DECISION_SECTIONS:
            suggestion = "" if section in DECISION_SECTIONS else did_you_mean(section, DECISION_SECTIONS)
            sections = ", ".join(DECISION_SECTIONS)
            raise BadInput(f"--set must be SECTION.KEY=VALUE with a section of {sections}, found {text!r}{suggestion}")
    changes = parse_assignments(assignments)
    if strategies:
        changes["signals.strategies"] = json.dumps([_strategy(text) for text in strategies])
    return changes


def _strategy(text: str) -> dict[str, Any]:
    name, _, parameters = text.strip().partition(" ")
    try:
        values = json.loads(parameters) if parameters.strip() else {}
    except json.JSONDecodeError as error:
        raise BadInput(f"--strategy {text!r}: the parameters must be JSON: {error}") from error
    return {"name": name, "parameters": values}


def _as_json(forked: ForkComparison) -> str:
    tree = forked._asdict() | {
        "happened": forked.happened._asdict(),
        "forked": forked.forked._asdict(),
        "apart": [divergence._asdict() for divergence in forked.divergences],
        "ticks_apart": forked.divergent_slices,
    }
    for name in ("difference", "divergences", "divergent_slices"):
        del tree[name]
    return json.dumps(tree, indent=2, default=str)


def _print(forked: ForkComparison) -> None:
    table = Table(box=None)
    for name in ("", "original", "forked", "difference"):
        table.add_column(name, justify="right" if name else "left")
    for name, happened_value, forked_value in _rows(forked.happened, forked.forked):
        table.add_row(
            name,
            _text(happened_value),
            _text(forked_value),
            _text(forked_value - happened_value) if forked_value != happened_value else "",
        )
    console = Console(width=120, highlight=False)
    console.print(f"{forked.ticks:,} time slices from {format_ns(forked.at_ns)} to {format_ns(forked.last_ns)}")
    if forked.from_checkpoint:
        console.print(f"started at {forked.from_checkpoint}")
    console.print(table)
    if not forked.divergent_slices:
        console.print("no differences: the same orders and rejections in every time slice")
        return
    console.print(f"{forked.divergent_slices:,} time slices with different orders or rejections; the first ones:")
    for divergence in forked.divergences:
        console.print(f"  {format_ns(divergence.ts_ns)}")
        for lines, label in ((divergence.only_happened, "original"), (divergence.only_forked, "forked  ")):
            for line in lines:
                console.print(f"    {label}  {line}", markup=False)


def _rows(happened: ForkOutcome, forked: ForkOutcome) -> list[tuple[str, Any, Any]]:
    """Return (name, original value, forked value) rows. A figure that is a dict has one row per key."""
    rows: list[tuple[str, Any, Any]] = []
    happened_values, forked_values = happened._asdict(), forked._asdict()
    for name in happened_values:
        happened_value, forked_value, title = happened_values[name], forked_values[name], _title(name)
        if isinstance(happened_value, dict):
            rows += [
                (f"{title} {key}", happened_value.get(key, 0), forked_value.get(key, 0))
                for key in sorted({**happened_value, **forked_value})
            ]
        else:
            rows.append((title, happened_value, forked_value))
    return rows


def _title(name: str) -> str:
    return "rejected by" if name == "refusals" else name.replace("_", " ")


def _text(value: Any) -> str:
    return f"{value.normalize():,f}" if isinstance(value, Decimal) else f"{value:,}"
