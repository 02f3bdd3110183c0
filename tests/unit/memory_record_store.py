"""An in-memory record store for the explanations of orders and of missing trades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.records import (
    Bar,
    BrokerActivity,
    CashTransfer,
    Command,
    Configuration,
    CorporateAction,
    DataRow,
    Execution,
    FeatureRow,
    Fundamentals,
    InternalCross,
    LlmAnswer,
    NewsItem,
    Order,
    OrderCancel,
    OrderProposal,
    OrderRefusal,
    Prediction,
    Quote,
    Record,
    RiskEvent,
    RiskFence,
    SentimentScore,
    Signal,
    StrategyAction,
    StrategySuspension,
    StrategyWeights,
    TargetReduction,
    TradingStatus,
)


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

    def cancels_of(self, *, order_id: str = "", cause_id: str = "") -> list[OrderCancel]:
        cancels = [r for r in self.records if type(r) is OrderCancel]
        return [r for r in cancels if (r.order_id == order_id if order_id else r.cause_id == cause_id)]

    def configuration(self, configuration_id: str) -> Configuration | None:
        return self._last(Configuration, configuration_id=configuration_id)  # type: ignore[no-any-return]

    def margin_call(self, ts_ns: int) -> RiskEvent | None:
        return self._until(RiskEvent, ts_ns, breaker="margin_call", state="REDUCING")  # type: ignore[no-any-return]

    def execution(self, execution_id: str) -> Execution | None:
        return self._last(Execution, execution_id=execution_id)  # type: ignore[no-any-return]

    def executions_of(self, order_id: str) -> list[Execution]:
        return [r for r in self.records if type(r) is Execution and r.order_id == order_id]

    def proposal(self, proposal_id: str) -> OrderProposal | None:
        return self._last(OrderProposal, proposal_id=proposal_id)  # type: ignore[no-any-return]

    def cross(self, cross_id: str) -> InternalCross | None:
        return self._last(InternalCross, cross_id=cross_id)  # type: ignore[no-any-return]

    def crosses_of(self, cause_id: str) -> list[InternalCross]:
        return [r for r in self.records if type(r) is InternalCross and cause_id in r.cause_ids]

    def reductions_of(self, action_id: str) -> list[TargetReduction]:
        return [r for r in self.records if type(r) is TargetReduction and r.action_id == action_id]

    def transfer(self, transfer_id: str) -> CashTransfer | None:
        return self._last(CashTransfer, transfer_id=transfer_id)  # type: ignore[no-any-return]

    def transfer_of(self, cause_id: str) -> CashTransfer | None:
        return self._last(CashTransfer, cause_id=cause_id)  # type: ignore[no-any-return]

    def activity(self, update_id: str) -> BrokerActivity | None:
        return self._last(BrokerActivity, update_id=update_id)  # type: ignore[no-any-return]

    def action(self, action_id: str) -> StrategyAction | None:
        return self._last(StrategyAction, action_id=action_id)  # type: ignore[no-any-return]

    def command(self, command_id: str) -> Command | None:
        return self._last(Command, command_id=command_id)  # type: ignore[no-any-return]

    def signal(self, symbol: str, seq: int) -> Signal | None:
        return self._last(Signal, symbol=symbol, seq=seq)  # type: ignore[no-any-return]

    def feature(self, symbol: str, seq: int, ts_ns: int) -> FeatureRow | None:
        return self._last(FeatureRow, symbol=symbol, seq=seq, ts_ns=ts_ns)  # type: ignore[no-any-return]

    def bar(self, symbol: str, seq: int, ts_ns: int) -> Bar | None:
        return self._last(Bar, symbol=symbol, seq=seq, ts_ns=ts_ns)  # type: ignore[no-any-return]

    def quote(self, symbol: str, seq: int) -> Quote | None:
        return self._last(Quote, symbol=symbol, seq=seq)  # type: ignore[no-any-return]

    def score(self, seq: int) -> SentimentScore | None:
        return self._last(SentimentScore, seq=seq)  # type: ignore[no-any-return]

    def news(self, news_id: str) -> NewsItem | None:
        return self._last(NewsItem, news_id=news_id)  # type: ignore[no-any-return]

    def answer(self, answer_id: str) -> LlmAnswer | None:
        return self._last(LlmAnswer, answer_id=answer_id)  # type: ignore[no-any-return]

    def filing(self, fundamentals_id: str) -> Fundamentals | None:
        return self._last(Fundamentals, fundamentals_id=fundamentals_id)  # type: ignore[no-any-return]

    def reference_record(self, record_id: str) -> CorporateAction | TradingStatus | DataRow | None:
        return (  # type: ignore[no-any-return]
            self._last(CorporateAction, action_id=record_id)
            or self._last(TradingStatus, status_id=record_id)
            or self._last(DataRow, row_id=record_id)
        )

    def prediction(self, symbol: str, seq: int) -> Prediction | None:
        return self._last(Prediction, symbol=symbol, seq=seq)  # type: ignore[no-any-return]

    def weights(self, seq: int) -> StrategyWeights | None:
        return self._last(StrategyWeights, seq=seq)  # type: ignore[no-any-return]

    def suspension(self, symbol: str, seq: int) -> StrategySuspension | None:
        return self._last(StrategySuspension, symbol=symbol, seq=seq)  # type: ignore[no-any-return]

    def suspended_until(self, ts_ns: int) -> list[StrategySuspension]:
        last = self._until(StrategySuspension, ts_ns)
        return [] if last is None or last.state != "SUSPENDED" else [last]

    def bar_until(self, symbol: str, ts_ns: int) -> Bar | None:
        return self._until(Bar, ts_ns, symbol=symbol)  # type: ignore[no-any-return]

    def feature_at(self, symbol: str, ts_ns: int) -> FeatureRow | None:
        return self._last(FeatureRow, symbol=symbol, ts_ns=ts_ns)  # type: ignore[no-any-return]

    def views_until(self, symbol: str, ts_ns: int) -> list[Signal]:
        last = self._until(Signal, ts_ns, symbol=symbol)
        return [] if last is None else [last]

    def proposal_until(self, symbol: str, ts_ns: int) -> OrderProposal | None:
        proposals = [r for r in self.records if type(r) is OrderProposal and r.ts_ns <= ts_ns]
        return next((one for one in reversed(proposals) if one.terms.symbol == symbol), None)

    def fence_until(self, ts_ns: int) -> RiskFence | None:
        return self._until(RiskFence, ts_ns)  # type: ignore[no-any-return]
