"""The life of a trading strategy's orders: what it submits, and what it receives."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.records import (
    BUY,
    CANCELED,
    EXPIRED,
    NEW,
    REJECTED,
    REPLACED,
    SELL,
    TARGET_QUANTITY,
    TRADE,
    Order,
    Record,
)
from tests.builders import corporate_action, order, order_cancel, proposal, refusal, report
from tests.unit.trading_harness import Recording, Scripted, bars, minute, notes, run

FIRST = "ord-act-recording-1"


def approved(order_id: str, quantity: int = 10, **terms: Any) -> Order:
    return order(1, BUY, quantity, "KO", order_id=order_id, cause_id=order_id.removeprefix("ord-"), **terms)


def submitting(**terms: Any) -> Recording:
    """Return a strategy that submits one order for 10 shares in its first time slice."""
    return Recording(lambda ctx, number: ctx.submit("KO", BUY, 10, **terms) if number == 1 else None)


def received(*slices: list[Record], **terms: Any) -> list[str]:
    """Return what the strategy notes in the time slices after its order."""
    records = [bars(1, "KO"), *(slice_records + bars(number, "KO") for number, slice_records in enumerate(slices, 2))]
    return notes(run(submitting(**terms), records))


def test_a_filled_order_is_accepted_and_then_filled() -> None:
    entry = approved(FIRST)
    assert received([entry, report(1, entry, NEW), report(2, entry, TRADE, 10, 101)]) == [
        f"accepted submit {FIRST}",
        f"fill {FIRST} BUY 10 at 101, position 10",
    ]


def test_partial_fills_add_to_the_position() -> None:
    entry = approved(FIRST)
    first = report(2, entry, TRADE, 4, 101, remaining=6, filled=4)
    second = report(3, entry, TRADE, 6, 102, remaining=0, filled=10)
    assert received([entry, report(1, entry, NEW), first], [second])[1:] == [
        f"fill {FIRST} BUY 4 at 101, position 4",
        f"fill {FIRST} BUY 6 at 102, position 10",
    ]


@pytest.mark.parametrize(
    ("exec_type", "status"), [(CANCELED, "cancelled"), (EXPIRED, "expired"), (REJECTED, "rejected")]
)
def test_an_order_that_ends_without_a_fill_is_reported(exec_type: Any, status: str) -> None:
    entry = approved(FIRST)
    assert received([entry, report(1, entry, NEW)], [report(2, entry, exec_type)])[1:] == [f"{status} submit {FIRST}"]


def test_a_rejection_by_risk_has_check_limit_and_value() -> None:
    found: list[Any] = []

    class Rejected(Scripted):
        def on_order(self, ctx: Any, update: Any) -> None:
            found.append((update, ctx.orders()))

    strategy = Rejected(lambda ctx, number: ctx.submit("KO", BUY, 10, tag="entry") if number == 1 else None)
    rejection = refusal(
        1, minute(1), "KO", "max_position", cause_id="act-rejected-1", found="10", limit="5", message="no"
    )
    run(strategy, [bars(1, "KO"), [rejection, *bars(2, "KO")]])
    ((update, orders),) = found
    assert (update.order_id, update.symbol, update.status, update.request) == (
        "ord-act-rejected-1",
        "KO",
        "rejected",
        "submit",
    )
    assert (update.check, update.limit, update.value, update.reason, update.tag) == (
        "max_position",
        "5",
        "10",
        "no",
        "entry",
    )
    assert orders == [], "a rejected order does not work"


def open_orders(*slices: list[Record], act: Any) -> list[list[tuple[Any, ...]]]:
    """Return the working orders (id, quantity, filled, status) at the end of each time slice."""
    found: list[list[tuple[Any, ...]]] = []

    def step(ctx: Any, number: int) -> None:
        act(ctx, number)
        found.append([(one.id, one.quantity, one.filled, one.status) for one in ctx.orders()])

    run(Scripted(step), [records + bars(number, "KO") for number, records in enumerate(slices, 1)])
    return found


def test_orders_lists_an_order_from_its_submission_to_its_last_fill() -> None:
    order_id = "ord-act-scripted-1"
    entry = approved(order_id)
    first = report(2, entry, TRADE, 4, 101, remaining=6, filled=4)
    second = report(3, entry, TRADE, 6, 102, remaining=0, filled=10)
    found = open_orders(
        [],
        [entry],
        [report(1, entry, NEW)],
        [first],
        [second],
        act=lambda ctx, number: ctx.submit("KO", BUY, 10) if number == 1 else None,
    )
    assert found == [
        [(order_id, 10.0, 0.0, "pending")],
        [(order_id, 10.0, 0.0, "approved")],
        [(order_id, 10.0, 0.0, "accepted")],
        [(order_id, 10.0, 4.0, "partially filled")],
        [],
    ]


def test_a_bracket_works_with_its_exits_and_ends_with_one_of_them() -> None:
    entry_id = "ord-act-scripted-1"
    entry = approved(entry_id)
    take_profit = order(2, SELL, 10, "KO", order_id=f"{entry_id}-tp", cause_id="act-scripted-1-tp", limit_price=110)
    stop_loss = order(3, SELL, 10, "KO", order_id=f"{entry_id}-sl", cause_id="act-scripted-1-sl", stop_price=90)
    found = open_orders(
        [],
        [entry, take_profit, stop_loss, report(1, entry, NEW), report(2, take_profit, NEW), report(3, stop_loss, NEW)],
        [report(4, entry, TRADE, 10, 100)],
        [report(5, take_profit, TRADE, 10, 110), report(6, stop_loss, CANCELED)],
        act=lambda ctx, number: ctx.submit("KO", BUY, 10, take_profit=110, stop_loss=90) if number == 1 else None,
    )
    assert [[one[0].removeprefix(entry_id) for one in orders] for orders in found] == [
        ["", "-tp", "-sl"],
        ["", "-tp", "-sl"],
        ["-tp", "-sl"],
        [],
    ]


def test_a_rejected_bracket_ends_with_its_exits() -> None:
    rejection = refusal(1, minute(1), "KO", cause_id="act-scripted-1")
    found = open_orders(
        [],
        [rejection],
        act=lambda ctx, number: ctx.submit("KO", BUY, 10, take_profit=110, stop_loss=90) if number == 1 else None,
    )
    assert [len(orders) for orders in found] == [3, 0]


def amended() -> tuple[Order, Order]:
    old = approved("ord-act-recording-1", limit_price=90)
    new = approved("ord-act-recording-2", 8, limit_price=91)._replace(replaces=old.order_id)
    return old, new


class Amending(Recording):
    """Submit an order, amend it in the third time slice, and note the limit price of the working order."""

    def __init__(self) -> None:
        super().__init__(self._step, name="recording")

    @staticmethod
    def _step(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.submit("KO", BUY, 10, limit_price=90)
        elif number == 2:
            ctx.amend("ord-act-recording-1", limit_price=91, quantity=8)
        else:
            ctx.note(" ".join(f"{one.id} {one.limit_price:g} {one.quantity:g}" for one in ctx.orders()))


def test_an_amended_order_keeps_its_id() -> None:
    old, new = amended()
    slices: list[list[Record]] = [
        [],
        [old, report(1, old, NEW)],
        [new, report(2, old, REPLACED), report(3, new, NEW)],
        [report(4, new, TRADE, 8, 91)],
    ]
    actions = run(Amending(), [records + bars(number, "KO") for number, records in enumerate(slices, 1)])
    # Notes are actions too, so that the amendment is the third action.
    assert notes(actions) == [
        f"accepted submit {FIRST}",
        f"amended amend {FIRST}",
        f"{FIRST} 91 8",
        f"fill {FIRST} BUY 8 at 91, position 8",
        "",
    ]


def test_an_amendment_that_the_venue_rejects_leaves_the_order_as_it_is() -> None:
    old, new = amended()
    slices: list[list[Record]] = [[], [old, report(1, old, NEW)], [new, report(2, new, REJECTED)], []]
    actions = run(Amending(), [records + bars(number, "KO") for number, records in enumerate(slices, 1)])
    assert notes(actions) == [f"accepted submit {FIRST}", f"rejected amend {FIRST}", f"{FIRST} 90 10", f"{FIRST} 90 10"]


def test_a_cancel_of_an_order_that_has_ended_is_answered_and_not_sent() -> None:
    strategy = Recording(lambda ctx, number: ctx.submit("KO", BUY, 10) if number == 1 else ctx.cancel(FIRST))
    entry = approved(FIRST)
    actions = run(strategy, [bars(1, "KO"), [entry, report(1, entry, TRADE, 10, 100), *bars(2, "KO")], bars(3, "KO")])
    assert [action.kind for action in actions].count("CANCEL_ORDER") == 0
    assert notes(actions)[-1] == f"rejected cancel {FIRST}"


def test_cancel_by_symbol_and_of_all_orders_names_each_order() -> None:
    def act(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.submit("KO", BUY, 1, limit_price=90)
            ctx.submit("PEP", BUY, 1, limit_price=90)
            ctx.submit("KO", BUY, 1, limit_price=89)
        ctx.cancel("KO") if number == 2 else ctx.cancel() if number == 3 else None

    actions = run(Scripted(act), [bars(number, "KO", "PEP") for number in (1, 2, 3)])
    cancelled = [(action.symbol, action.arguments["order_id"][-1]) for action in actions[3:]]
    assert cancelled == [("KO", "1"), ("KO", "3"), ("KO", "1"), ("PEP", "2"), ("KO", "3")]


def test_a_confirmed_cancel_ends_the_order() -> None:
    entry = approved("ord-act-scripted-1")
    found = open_orders(
        [],
        [entry, report(1, entry, NEW)],
        [order_cancel(2, entry.order_id, "KO"), report(2, entry, CANCELED)],
        act=lambda ctx, number: ctx.submit("KO", BUY, 10) if number == 1 else ctx.cancel("KO") if number == 2 else None,
    )
    assert [len(orders) for orders in found] == [1, 1, 0]


def test_close_cancels_the_orders_of_the_symbol_and_sets_its_target_to_zero() -> None:
    def act(ctx: Any, number: int) -> None:
        ctx.submit("KO", BUY, 1, limit_price=90) if number == 1 else ctx.close("KO", tag="stop")

    actions = run(Scripted(act), [bars(1, "KO"), bars(2, "KO")])
    assert [(one.kind, one.arguments, one.reason) for one in actions[1:]] == [
        ("CANCEL_ORDER", {"order_id": "ord-act-scripted-1"}, "stop"),
        (TARGET_QUANTITY, {"quantity": "0"}, "stop"),
    ]


def test_a_split_converts_the_working_orders() -> None:
    """Two new shares for each old one: 10 at 90 become 20 at 45."""
    found: list[Any] = []

    def act(ctx: Any, number: int) -> None:
        if number == 1:
            ctx.submit("KO", BUY, 10, limit_price=90)
        found.append([(one.quantity, one.limit_price) for one in ctx.orders()])

    split = corporate_action("spl-1", "SPLIT", "KO", ratio=2, ex_date=0)
    run(Scripted(act), [bars(1, "KO"), [split, *bars(2, "KO", close=50.0)]])
    assert found == [[(10.0, 90.0)], [(20.0, 45.0)]]


def test_a_strategy_receives_how_the_portfolios_order_for_its_target_ends() -> None:
    """Risk rejects the first order, the venue cancels the second one; a filled one is reported as a fill only."""
    strategy = Recording(lambda ctx, number: ctx.target_quantity("KO", number))
    cancelled = order(2, BUY, 2, "KO")
    filled = order(3, BUY, 3, "KO")
    slices: list[list[Record]] = [
        [],
        [refusal(1, minute(1), "KO", "max_position"), proposal(BUY, 1, "KO", seq=1, strategy="other+recording")],
        [proposal(BUY, 2, "KO", seq=2, strategy="recording"), report(1, cancelled, NEW)],
        [report(2, cancelled, CANCELED)],
        [proposal(BUY, 3, "KO", seq=3, strategy="recording"), report(3, filled, TRADE, 3, 100)],
        [refusal(2, minute(5), "KO", cause_id="prop-3"), proposal(BUY, 1, "KO", seq=4, strategy="other")],
        [refusal(3, minute(6), "KO", cause_id="prop-4")],
    ]
    actions = run(strategy, [records + bars(number, "KO") for number, records in enumerate(slices, 1)])
    assert notes(actions) == ["rejected target", "cancelled target ord-2", "fill ord-3 BUY 3 at 100, position 3"]
