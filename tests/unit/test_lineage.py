"""Every order traces back to its bars. If there is no order, the explanation names the reason."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from operators.explain.lineage import (
    CauseNode,
    RecordPosition,
    as_tree,
    cause_ids_of,
    explain,
    record_id_of,
    walk,
    with_log_positions,
)
from operators.explain.no_trade import explain_symbol_at
from operators.sizing import TARGET_WEIGHTS
from operators.stage import TimeSlice
from schemas.records import (
    KILL_SWITCH,
    TRADE,
    Bar,
    Command,
    Execution,
    FeatureRow,
    Fundamentals,
    LlmAnswer,
    NewsItem,
    Order,
    OrderProposal,
    OrderRefusal,
    Prediction,
    Record,
    RiskFence,
    SentimentScore,
    Signal,
    StrategyWeights,
)
from tests.unit.tape import START_NS, SYMBOLS, market, platform_output, settings, with_command

HALT = Command("cmd-1", 1, KILL_SWITCH, "ann", "drill", {})
REQUIRED_FEATURES = {"ema_cross": ("ema_2", "ema_4", "rsi_3")}


class MemoryRecordStore:
    """An `AsOfLookup` over a list of records."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def _last(self, kind: type, **fields: Any) -> Any:
        matches = [r for r in self.records if type(r) is kind and all(getattr(r, k) == v for k, v in fields.items())]
        return matches[-1] if matches else None

    def _until(self, kind: type, ts_ns: int, **fields: Any) -> Any:
        return MemoryRecordStore([r for r in self.records if r.ts_ns <= ts_ns])._last(kind, **fields)

    def order(self, order_id: str) -> Order | None:
        return self._last(Order, order_id=order_id)  # type: ignore[no-any-return]

    def order_of(self, cause_id: str) -> Order | None:
        return self._last(Order, cause_id=cause_id)  # type: ignore[no-any-return]

    def refusal(self, seq: int) -> OrderRefusal | None:
        return self._last(OrderRefusal, seq=seq)  # type: ignore[no-any-return]

    def refusal_of(self, cause_id: str) -> OrderRefusal | None:
        return self._last(OrderRefusal, cause_id=cause_id)  # type: ignore[no-any-return]

    def fence_of(self, cause_id: str) -> RiskFence | None:
        return self._last(RiskFence, cause_id=cause_id)  # type: ignore[no-any-return]

    def execution(self, execution_id: str) -> Execution | None:
        return self._last(Execution, execution_id=execution_id)  # type: ignore[no-any-return]

    def executions_of(self, order_id: str) -> list[Execution]:
        return [r for r in self.records if type(r) is Execution and r.order_id == order_id]

    def proposal(self, proposal_id: str) -> OrderProposal | None:
        return self._last(OrderProposal, proposal_id=proposal_id)  # type: ignore[no-any-return]

    def command(self, command_id: str) -> Command | None:
        return self._last(Command, command_id=command_id)  # type: ignore[no-any-return]

    def signal(self, symbol: str, seq: int) -> Signal | None:
        return self._last(Signal, symbol=symbol, seq=seq)  # type: ignore[no-any-return]

    def feature(self, symbol: str, seq: int, ts_ns: int) -> FeatureRow | None:
        return self._last(FeatureRow, symbol=symbol, seq=seq, ts_ns=ts_ns)  # type: ignore[no-any-return]

    def bar(self, symbol: str, seq: int, ts_ns: int) -> Bar | None:
        return self._last(Bar, symbol=symbol, seq=seq, ts_ns=ts_ns)  # type: ignore[no-any-return]

    def score(self, seq: int) -> SentimentScore | None:
        return self._last(SentimentScore, seq=seq)  # type: ignore[no-any-return]

    def news(self, news_id: str) -> NewsItem | None:
        return self._last(NewsItem, news_id=news_id)  # type: ignore[no-any-return]

    def answer(self, answer_id: str) -> LlmAnswer | None:
        return self._last(LlmAnswer, answer_id=answer_id)  # type: ignore[no-any-return]

    def filing(self, fundamentals_id: str) -> Fundamentals | None:
        return self._last(Fundamentals, fundamentals_id=fundamentals_id)  # type: ignore[no-any-return]

    def prediction(self, symbol: str, seq: int) -> Prediction | None:
        return self._last(Prediction, symbol=symbol, seq=seq)  # type: ignore[no-any-return]

    def weights(self, seq: int) -> StrategyWeights | None:
        return self._last(StrategyWeights, seq=seq)  # type: ignore[no-any-return]

    def bar_until(self, symbol: str, ts_ns: int) -> Bar | None:
        return self._until(Bar, ts_ns, symbol=symbol)  # type: ignore[no-any-return]

    def feature_at(self, symbol: str, ts_ns: int) -> FeatureRow | None:
        return self._last(FeatureRow, symbol=symbol, ts_ns=ts_ns)  # type: ignore[no-any-return]

    def views_until(self, symbol: str, ts_ns: int) -> list[Signal]:
        last = self._until(Signal, ts_ns, symbol=symbol)
        return [] if last is None else [last]

    def proposal_until(self, symbol: str, ts_ns: int) -> OrderProposal | None:
        return self._until(OrderProposal, ts_ns, symbol=symbol)  # type: ignore[no-any-return]

    def fence_until(self, ts_ns: int) -> RiskFence | None:
        return self._until(RiskFence, ts_ns)  # type: ignore[no-any-return]


def record_store(inputs: Sequence[TimeSlice], **sections: Any) -> MemoryRecordStore:
    outputs = platform_output(inputs, settings(**sections))
    return MemoryRecordStore([r for a, b in zip(inputs, outputs, strict=True) for r in (*a.records, *b.records)])


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
        assert [bar.ts_ns for bar in bars] == [fill.ts_ns, fill.ts_ns - 60_000_000_000], "filled at the bar after"


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


def test_names_follow_the_ids_that_causes_use(traded: MemoryRecordStore) -> None:
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
    proposals = [r for r in traded.records if type(r) is OrderProposal and r.symbol == "SPY"]
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
    records: list[Record] = [
        NewsItem("news-1", 1, 1, "s", "Profit beats estimates", "", "", ["A"]),
        LlmAnswer("answer-1", 2, "ask-1", "news-1", "m", "What of it?", "good", 9, 9, ""),
        SentimentScore(1, 3, "A", "news-1", 0.5, 0.5, "llm", "m", "answer-1", {}),
        Fundamentals("fund-A-1", 1, "A", 20231231, 20240201, "10-K", "sec", {"eps": 1.0}, {}, "USD"),
        Bar("A", 1, 60, 0, 1.0, 1.0, 1.0, 1.0, 1.0, "REGULAR", 20240102, True),
        FeatureRow("A", 1, 60, 1, 1.0, {}),
        Signal("A", 1, 60, "sentiment", 1, 1.0, 1.0, 1.0, "feat-A-1", {}, ["sent-1"]),
        Signal("A", 2, 60, "ensemble", 1, 1.0, 1.0, 1.0, "feat-A-1", {}, ids),
        OrderProposal(1, 60, "prop-1", "A", "BUY", Decimal(1), "MARKET", None, "DAY", "e", Decimal(1), "", ["sig-A-2"]),
    ]
    explanation = explain(MemoryRecordStore(records), "prop-1")
    assert explanation is not None
    (signal,) = explanation.root.causes
    assert [cause.record_id for cause in signal.causes] == ["feat-A-1", *ids]
    assert kinds_of(signal.causes[1]) == ["SentimentScore", "NewsItem", "LlmAnswer"]
    assert kinds_of(signal.causes[3]) == ["Signal", "FeatureRow", "Bar", "SentimentScore", "NewsItem", "LlmAnswer"]
    assert [node.record_id for node in walk(explanation.root) if node.record is None] == ["sent-9", "fund-gone"]
    for node in walk(explanation.root):
        if node.record is not None and node.kind not in ("OrderProposal", "Bar"):
            assert cause_ids_of(node.record) == [cause.record_id for cause in node.causes]


def test_an_ensembles_order_walks_back_to_its_parts_the_model_and_the_weights() -> None:
    minute = 60_000_000_000
    bar = Bar("A", 1, minute, 0, 10.0, 10.0, 10.0, 10.0, 1.0, "REGULAR", 20240102, True)
    row = FeatureRow("A", 1, minute, 1, 10.0, {})
    forecast = Prediction("A", 4, minute, "gradient_boosting", "hash-of-the-model", "feat-A-1", 5, 0.01, 0.6, 0.0)
    model_signal = Signal("A", 1, minute, "model", 1, 1.0, 0.2, 10.0, "feat-A-1", {}, ["pred-A-4"])
    ensemble_signal = Signal(
        "A", 2, minute, "ensemble", 1, 1.0, 0.2, 10.0, "feat-A-1", {"model": 1.0}, ["sig-A-1", "weights-3"]
    )
    weights = StrategyWeights(3, 1, {"model": 1.0}, {}, "")
    terms = ("A", "BUY", Decimal(1), "MARKET", None, "DAY", "ensemble", Decimal(10), "", ["sig-A-2"])
    proposal = OrderProposal(1, minute, "prop-1", *terms)
    explanation = explain(
        MemoryRecordStore([bar, row, forecast, model_signal, ensemble_signal, weights, proposal]), "prop-1"
    )
    assert explanation is not None
    by_name = {node.record_id: node for node in walk(explanation.root)}
    assert list(by_name) == ["prop-1", "sig-A-2", "feat-A-1", "bar-A-1", "sig-A-1", "pred-A-4", "weights-3"]
    model = by_name["pred-A-4"].record
    assert isinstance(model, Prediction) and model.model_hash == "hash-of-the-model"
    assert all(node.record is not None for node in by_name.values())


def test_an_order_sized_by_target_weights_walks_back_to_their_command() -> None:
    command = Command("cmd-w", 1, TARGET_WEIGHTS, "ann", "the optimiser says so", dict.fromkeys(SYMBOLS, "0.02"))
    portfolio_section = settings().portfolio_manager.__dict__ | {"sizing": {"method": "target_weights"}}
    store = record_store(with_command(market(60), 10, command), portfolio_manager=portfolio_section)
    orders = [r for r in store.records if type(r) is Order]
    assert len(orders) > 8
    for order in orders:
        explanation = explain(store, order.order_id)
        assert explanation is not None
        assert kinds_of(explanation.root) == ["Order", "OrderProposal", "Signal", "FeatureRow", "Bar", "Command"]
        assert list(walk(explanation.root))[-1].record == command
    without_command = MemoryRecordStore([r for r in store.records if r != command])
    explanation = explain(without_command, orders[0].order_id)
    assert explanation is not None
    assert [(node.kind, node.record_id) for node in walk(explanation.root) if node.record is None] == [
        ("Command", "cmd-w")
    ]
