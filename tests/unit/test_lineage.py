"""Every order traces back to its bars. If there is no order, the explanation names the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from operators.explain.cause_tree import CauseNode, RecordPosition, as_tree, walk, with_log_positions
from operators.explain.lineage import explain
from operators.explain.no_trade import explain_symbol_at
from operators.explain.record_ids import cause_ids_of, record_id_of
from operators.reference_data import split_merger
from operators.sizing import TARGET_WEIGHTS
from operators.stage import TimeSlice
from schemas.records import (
    BUY,
    HALTED,
    SPLIT,
    STOCK_MERGER,
    TRADE,
    Bar,
    CorporateAction,
    Execution,
    FeatureRow,
    LlmRequest,
    Order,
    OrderProposal,
    OrderRefusal,
    Prediction,
    Record,
    Signal,
    StrategyWeights,
)
from tests.builders import (
    bar,
    command,
    corporate_action,
    data_row,
    feature_row,
    fundamentals,
    llm_answer,
    news_item,
    prediction,
    proposal,
    quote,
    sentiment_score,
    signal,
    strategy_action,
    trading_status,
)
from tests.unit.memory_record_store import MemoryRecordStore
from tests.unit.tape import START_NS, SYMBOLS, market, platform_output, settings, with_command

HALT = command("cmd-1", actor="ann", reason="drill")
REQUIRED_FEATURES = {"ema_cross": ("ema_2", "ema_4", "rsi_3")}


def record_store(inputs: Sequence[TimeSlice], **sections: Any) -> MemoryRecordStore:
    outputs = platform_output(inputs, settings(**sections))
    return MemoryRecordStore([r for a, b in zip(inputs, outputs, strict=True) for r in (*a.records, *b.records)])


def split_actions(merger: CorporateAction) -> list[CorporateAction]:
    return [part for part in split_merger(merger) if isinstance(part, CorporateAction)]


def kinds_of(node: CauseNode) -> list[str]:
    return [child.kind for child in walk(node)]


@pytest.fixture(scope="module")
def traded() -> MemoryRecordStore:
    return record_store(with_command(market(60), 45, HALT))


def test_every_order_and_execution_walks_back_to_bars_that_exist(traded: MemoryRecordStore) -> None:
    orders = [r for r in traded.records if type(r) is Order]
    assert len(orders) > 8
    for order in orders:
        explanation = explain(traded, order.order_id)
        assert explanation is not None
        assert kinds_of(explanation.root) == ["Order", "OrderProposal", "Signal", "FeatureRow", "Bar"]
        assert all(node.record is not None for node in walk(explanation.root))
        assert [node.record for node in explanation.consequences] == traded.executions_of(order.order_id)
    fills = [r for r in traded.records if type(r) is Execution and r.exec_type == TRADE]
    for fill in fills:
        explanation = explain(traded, fill.execution_id)
        assert explanation is not None
        assert kinds_of(explanation.root) == [
            "Execution",
            "Bar",
            "Order",
            "OrderProposal",
            "Signal",
            "FeatureRow",
            "Bar",
        ]
        bars = [node.record for node in walk(explanation.root) if isinstance(node.record, Bar)]
        assert [one.ts_ns for one in bars] == [fill.ts_ns, fill.ts_ns - 60_000_000_000], "filled at the bar after"


def test_rejected_proposal_names_its_check_and_inputs() -> None:
    store = record_store(market(30), risk_manager=settings().risk_manager.__dict__ | {"max_order_notional": 100})
    explanation = explain(store, "prop-1")
    assert explanation is not None and explanation.outcome.startswith("prop-1 was rejected by risk: ")
    assert [node.record_id for node in explanation.consequences] == ["refusal-1"]
    explanation = explain(store, "refusal-1")
    assert explanation is not None and kinds_of(explanation.root)[:3] == ["OrderRefusal", "OrderProposal", "Signal"]
    refusal = explanation.root.record
    assert isinstance(refusal, OrderRefusal) and (refusal.check, refusal.limit) == ("max_order_notional", "100.00")


def test_command_reports_its_consequences(traded: MemoryRecordStore) -> None:
    explanation = explain(traded, "cmd-1")
    assert explanation is not None and explanation.outcome == "ann requested KILL_SWITCH (drill): fence-1"


def test_missing_records_are_reported_as_missing(traded: MemoryRecordStore) -> None:
    assert explain(traded, "ord-9999") is None and explain(traded, "refusal-x") is None
    incomplete = MemoryRecordStore([r for r in traded.records if type(r) not in (Signal, Bar)])
    explanation = explain(incomplete, "ord-1")
    assert explanation is not None
    assert [(node.kind, node.record) for node in walk(explanation.root)][2:] == [("Signal", None)]


def test_explanation_exports_places_and_trees(traded: MemoryRecordStore) -> None:
    explanation = explain(traded, "ord-1")
    assert explanation is not None
    root = with_log_positions(
        explanation.root, lambda r: RecordPosition("orders", 0, 7, 60) if type(r) is Order else None
    )
    tree = as_tree(root)
    place = {"topic": "orders", "partition": 0, "offset": 7, "event_ns": 60}
    assert (tree["id"], tree["place"]) == ("ord-1", place)
    assert tree["record"]["checks"][0]["check"] == "kill_switch"
    assert tree["causes"][0]["place"] is None


def test_names_match_the_ids_that_causes_use(traded: MemoryRecordStore) -> None:
    names = {record_id_of(record) for record in traded.records}
    for record in traded.records:
        assert {*cause_ids_of(record)} <= names, record


def test_why_no_trade_names_the_first_step_without_output(traded: MemoryRecordStore) -> None:
    def reasons(minute: int, symbol: str = "SPY", store: MemoryRecordStore = traded) -> str:
        return " | ".join(
            explain_symbol_at(store, symbol, START_NS + minute * 60_000_000_000, REQUIRED_FEATURES).reasons
        )

    assert "no bar of NONE" in reasons(5, "NONE")
    assert "ema_cross: ema_4, rsi_3 not warmed up yet" in reasons(2)
    proposals = [r for r in traded.records if type(r) is OrderProposal and r.terms.symbol == "SPY"]
    minute = (proposals[0].ts_ns - START_NS) // 60_000_000_000
    assert f"{proposals[0].proposal_id} was proposed in this time slice" in reasons(minute)
    assert "no proposal: " in reasons(minute + 1)
    halted = explain_symbol_at(traded, "SPY", START_NS + 55 * 60_000_000_000, REQUIRED_FEATURES)
    assert halted.reasons[-1] == "trading was halted by fence-1: drill"
    truncated = MemoryRecordStore(
        [r for r in traded.records if r.ts_ns <= proposals[0].ts_ns or type(r) in (Bar, FeatureRow)]
    )
    assert "was still open" in reasons(minute + 1, store=truncated)


def test_a_signal_walks_back_to_the_headline_the_models_answer_and_the_filing() -> None:
    ids = ["sent-1", "fund-A-1", "sig-A-1", "sent-9", "fund-gone"]
    llm_request = LlmRequest(seq=1, ts_ns=1, request_id="ask-1", news_id="news-1", model="m", prompt="What of it?")
    records: list[Record] = [
        news_item("news-1"),
        llm_answer(llm_request, "good", ts_ns=2),
        sentiment_score(1, 3, "A", news_id="news-1", method="llm", model="m", answer_id="answer-1"),
        fundamentals("fund-A-1", symbol="A", facts={"eps": 1.0}),
        bar("A", 1, 60),
        feature_row("A", 1, 60),
        signal("A", 1, 60, strategy="sentiment", cause_ids=["sent-1"]),
        signal("A", 2, 60, strategy="ensemble", feature_id="feat-A-1", cause_ids=ids),
        proposal(BUY, 1, "A", ts_ns=60, strategy="e", signal_ids=["sig-A-2"]),
    ]
    explanation = explain(MemoryRecordStore(records), "prop-1")
    assert explanation is not None
    (ensemble,) = explanation.root.causes
    assert [cause.record_id for cause in ensemble.causes] == ["feat-A-1", *ids]
    assert kinds_of(ensemble.causes[1]) == ["SentimentScore", "NewsItem", "LlmAnswer"]
    assert kinds_of(ensemble.causes[3]) == ["Signal", "FeatureRow", "Bar", "SentimentScore", "NewsItem", "LlmAnswer"]
    assert [node.record_id for node in walk(explanation.root) if node.record is None] == ["sent-9", "fund-gone"]
    for node in walk(explanation.root):
        if node.record is not None and node.kind not in ("OrderProposal", "Bar"):
            assert cause_ids_of(node.record) == [cause.record_id for cause in node.causes]


def test_an_ensembles_order_walks_back_to_its_parts_the_model_and_the_weights() -> None:
    minute = 60_000_000_000
    records: list[Record] = [
        bar("A", 1, minute),
        feature_row("A", 1, minute),
        prediction("A", 4, minute, model_hash="hash-of-the-model", feature_id="feat-A-1"),
        signal("A", 1, minute, strategy="model", cause_ids=["pred-A-4"]),
        signal(
            "A",
            2,
            minute,
            strategy="ensemble",
            feature_id="feat-A-1",
            parts={"model": 1.0},
            cause_ids=["sig-A-1", "weights-3"],
        ),
        StrategyWeights(seq=3, ts_ns=1, weights={"model": 1.0}, scores={}, reason=""),
        proposal(BUY, 1, "A", ts_ns=minute, strategy="ensemble", signal_ids=["sig-A-2"]),
    ]
    explanation = explain(MemoryRecordStore(records), "prop-1")
    assert explanation is not None
    by_name = {node.record_id: node for node in walk(explanation.root)}
    assert list(by_name) == ["prop-1", "sig-A-2", "feat-A-1", "bar-A-1", "sig-A-1", "pred-A-4", "weights-3"]
    model = by_name["pred-A-4"].record
    assert isinstance(model, Prediction) and model.model_hash == "hash-of-the-model"
    assert all(node.record is not None for node in by_name.values())


@pytest.mark.parametrize(
    ("cause", "cause_id"),
    [
        (quote("A", 7, 60, 99, 101), "quote-A-7"),
        (news_item("news-1"), "news-1"),
        (news_item("own-id"), "own-id"),
        (fundamentals("fund-1"), "fund-1"),
        (trading_status("A", HALTED, 60), "status-A-HALTED-60"),
        (data_row("data-1"), "data-1"),
        (corporate_action("split-1", SPLIT, "A", ratio=2), "split-1"),
    ],
)
def test_an_action_is_traced_to_the_event_that_the_strategy_received(cause: Record, cause_id: str) -> None:
    action = strategy_action("NOTE", cause_ids=[cause_id, "quote-A-9"])
    explanation = explain(MemoryRecordStore([action, cause]), action.action_id)
    assert explanation is not None
    found, missing = explanation.root.causes
    assert (found.record_id, found.record) == (cause_id, cause)
    assert (missing.kind, missing.record) == ("Quote", None)


def test_an_action_after_one_part_of_a_merger_is_traced_to_the_merger() -> None:
    merger = corporate_action("merger-1", STOCK_MERGER, "A", ratio=2, new_symbol="B")
    action = strategy_action("NOTE", cause_ids=[part.action_id for part in split_actions(merger)])
    explanation = explain(MemoryRecordStore([action, merger]), action.action_id)
    assert explanation is not None and len(explanation.root.causes) == 2
    assert {node.record for node in explanation.root.causes} == {merger}


def test_an_order_sized_by_target_weights_walks_back_to_their_command() -> None:
    weights = command("cmd-w", kind=TARGET_WEIGHTS, arguments=dict.fromkeys(SYMBOLS, "0.02"))
    portfolio_section = settings().portfolio_manager.__dict__ | {"sizing": {"method": "target_weights"}}
    store = record_store(with_command(market(60), 10, weights), portfolio_manager=portfolio_section)
    orders = [r for r in store.records if type(r) is Order]
    assert len(orders) > 8
    for order in orders:
        explanation = explain(store, order.order_id)
        assert explanation is not None
        assert kinds_of(explanation.root) == ["Order", "OrderProposal", "Signal", "FeatureRow", "Bar", "Command"]
        assert list(walk(explanation.root))[-1].record == weights
    without_command = MemoryRecordStore([r for r in store.records if r != weights])
    explanation = explain(without_command, orders[0].order_id)
    assert explanation is not None
    assert [(node.kind, node.record_id) for node in walk(explanation.root) if node.record is None] == [
        ("Command", "cmd-w")
    ]
