"""Convert snapshots that earlier releases of the risk stage wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from operators.money import ZERO

SNAPSHOT_VERSION = 8
_OLDER_VERSIONS = (4, 5, 6, 7)


def current_state(version: int, state: Sequence[Any], *, no_actions: Any, no_ended_orders: Any) -> list[Any]:
    """Return the state of a snapshot, without its version, as version 8 has it.

    Version 4 contains no corporate actions (then `no_actions`), no lag and no amendment rate, version 5 no cash
    transfers, version 6 no ended orders (then `no_ended_orders`), version 7 no present terms of the open orders.
    """
    assert version in (*_OLDER_VERSIONS, SNAPSHOT_VERSION), (
        f"risk snapshot: version {version}, expected {_OLDER_VERSIONS[0]} to {SNAPSHOT_VERSION}"
    )
    state = list(state)
    if version == 4:
        counts, book, history, breakers, meters, *rest = state
        state = [counts, (*book, []), (*history, []), breakers, (*meters, None), no_actions, *rest]
    if version < 7:
        state.append(no_ended_orders)
    if version < 6:
        counts, book, *rest = state
        day_start_equity = book[4]
        state = [counts, (*book, (day_start_equity, ZERO)), *rest]
    if version < SNAPSHOT_VERSION:
        counts, book, *rest = state
        state = [counts, (*book, None), *rest]
    return state
