"""The life cycle of an order as one transition table: the allowed events in each state, and the next state.

    proposed ──refuse──▶ refused
       └────approve──▶ approved ──submit──▶ submitted ──accept──▶ accepted ⇄ cancel pending
                                                                      │
                              partially filled · filled · cancelled · replaced · expired · rejected

From `accepted` on the states are those of FIX tag 39 (OrdStatus); before that they are the platform's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from schemas.errors import InvalidField
from schemas.records import CANCELED, EXPIRED, NEW, REJECTED, REPLACED, TRADE, ExecType, Execution


class OrderState(StrEnum):
    """State of an order. The value is the text shown to users."""

    PROPOSED = "proposed"
    REFUSED = "refused"
    APPROVED = "approved"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially filled"
    FILLED = "filled"
    CANCEL_PENDING = "cancel pending"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    EXPIRED = "expired"
    REJECTED = "rejected"


class OrderEvent(StrEnum):
    """What can happen to an order."""

    REFUSE = "refuse"
    APPROVE = "approve"
    SUBMIT = "submit"
    ACCEPT = "accept"
    PARTIAL_FILL = "fill part"
    FILL = "fill"
    REQUEST_CANCEL = "ask cancel"
    REJECT_CANCEL = "refuse cancel"
    CANCEL = "cancel"
    REPLACE = "replace"
    EXPIRE = "expire"
    REJECT = "reject"


class InvalidTransition(InvalidField):
    """An event that is not allowed in the order's state. The message contains both states."""


_S, _E = OrderState, OrderEvent
# Events of an order that the venue has or may have. They are allowed in every state from `submitted` on. A fill can
# arrive before the acknowledgement (brokers deliver them on different paths), so `submitted` can be filled too.
_AT_VENUE = {
    _E.PARTIAL_FILL: _S.PARTIALLY_FILLED,
    _E.FILL: _S.FILLED,
    _E.REQUEST_CANCEL: _S.CANCEL_PENDING,
    _E.CANCEL: _S.CANCELLED,
    _E.REPLACE: _S.REPLACED,
    _E.EXPIRE: _S.EXPIRED,
    _E.REJECT: _S.REJECTED,
}

TRANSITIONS: Mapping[OrderState, Mapping[OrderEvent, OrderState]] = {
    _S.PROPOSED: {_E.REFUSE: _S.REFUSED, _E.APPROVE: _S.APPROVED},
    # Approved and not sent yet: a fence or a user can still cancel it.
    _S.APPROVED: {_E.SUBMIT: _S.SUBMITTED, _E.CANCEL: _S.CANCELLED, _E.REJECT: _S.REJECTED, _E.EXPIRE: _S.EXPIRED},
    _S.SUBMITTED: {_E.ACCEPT: _S.ACCEPTED, **_AT_VENUE},
    _S.ACCEPTED: _AT_VENUE,
    _S.PARTIALLY_FILLED: {event: state for event, state in _AT_VENUE.items() if event is not _E.REJECT},
    # A fill can arrive before the response to the cancel; the order stays `cancel pending`. A rejected cancel leads
    # back to `accepted`. The filled quantity is in the execution's cumulative quantity, not in the state.
    _S.CANCEL_PENDING: {
        **_AT_VENUE,
        _E.ACCEPT: _S.CANCEL_PENDING,
        _E.REQUEST_CANCEL: _S.CANCEL_PENDING,
        _E.PARTIAL_FILL: _S.CANCEL_PENDING,
        _E.REJECT_CANCEL: _S.ACCEPTED,
    },
    _S.REFUSED: {},
    _S.FILLED: {},
    _S.CANCELLED: {},
    _S.REPLACED: {},
    _S.EXPIRED: {},
    _S.REJECTED: {},
}

_TARGET_STATE: Mapping[OrderEvent, OrderState] = {
    _E.REFUSE: _S.REFUSED,
    _E.APPROVE: _S.APPROVED,
    _E.SUBMIT: _S.SUBMITTED,
    _E.ACCEPT: _S.ACCEPTED,
    _E.REJECT_CANCEL: _S.ACCEPTED,
    **_AT_VENUE,
}

FINAL_STATES: frozenset[OrderState] = frozenset(state for state, events in TRANSITIONS.items() if not events)
"""States without allowed events: the order has ended."""


def next_state(state: OrderState, event: OrderEvent, *, order_id: str = "") -> OrderState:
    """Return the state after `event`. Raises `InvalidTransition` if the event is not allowed in `state`.

    >>> next_state(OrderState.ACCEPTED, OrderEvent.FILL)
    <OrderState.FILLED: 'filled'>
    >>> next_state(OrderState.FILLED, OrderEvent.CANCEL, order_id="ord-7")
    Traceback (most recent call last):
    operators.order_lifecycle.InvalidTransition: order ord-7: a filled order cannot become cancelled (event "cancel")
    """
    successor = TRANSITIONS[state].get(event)
    if successor is None:
        target_state = _TARGET_STATE[event].value
        raise InvalidTransition(
            f'order {order_id or "?"}: a {state} order cannot become {target_state} (event "{event}")'
        )
    return successor


EVENT_OF_EXEC_TYPE: dict[ExecType, OrderEvent] = {
    NEW: OrderEvent.ACCEPT,
    CANCELED: OrderEvent.CANCEL,
    REPLACED: OrderEvent.REPLACE,
    EXPIRED: OrderEvent.EXPIRE,
    REJECTED: OrderEvent.REJECT,
}
"""The events of the reports without a fill."""


def event_from_report(execution: Execution) -> OrderEvent:
    """Return the order event of an execution report. Raises `InvalidField` for an unknown `exec_type`."""
    if execution.exec_type == TRADE:
        return OrderEvent.FILL if execution.leaves_quantity == 0 else OrderEvent.PARTIAL_FILL
    event = EVENT_OF_EXEC_TYPE.get(execution.exec_type)
    if event is None:
        exec_types = ", ".join([TRADE, *EVENT_OF_EXEC_TYPE])
        raise InvalidField(
            f"execution {execution.execution_id}: exec_type must be one of {exec_types}, found {execution.exec_type}"
        )
    return event


def state_of(reports: Sequence[Execution]) -> OrderState:
    """Return the state of an approved order after these reports. `reports` are in order of `seq`."""
    state = OrderState.APPROVED
    for report in reports:
        if state is OrderState.APPROVED:
            state = OrderState.SUBMITTED  # a report proves that the order was sent
        if state in FINAL_STATES:
            break  # a second final report of the same order changes nothing
        state = next_state(state, event_from_report(report), order_id=report.order_id)
    return state
