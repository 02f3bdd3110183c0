"""The order lifecycle: every path ends, and only the transitions in the table are possible."""

from itertools import product
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.order_lifecycle import (
    FINAL_STATES,
    TRANSITIONS,
    InvalidTransition,
    OrderEvent,
    OrderState,
    event_from_report,
    next_state,
)
from schemas.errors import InvalidField
from schemas.records import ExecType
from tests.builders import execution


def test_usual_lifecycle_leads_from_proposed_to_filled() -> None:
    state = OrderState.PROPOSED
    states = [state]
    for event in ("approve", "submit", "accept", "fill part", "fill part", "ask cancel", "fill"):
        state = next_state(state, OrderEvent(event))
        states.append(state)
    assert [s.value for s in states] == [
        "proposed",
        "approved",
        "submitted",
        "accepted",
        "partially filled",
        "partially filled",
        "cancel pending",
        "filled",
    ]


def test_the_table_has_a_row_for_every_state_and_the_final_ones_are_empty() -> None:
    assert set(TRANSITIONS) == set(OrderState)
    assert {s.value for s in FINAL_STATES} == {"refused", "filled", "cancelled", "replaced", "expired", "rejected"}


def test_every_state_is_reached_and_can_end() -> None:
    reached = {OrderState.PROPOSED}
    for _ in OrderState:
        reached |= {after for state in reached for after in TRANSITIONS[state].values()}
    assert reached == set(OrderState)
    ending = set(FINAL_STATES)
    for _ in OrderState:
        ending |= {state for state, events in TRANSITIONS.items() if ending & set(events.values())}
    assert ending == set(OrderState)


@pytest.mark.parametrize(
    ("state", "event"),
    [(s, e) for s, e in product(OrderState, OrderEvent) if e not in TRANSITIONS[s]],
    ids=lambda value: value.name,
)
def test_an_impossible_event_names_both_states(state: OrderState, event: OrderEvent) -> None:
    with pytest.raises(InvalidTransition) as error:
        next_state(state, event, order_id="ord-7")
    message = str(error.value)
    assert "ord-7" in message
    assert f"a {state.value} order cannot become" in message
    target = message.split("cannot become ")[1].split(" (event")[0]
    assert target in {s.value for s in OrderState}


@given(st.lists(st.sampled_from(OrderEvent), max_size=30))
def test_final_state_accepts_no_event(events: list[OrderEvent]) -> None:
    state = OrderState.PROPOSED
    for event in events:
        try:
            after = next_state(state, event)
        except InvalidTransition:
            continue
        assert state not in FINAL_STATES
        state = after


def test_a_trade_of_the_remaining_quantity_fills_and_a_smaller_one_fills_partially() -> None:
    full_fill = execution(1, 1, "AAPL", 10, 100.0)
    assert event_from_report(full_fill) is OrderEvent.FILL
    assert event_from_report(full_fill._replace(leaves_quantity=full_fill.quantity)) is OrderEvent.PARTIAL_FILL
    assert event_from_report(full_fill._replace(exec_type="CANCELED")) is OrderEvent.CANCEL
    with pytest.raises(InvalidField, match=r"exec_type must be one of TRADE, NEW, .* found DONE"):
        event_from_report(full_fill._replace(exec_type=cast("ExecType", "DONE")))
