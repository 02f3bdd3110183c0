"""`config set --preview`: print what would have differed with changed settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from deploy.errors import DeployError
from deploy.home import Home
from deploy.time_arguments import format_ns, parse_duration_ns, parse_time_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

_SIDE_ROWS = {
    "orders": "orders",
    "fills": "fills",
    "traded_quantity": "traded quantity",
    "realized_pnl": "realized P&L",
    "unrealized_pnl": "unrealized P&L at the end",
    "fees": "fees",
    "equity": "equity at the end",
    "max_drawdown": "largest drawdown",
}


def print_preview(
    home: Home, changes: Mapping[str, str | None], since: str, time_limit_s: float, *, from_start: bool, as_json: bool
) -> None:
    """Print the result of a preview. Raises DeployError, BadInput and Unavailable."""
    from api.preview_process import newest_ns, run_preview
    from api.problems import Conflict
    from configs.configuration_changes import require_live
    from deploy.commands.kill_switch import settings_of_services
    from deploy.open_tables import open_tables

    for setting, value in changes.items():
        if value is not None:
            require_live(setting)
    duration_ns = parse_duration_ns(since)
    if duration_ns is None:
        since_ns = parse_time_ns("--since", since) or 0
    else:
        with open_tables(home) as (_, db):
            since_ns = newest_ns(db) - duration_ns
    console = Console(stderr=True)
    try:
        with console.status("replaying the recording with the changed settings"):
            result = run_preview(
                settings_of_services(home),
                changes,
                since_ns,
                home=home.root,
                time_limit_s=time_limit_s,
                from_start=from_start,
            )
    except Conflict as error:
        raise DeployError(str(error)) from error
    if as_json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    console = Console(width=120, highlight=False)
    span = f"{format_ns(result['since_ns'])} to {format_ns(result['until_ns'])}"
    console.print(f"{result['time_slices']:,} time slices from {span}; nothing was changed")
    if result["from_checkpoint"]:
        console.print(f"started at {result['from_checkpoint']}")
    if result["configurations"]:
        console.print(
            f"{result['configurations']} configurations came into force in this period; the column `changed` has the "
            "changed settings throughout"
        )
    table = Table(box=None)
    for name in ("", "recorded", "changed"):
        table.add_column(name, justify="right" if name else "left")
    for name, label in _SIDE_ROWS.items():
        table.add_row(label, *(str(result[side][name]) for side in ("recorded", "changed")))
    recorded, changed = (result[side]["rejections"] for side in ("recorded", "changed"))
    for check in sorted({*recorded, *changed}):
        table.add_row(f"rejected by {check}", str(recorded.get(check, 0)), str(changed.get(check, 0)))
    console.print(table)
    if not result["differing_time_slices"]:
        console.print("no differences: the same orders and rejections in every time slice")
        return
    shown = result["differences"]
    console.print(f"{result['differing_time_slices']:,} time slices differ; the first {len(shown)}:")
    for one in shown:
        for side in ("recorded", "changed"):
            for line in one[side]:
                console.print(f"{format_ns(one['ts_ns'])}  only {side:<8}  {line}", soft_wrap=True, markup=False)
