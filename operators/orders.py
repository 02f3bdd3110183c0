"""An order's life as one transition table: which event may follow in which state, and where it leads.

    proposed ──refuse──▶ refused
       └────approve──▶ approved ──submit──▶ submitted ──accept──▶ accepted ⇄ cancel pending
                                                                      │
                              partially filled · filled · cancelled · replaced · expired · rejected

From `accepted` on the states are those of FIX tag 39 (OrdStatus); before that they are the platform's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from schemas.errors import InvalidField
from schemas.records import CANCELED, EXPIRED, NEW, REJECTED, REPLACED, TRADE, Execution


class OrderState(StrEnum):
    """Where an order stands. The value is how a person reads it."""

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
    FILL_PART = "fill part"
    FILL = "fill"
    ASK_CANCEL = "ask cancel"
    REFUSE_CANCEL = "refuse cancel"
    CANCEL = "cancel"
    REPLACE = "replace"
    EXPIRE = "expire"
    REJECT = "reject"


class ImpossibleEvent(InvalidField):
    """An event that the order's state does not allow; the message names its state and the one it would enter."""


_S, _E = OrderState, OrderEvent
# What ends an order that a venue has, or may have: it can happen in every state from submitted on. A fill may overtake
# the acknowledgement (brokers deliver both on different paths), so `submitted` can be filled too.
_AT_VENUE = {
    _E.FILL_PART: _S.PARTIALLY_FILLED,
    _E.FILL: _S.FILLED,
    _E.ASK_CANCEL: _S.CANCEL_PENDING,
    _E.CANCEL: _S.CANCELLED,
    _E.REPLACE: _S.REPLACED,
    _E.EXPIRE: _S.EXPIRED,
    _E.REJECT: _S.REJECTED,
}

TRANSITIONS: Mapping[OrderState, Mapping[OrderEvent, OrderState]] = {
    _S.PROPOSED: {_E.REFUSE: _S.REFUSED, _E.APPROVE: _S.APPROVED},
    # Approved and not yet sent: a fence or a person can still take it back.
    _S.APPROVED: {_E.SUBMIT: _S.SUBMITTED, _E.CANCEL: _S.CANCELLED, _E.REJECT: _S.REJECTED, _E.EXPIRE: _S.EXPIRED},
    _S.SUBMITTED: {_E.ACCEPT: _S.ACCEPTED, **_AT_VENUE},
    _S.ACCEPTED: _AT_VENUE,
    _S.PARTIALLY_FILLED: {event: state for event, state in _AT_VENUE.items() if event is not _E.REJECT},
    # A fill can overtake the cancel; the order goes on waiting for the answer. A refused cancel leads back to
    # `accepted`: what was filled by then is the execution's cumulative quantity, not a matter of the state.
    _S.CANCEL_PENDING: {
        **_AT_VENUE,
        _E.ACCEPT: _S.CANCEL_PENDING,
        _E.ASK_CANCEL: _S.CANCEL_PENDING,
        _E.FILL_PART: _S.CANCEL_PENDING,
        _E.REFUSE_CANCEL: _S.ACCEPTED,
    },
    _S.REFUSED: {},
    _S.FILLED: {},
    _S.CANCELLED: {},
    _S.REPLACED: {},
    _S.EXPIRED: {},
    _S.REJECTED: {},
}

_USUAL_TARGET: Mapping[OrderEvent, OrderState] = {
    _E.REFUSE: _S.REFUSED,
    _E.APPROVE: _S.APPROVED,
    _E.SUBMIT: _S.SUBMITTED,
    _E.ACCEPT: _S.ACCEPTED,
    _E.REFUSE_CANCEL: _S.ACCEPTED,
    **_AT_VENUE,
}

FINAL: frozenset[OrderState] = frozenset(state for state, events in TRANSITIONS.items() if not events)
"""States that nothing follows on: the order has ended."""


def follow(state: OrderState, event: OrderEvent, *, order_id: str = "") -> OrderState:
    """The state after `event`. Raises `ImpossibleEvent`, naming both states, where the table has no such step.

    >>> follow(OrderState.ACCEPTED, OrderEvent.FILL)
    <OrderState.FILLED: 'filled'>
    >>> follow(OrderState.FILLED, OrderEvent.CANCEL, order_id="ord-7")
    Traceback (most recent call last):
    operators.orders.ImpossibleEvent: order ord-7: a filled order cannot become cancelled (event "cancel")
    """
    after = TRANSITIONS[state].get(event)
    if after is None:
        target = _USUAL_TARGET[event].value
        raise ImpossibleEvent(f'order {order_id or "?"}: a {state} order cannot become {target} (event "{event}")')
    return after


_EVENT_OF_REPORT = {
    NEW: OrderEvent.ACCEPT,
    CANCELED: OrderEvent.CANCEL,
    REPLACED: OrderEvent.REPLACE,
    EXPIRED: OrderEvent.EXPIRE,
    REJECTED: OrderEvent.REJECT,
}


def event_of(execution: Execution) -> OrderEvent:
    """What an execution report means for its order. Raises `InvalidField` for an unknown `exec_type`."""
    if execution.exec_type == TRADE:
        return OrderEvent.FILL if execution.leaves_quantity == 0 else OrderEvent.FILL_PART
    event = _EVENT_OF_REPORT.get(execution.exec_type)
    if event is None:
        known = ", ".join([TRADE, *_EVENT_OF_REPORT])
        raise InvalidField(
            f"execution {execution.execution_id}: exec_type must be one of {known}, found {execution.exec_type}"
        )
    return event
