"""The command `explain` accepts the id of every record that has an explanation."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

from deploy.commands.explain import require_record_id
from operators.explain.lineage import explain
from operators.explain.record_ids import record_id_of
from schemas.errors import BadInput
from schemas.records import Command, InternalCross, Order, OrderProposal, OrderRefusal, Record, StrategyAction
from tests.builders import command
from tests.unit.memory_record_store import MemoryRecordStore
from tests.unit.tape import market, platform_output, settings, with_command
from tests.unit.trading_desk import TradingDesk
from tests.unit.trading_harness import Recording

PAGES = [Path("README.md"), *Path("docs").rglob("*.md")]


def records() -> list[Record]:
    """Return the records of a run with a command, and of two strategies that trade with each other."""
    inputs = with_command(market(60), 45, command("cmd-1"))
    outputs = platform_output(inputs, settings())
    first = Recording(lambda ctx, minute: ctx.target_quantity("KO", 100) if minute == 3 else None)
    second = Recording(
        lambda ctx, minute: ctx.target_quantity("KO", {1: 60, 3: 0}[minute]) if minute in (1, 3) else None
    )
    first.name, second.name = "first", "second"
    desk = TradingDesk(first, second)
    desk.step(6, KO=100.0)
    return [*chain.from_iterable((*a.records, *b.records) for a, b in zip(inputs, outputs, strict=True)), *desk.records]


def test_the_id_of_every_record_with_an_explanation_is_accepted() -> None:
    store = MemoryRecordStore(records())
    explained = [one for one in store.records if explain(store, record_id_of(one)) is not None]
    assert {type(one) for one in explained} >= {
        Order,
        OrderProposal,
        InternalCross,
        OrderRefusal,
        StrategyAction,
        Command,
    }
    for one in explained:
        require_record_id(record_id_of(one))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_ids_in_the_documentation_are_accepted(page: Path) -> None:
    for record_id in re.findall(r"\bexplain ([a-z]+-[\w-]+)", page.read_text()):
        require_record_id(record_id)


def test_another_id_is_rejected_with_a_suggestion() -> None:
    with pytest.raises(BadInput, match=r"found 'crosses-8'; did you mean cross-8\?"):
        require_record_id("crosses-8")
