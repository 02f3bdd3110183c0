"""The result of a preview: a fork of the recording with a changed configuration, as JSON values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dataflows.replay.fork import ForkComparison, ForkOutcome
from operators.money import plain
from schemas.errors import BadInput


def preview_tree(forked: ForkComparison) -> dict[str, Any]:
    """Return the result. Raises BadInput if the recording does not replay, or if it ends before the change."""
    if forked.difference is not None:
        raise BadInput(
            f"the recording does not replay: the first difference is at {_utc(forked.difference.ts_ns)} in "
            f"{forked.difference.place}; print it with `python cli.py replay-check`"
        )
    if not forked.ticks:
        raise BadInput(f"the recording has no time slices at or after {_utc(forked.at_ns)}")
    return {
        "since_ns": forked.at_ns,
        "until_ns": forked.last_ns,
        "time_slices": forked.ticks,
        "configurations": forked.configurations,
        "from_checkpoint": forked.from_checkpoint,
        "recorded": _side(forked.happened),
        "changed": _side(forked.forked),
        "differing_time_slices": forked.divergent_slices,
        "differences": [
            {"ts_ns": one.ts_ns, "recorded": list(one.only_happened), "changed": list(one.only_forked)}
            for one in forked.divergences
        ],
    }


def _side(outcome: ForkOutcome) -> dict[str, Any]:
    return {
        "orders": outcome.orders,
        "rejections": outcome.refusals,
        "fills": outcome.fills,
        "traded_quantity": plain(outcome.traded_quantity),
        "realized_pnl": plain(outcome.realized_pnl),
        "unrealized_pnl": plain(outcome.unrealized_pnl),
        "fees": plain(outcome.fees),
        "equity": plain(outcome.equity),
        "max_drawdown": plain(outcome.max_drawdown),
    }


def _utc(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
