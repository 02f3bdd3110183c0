"""Read the causes of a decision from the tables: `operators.explain.lineage.RecordLookup` on one connection."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, desc, func, select

from operators.risk.margin_call import MARGIN_CALL
from schemas.records import (
    REDUCING,
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
from sinks.record_tables import record_of
from sinks.suspensions import suspended_strategies
from sinks.tables import (
    TABLE_OF,
    bars,
    broker_activities,
    cash_transfers,
    commands,
    configurations,
    corporate_actions,
    data_rows,
    executions,
    features,
    fundamentals,
    internal_crosses,
    llm_answers,
    news,
    order_cancels,
    order_proposals,
    order_refusals,
    orders,
    predictions,
    quotes,
    risk_events,
    risk_fences,
    sentiment,
    signals,
    strategy_actions,
    strategy_suspensions,
    target_reductions,
    trading_statuses,
    weights,
)

R = TypeVar("R", bound=tuple[Any, ...])


class DatabaseRecordLookup:
    """Looks records up in the transaction of `db`."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def order(self, order_id: str) -> Order | None:
        return self._first(Order, orders.c.order_id == order_id)

    def order_of(self, cause_id: str) -> Order | None:
        return self._first(Order, orders.c.cause_id == cause_id)

    def refusal(self, seq: int) -> OrderRefusal | None:
        return self._first(OrderRefusal, order_refusals.c.seq == seq)

    def refusal_of(self, cause_id: str) -> OrderRefusal | None:
        return self._first(OrderRefusal, order_refusals.c.cause_id == cause_id)

    def fence_of(self, cause_id: str) -> RiskFence | None:
        return self._first(RiskFence, risk_fences.c.cause_id == cause_id)

    def cancels_of(self, *, order_id: str = "", cause_id: str = "") -> list[OrderCancel]:
        """Return the cancels of an order, or those that a record caused."""
        column, value = (order_cancels.c.order_id, order_id) if order_id else (order_cancels.c.cause_id, cause_id)
        return self._all(OrderCancel, select(order_cancels).where(column == value).order_by(order_cancels.c.seq))

    def margin_call(self, ts_ns: int) -> RiskEvent | None:
        """Return the event of the margin call that was active in a time slice."""
        conditions = (risk_events.c.breaker == MARGIN_CALL, risk_events.c.state == REDUCING)
        newest = select(risk_events).where(*conditions, risk_events.c.ts_ns <= ts_ns).order_by(desc(risk_events.c.seq))
        return next(iter(self._all(RiskEvent, newest.limit(1))), None)

    def execution(self, execution_id: str) -> Execution | None:
        return self._first(Execution, executions.c.execution_id == execution_id)

    def executions_of(self, order_id: str) -> list[Execution]:
        query = select(executions).where(executions.c.order_id == order_id).order_by(executions.c.seq)
        return self._all(Execution, query)

    def proposal(self, proposal_id: str) -> OrderProposal | None:
        return self._first(OrderProposal, order_proposals.c.proposal_id == proposal_id)

    def cross(self, cross_id: str) -> InternalCross | None:
        return self._first(InternalCross, internal_crosses.c.cross_id == cross_id)

    def crosses_of(self, cause_id: str) -> list[InternalCross]:
        """Return the internal crosses that a record caused: a proposal, a signal or an action."""
        table = internal_crosses
        return self._all(
            InternalCross, select(table).where(table.c.cause_ids.contains([cause_id])).order_by(table.c.seq)
        )

    def reductions_of(self, action_id: str) -> list[TargetReduction]:
        table = target_reductions
        return self._all(TargetReduction, select(table).where(table.c.action_id == action_id).order_by(table.c.seq))

    def action(self, action_id: str) -> StrategyAction | None:
        return self._first(StrategyAction, strategy_actions.c.action_id == action_id)

    def command(self, command_id: str) -> Command | None:
        return self._first(Command, commands.c.command_id == command_id)

    def configuration(self, configuration_id: str) -> Configuration | None:
        return self._first(Configuration, configurations.c.configuration_id == configuration_id)

    def configuration_ids(self) -> list[str]:
        """Return the ids of all configurations in the order of their numbers."""
        query = select(configurations.c.configuration_id).order_by(configurations.c.number)
        return [str(one) for one in self._db.execute(query).scalars()]

    def signal(self, symbol: str, seq: int) -> Signal | None:
        return self._first(Signal, signals.c.symbol == symbol, signals.c.seq == seq)

    def feature(self, symbol: str, seq: int, ts_ns: int) -> FeatureRow | None:
        """Return the row with this seq. `ts_ns` is that of a record based on it, at or after the row's time."""
        conditions = (features.c.symbol == symbol, features.c.seq == seq)
        exact = self._first(FeatureRow, features.c.ts_ns == ts_ns, *conditions)
        if exact is not None:
            return exact
        query = select(features).where(*conditions, features.c.ts_ns < ts_ns).order_by(desc(features.c.ts_ns)).limit(1)
        return next(iter(self._all(FeatureRow, query)), None)

    def bar(self, symbol: str, seq: int, ts_ns: int) -> Bar | None:
        return self._first(Bar, bars.c.symbol == symbol, bars.c.ts_ns == ts_ns, bars.c.seq == seq)

    def quote(self, symbol: str, seq: int) -> Quote | None:
        return self._first(Quote, quotes.c.symbol == symbol, quotes.c.seq == seq)

    def score(self, seq: int) -> SentimentScore | None:
        return self._first(SentimentScore, sentiment.c.seq == seq)

    def news(self, news_id: str) -> NewsItem | None:
        return self._first(NewsItem, news.c.news_id == news_id)

    def answer(self, answer_id: str) -> LlmAnswer | None:
        return self._first(LlmAnswer, llm_answers.c.answer_id == answer_id)

    def filing(self, fundamentals_id: str) -> Fundamentals | None:
        return self._first(Fundamentals, fundamentals.c.fundamentals_id == fundamentals_id)

    def reference_record(self, record_id: str) -> CorporateAction | TradingStatus | DataRow | None:
        """Return the corporate action, exchange halt or row of the user's data with this id."""
        return (
            self._first(CorporateAction, corporate_actions.c.action_id == record_id)
            or self._first(TradingStatus, trading_statuses.c.status_id == record_id)
            or self._first(DataRow, data_rows.c.row_id == record_id)
        )

    def prediction(self, symbol: str, seq: int) -> Prediction | None:
        return self._first(Prediction, predictions.c.symbol == symbol, predictions.c.seq == seq)

    def weights(self, seq: int) -> StrategyWeights | None:
        return self._first(StrategyWeights, weights.c.seq == seq)

    def transfer(self, transfer_id: str) -> CashTransfer | None:
        return self._first(CashTransfer, cash_transfers.c.transfer_id == transfer_id)

    def transfer_of(self, cause_id: str) -> CashTransfer | None:
        return self._first(CashTransfer, cash_transfers.c.cause_id == cause_id)

    def activity(self, update_id: str) -> BrokerActivity | None:
        return self._first(BrokerActivity, broker_activities.c.update_id == update_id)

    def suspension(self, symbol: str, seq: int) -> StrategySuspension | None:
        table = strategy_suspensions.c
        return self._first(StrategySuspension, table.symbol == symbol, table.seq == seq)

    # -- state as of a time

    def suspended_until(self, ts_ns: int) -> list[StrategySuspension]:
        """Return the first failure of each strategy that was suspended at a time."""
        return suspended_strategies(self._db, ts_ns)

    def bar_until(self, symbol: str, ts_ns: int) -> Bar | None:
        """Return the last bar at or before a time."""
        query = select(bars).where(bars.c.symbol == symbol, bars.c.ts_ns <= ts_ns).order_by(desc(bars.c.ts_ns)).limit(1)
        return next(iter(self._all(Bar, query)), None)

    def symbols_with_bars(self) -> list[str]:
        """Return the symbols with bars, in order. Reads one index entry of each."""
        first = select(func.min(bars.c.symbol).label("symbol")).cte("found", recursive=True)
        following = select(func.min(bars.c.symbol)).where(bars.c.symbol > first.c.symbol).scalar_subquery()
        found = first.union_all(select(following).where(first.c.symbol.is_not(None)))
        query = select(found.c.symbol).where(found.c.symbol.is_not(None)).order_by(found.c.symbol)
        return list(self._db.execute(query).scalars())

    def feature_at(self, symbol: str, ts_ns: int) -> FeatureRow | None:
        return self._first(FeatureRow, features.c.symbol == symbol, features.c.ts_ns == ts_ns)

    def views_until(self, symbol: str, ts_ns: int) -> list[Signal]:
        """Return each strategy's last signal at or before a time, ordered by strategy."""
        last = (
            select(signals.c.strategy, func.max(signals.c.seq).label("seq"))
            .where(signals.c.symbol == symbol, signals.c.ts_ns <= ts_ns)
            .group_by(signals.c.strategy)
            .subquery()
        )
        query = select(signals).join(last, (signals.c.seq == last.c.seq) & (signals.c.symbol == symbol))
        return self._all(Signal, query.order_by(signals.c.strategy))

    def proposal_until(self, symbol: str, ts_ns: int) -> OrderProposal | None:
        """Return the last proposal for a symbol at or before a time."""
        query = select(order_proposals).where(order_proposals.c.symbol == symbol, order_proposals.c.ts_ns <= ts_ns)
        return next(iter(self._all(OrderProposal, query.order_by(desc(order_proposals.c.seq)).limit(1))), None)

    def fence_until(self, ts_ns: int) -> RiskFence | None:
        query = select(risk_fences).where(risk_fences.c.ts_ns <= ts_ns).order_by(desc(risk_fences.c.seq)).limit(1)
        return next(iter(self._all(RiskFence, query)), None)

    def _first(self, kind: type[R], *where: ColumnElement[bool]) -> R | None:
        return next(iter(self._all(kind, select(TABLE_OF[kind]).where(*where).limit(1))), None)

    def _all(self, kind: type[R], query: Select[Any]) -> list[R]:
        return [record_of(kind, row) for row in self._db.execute(query).mappings()]
