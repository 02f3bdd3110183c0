"""The stage of the trading strategies: pass each time slice to their handlers, and publish their actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from operators.exchange_halts import EXCHANGE_HALT
from operators.handler_limit import HandlerCalls, HandlerLimit
from operators.indicator_calls import IndicatorCalls
from operators.instruments import NO_INSTRUMENTS, Instruments
from operators.ledger.events import share_ratio
from operators.manual_orders import trading_strategy_of
from operators.money import ONE
from operators.reference_data import ReferenceData
from operators.strategies.trading_strategy import TradingStrategy
from operators.strategy_removal import causes_of_removal
from operators.trading.account_changes import AccountChanges
from operators.trading.accounts import AccountRow, StrategyAccounts, SubAccount
from operators.trading.action_outcomes import ActionOutcomes
from operators.trading.context import TradingContext
from operators.trading.declarations import check_declarations
from operators.trading.delivery import ReferenceEvent, StrategyDelivery
from operators.trading.exchange_sessions import ExchangeSessions
from operators.trading.idle import NO_STATE
from operators.trading.limited_views import LimitedView, Suspendable
from operators.trading.loss_stop import LossStops
from operators.trading.market import Market
from operators.trading.market_events import MarketEvents
from operators.trading.market_needs import MarketNeeds
from operators.trading.order_updates import OrderUpdate
from operators.trading.orders import StrategyOrders
from operators.trading.removed_strategies import RemovedStrategies
from operators.trading.running_strategy import RunningStrategy
from operators.trading.settings import TradingSettings
from operators.trading.suspensions import ActionLog, Suspensions
from operators.trading.target_orders import TargetOrders
from operators.trading.universe import SelectedUniverse
from operators.trading.universe_selection import candidates_of, new_universe
from operators.trading.user_data import UserData
from schemas.errors import BadInput
from schemas.records import (
    CONTINUOUS,
    FLATTEN_STRATEGY,
    REGULAR,
    RESUME_STRATEGY,
    STRATEGY,
    SYMBOL,
    TOPIC_OF,
    UNIVERSE_ADDED,
    UNIVERSE_REMOVED,
    Bar,
    CashTransfer,
    Command,
    CorporateAction,
    Execution,
    Record,
    RiskEvent,
    StrategyActionKind,
    Trade,
    TradingStatus,
    bar_id,
)

__all__ = ["TradingSettings", "TradingStrategyStage"]

VERSION = 4
_FULL_SESSIONS = (REGULAR, CONTINUOUS)


class TradingStrategyStage:
    """The logic of the strategies service: one instance for all symbols.

    Inputs, in this order within a time slice: HandlerTimeout, OrderRefusal, Order and OrderCancel, OrderProposal,
    InternalCross and TargetReduction, and RiskEvent (these of the previous time slice), Quote, CorporateAction,
    ExchangeRate, TradingSession and DataRow, Execution and CashTransfer, Command, Bar, Trade, FeatureRow, Prediction,
    Fundamentals, NewsItem and SentimentScore. It needs Quote, NewsItem and Trade only if a strategy declares them
    (`event_topics`). Outputs: one StrategyAction for each action, in the order of the strategies' names, then the
    StrategyPositions and StrategyAccounts that have changed, then a DeadLetter for each indicator of longer bars that
    failed. Such an indicator stops for its symbol.

    A handler that raises, acts invalidly or exceeds `limit` has no effect, and its strategy is suspended at once,
    until a RESUME_STRATEGY command. Its positions and orders stay; with `flatten_on_error`, positions are closed and
    orders are cancelled. After a resume it starts without state. Other strategies are not affected. A strategy is also
    suspended when its losses exceed its limits. A FLATTEN_STRATEGY command closes the positions of a strategy that is
    suspended, or that the settings no longer name. With `on_remove: flatten`, its removal closes them.

    Without strategies, the stage publishes nothing and reads nothing. Raises BadInput for an invalid declaration and
    for two strategies with the same name.
    """

    def __init__(
        self,
        strategies: Sequence[TradingStrategy],
        settings: TradingSettings | None = None,
        instruments: Instruments = NO_INSTRUMENTS,
        limit: HandlerLimit | None = None,
    ) -> None:
        self.settings = settings = settings or TradingSettings()
        self._instruments = instruments
        needs = MarketNeeds(settings.bar_interval, has_trades=settings.has_trades)
        declared = [(one, check_declarations(one, settings, needs)) for one in strategies]
        declared.sort(key=lambda pair: pair[1].name)
        self.names = [declarations.name for _, declarations in declared]
        for name in self.names:
            if self.names.count(name) > 1:
                raise BadInput(f"two strategies have the name {name}; set another name in the parameters of one")
        universes = [candidates_of(one, settings) for one, _ in declared]
        follows_all = None in universes or settings.limited_views  # the symbols of a view strategy are not known
        symbols = None if follows_all else {symbol for one in universes for symbol in one or ()} | needs.benchmarks
        days = settings.sessions.get(settings.calendar)
        self._calls = HandlerCalls(limit)
        self._indicator_calls = IndicatorCalls(self._calls)
        self._market = Market(needs, symbols, days, regular_trades=settings.regular_trades, calls=self._indicator_calls)
        self._sessions = ExchangeSessions(settings.sessions)
        self._user_data = UserData(name for _, declarations in declared for name in declarations.data)
        self._market_events = MarketEvents(name for _, declarations in declared for name in declarations.events)
        self._accounts = StrategyAccounts([*self.names, *settings.limited_views], settings, instruments)
        self._loss_stops = LossStops(self._accounts, settings)
        self._actions = ActionLog(self._accounts, settings.source_sha256)
        self._suspensions = Suspensions(self._actions, self._accounts, self._loss_stops, settings)
        self._target_orders = TargetOrders(self.names)
        self._reference = ReferenceData(currency=settings.currency)
        self._market.halts = self._reference.halts
        self._running: dict[str, RunningStrategy] = {}
        for (strategy, declarations), symbols_of_one in zip(declared, universes, strict=True):
            name = declarations.name
            orders, account = StrategyOrders(name), self._accounts.accounts[name]
            universe = new_universe(strategy, symbols_of_one, self._market, settings, _has_position(account))
            context = TradingContext(
                declarations, self._market, account, orders, universe, self._user_data, self._market_events
            )
            self._running[name] = RunningStrategy(
                strategy, declarations, context, orders, universe, settings, self._calls
            )
        self._views = {name: LimitedView(name) for name in settings.limited_views}
        self._suspendable: dict[str, Suspendable] = {**self._running, **self._views}
        self._removed = RemovedStrategies()
        self._delivery = StrategyDelivery(self._running, self._actions, self._suspensions)
        self._outcomes = ActionOutcomes(self._accounts, self._target_orders, self._running, self._removed)
        self._account_changes = AccountChanges(
            self._running, self._removed, self._accounts, self._actions, self._suspensions
        )
        self._action_counts: dict[str, int] = {}  # of strategies in the restored snapshot
        self._execution_seq = 0
        self._risk_event_seq = 0

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        if not self._accounts.accounts:
            return []
        self._indicator_calls.begin(ts_ns, records)
        out: list[Record] = []
        if self._sessions.apply(records):
            self._set_sessions()
        self._suspensions.wind_down(ts_ns, self._removed, causes_of_removal(records), out)
        self._apply_commands(ts_ns, records, out)
        updates: dict[str, list[OrderUpdate]] = {name: one.updates for name, one in self._running.items()}
        for one in self._running.values():
            one.updates = []
        crosses = self._outcomes.apply(ts_ns, records, updates)
        events = self._apply_reference_data(ts_ns, records)
        self._market.update(ts_ns, records)
        for one in self._running.values():
            one.universe.update()
        rows = self._user_data.pop_due(ts_ns, records)
        self._select_universes(ts_ns, out)
        for cross, share in crosses:
            self._delivery.pass_cross(ts_ns, cross, share, out)
        self._deliver_risk_events(ts_ns, records, out)
        self._delivery.pass_rows(ts_ns, rows, out)
        self._delivery.pass_market_events(ts_ns, self._market_events.events_of(ts_ns, records), out)
        self._delivery.pass_decisions(ts_ns, events, updates, out)
        self._book_reports(ts_ns, records, out)
        self._suspensions.apply_loss_stops(ts_ns, self._suspendable, self._market.prices, out)
        self._run(ts_ns, out)
        self._account_changes.publish(ts_ns, self._market.prices, out)
        return [*out, *self._market.dead_letters]

    def accounts(self) -> list[AccountRow]:
        """Return the sub-account of each strategy at the last closes, and the remainder to the account."""
        return self._accounts.rows(self._market.prices)

    @property
    def event_topics(self) -> tuple[str, ...]:
        """The topics that the stage needs only for events, and bars of trades, that strategies declare."""
        trades = (TOPIC_OF[Trade],) if self._market.needs.trade_intervals() else ()
        return (*trades, *self._market_events.topics)

    @property
    def suspended(self) -> list[str]:
        """The names of the suspended strategies."""
        return [name for name in self._suspensions.names if name in self._suspendable]

    # -- incoming records

    def _set_sessions(self) -> None:
        """Pass changed trading hours to the market and the scheduled handlers."""
        self._market.set_days(self._sessions.days(self.settings.calendar))
        for one in self._running.values():
            one.set_sessions(self._sessions)

    def _apply_commands(self, ts_ns: int, records: Sequence[Record], out: list[Record]) -> None:
        for record in records:
            if type(record) is Command and record.kind == RESUME_STRATEGY:
                self._suspensions.resume(ts_ns, record, self._suspendable, self._market.prices, out)
            elif type(record) is Command and record.kind == FLATTEN_STRATEGY:
                self._suspensions.flatten(ts_ns, record, {**self._suspendable, **self._removed}, self._removed, out)

    def _apply_reference_data(self, ts_ns: int, records: Sequence[Record]) -> list[ReferenceEvent]:
        """Apply exchange rates, corporate actions and halts. Return the actions and halts with their ids."""
        events: list[ReferenceEvent] = []
        first_bar = next((record for record in records if type(record) is Bar), None)
        if first_bar is not None and self._accounts.open_day(ts_ns, first_bar.trading_day, self._market.prices):
            self._loss_stops.start_day(self._market.prices)
        for due in self._reference.pop_due(records):
            if not isinstance(due, CorporateAction):
                self._accounts.apply_rate(due)
                continue
            rate, symbol, ratio = self._reference.rate_of(due.currency), due.symbol, share_ratio(due)
            events.append(self._reference_event(due.action_id, due))
            self._accounts.apply_action(ts_ns, due, rate)
            self._market.apply_action(due, rate)
            newest_bar = first_bar or self._market.newest_bar
            day = due.ex_date or (newest_bar.trading_day if newest_bar else 0)
            for one in self._running.values():
                one.apply_action(due, day, had_bars=self._market.is_retired(symbol))
            self._removed.apply_action(due)
            if ratio != ONE:
                followed = [one.orders for one in self._running.values()]
                for orders in [*followed, *(one.orders for one in self._removed.values())]:
                    orders.split(symbol, ratio, self._instruments.lot_size_of(symbol))
        return [*events, *(self._reference_event(one.status_id, one) for one in self._reference.status_changes)]

    def _reference_event(self, event_id: str, event: CorporateAction | TradingStatus) -> ReferenceEvent:
        concerned = frozenset(name for name, one in self._running.items() if event.symbol in one.universe)
        return ReferenceEvent(event_id, event, concerned)

    def _deliver_risk_events(self, ts_ns: int, records: Sequence[Record], out: list[Record]) -> None:
        """Pass the previous time slice's margin calls and breaker changes to the strategies that they concern."""
        for record in records:
            if type(record) is not RiskEvent or record.seq <= self._risk_event_seq:
                continue
            self._risk_event_seq = record.seq
            if record.breaker == EXCHANGE_HALT:
                continue  # the strategies have received the halt itself
            for one in self._running.values():
                concerns = {STRATEGY: record.scope_key == one.name, SYMBOL: record.scope_key in one.universe}
                if one.has_on_event and concerns.get(record.scope, True):
                    self._delivery.evaluate(ts_ns, one, one.strategy.on_event, [record.cause_id], out, record)

    def _book_reports(self, ts_ns: int, records: Sequence[Record], out: list[Record]) -> None:
        """Book the reports and transfers in their order, and pass each to the strategy that it belongs to."""
        for record in records:
            if type(record) is CashTransfer:
                if record.seq > self._execution_seq:
                    self._execution_seq = record.seq
                    self._loss_stops.book_transfer(ts_ns, record, self._market.prices)
            elif type(record) is Execution and record.seq > self._execution_seq:
                self._execution_seq = record.seq
                self._book_report(ts_ns, record, out)

    def _book_report(self, ts_ns: int, report: Execution, out: list[Record]) -> None:
        owner = trading_strategy_of(report.order_id)
        one = None if owner is None else self._running.get(owner)
        known_id, tag, update = report.order_id, "", None
        if one is not None:
            known_id, tag = one.orders.known_id(report.order_id), one.orders.tag_of(report.order_id)
            update = one.orders.apply_report(report, ts_ns)
        elif owner is not None and owner in self._removed:
            self._removed[owner].orders.apply_report(report, ts_ns)
        for share in self._accounts.book_execution(report):
            self._delivery.pass_fill(ts_ns, report, share, known_id, tag, out)
        if update is not None:
            assert one is not None, "an update belongs to a strategy"
            self._delivery.pass_update(ts_ns, one, update, out)
        for name, target_update in self._target_orders.apply_report(report, ts_ns):
            self._delivery.pass_update(ts_ns, self._running[name], target_update, out)

    def _select_universes(self, ts_ns: int, out: list[Record]) -> None:
        """Publish the changes of the universes that a rule selects, and pass them to their strategies."""
        bar = self._session_bar()
        if bar is None:
            return
        for one in self._running.values():
            if not isinstance(one.universe, SelectedUniverse):
                continue
            for change in one.universe.select(bar):
                kind: StrategyActionKind = UNIVERSE_ADDED if change.change == "added" else UNIVERSE_REMOVED
                symbol_market = self._market.symbols.get(change.symbol)
                last = None if symbol_market is None else symbol_market.bar
                causes = [] if last is None else [bar_id(change.symbol, last.seq)]
                action = self._actions.record_own(ts_ns, one, kind, change.symbol, change.arguments, causes)
                out.append(action)
                if one.has_on_event:
                    self._delivery.evaluate(ts_ns, one, one.strategy.on_event, [action.action_id], out, action)

    def _session_bar(self) -> Bar | None:
        """Return a bar of a regular or continuous session that closed in this time slice; None if there is none."""
        bar = self._market.newest_bar
        if not self._market.closed[self._market.needs.bar_interval_ns] or bar is None:
            return None
        return bar if bar.session in _FULL_SESSIONS else None

    def _run(self, ts_ns: int, out: list[Record]) -> None:
        """Call `on_slice` where a bar closed, then the scheduled handlers."""
        closed = self._market.closed[self._market.needs.bar_interval_ns]
        bar = self._session_bar()
        open_ns = 0 if bar is None else self._market.bounds(bar).open_ns
        for one in self._running.values():
            due = one.due_handlers(ts_ns, bar, open_ns)
            if one.has_on_slice and (any(symbol in one.universe for symbol in closed) or self._trade_bar_closed(one)):
                self._delivery.evaluate(ts_ns, one, one.strategy.on_slice, [], out)
            for handler in due:
                self._delivery.evaluate(ts_ns, one, getattr(one.strategy, handler), [], out)

    def _trade_bar_closed(self, one: RunningStrategy) -> bool:
        """Whether a bar that is built from trades, and declared by the strategy, closed in this time slice."""
        closed = self._market.closed
        return any(symbol in one.universe for interval in one.trade_intervals for symbol in closed.get(interval, ()))

    def next_timer_ns(self) -> int | None:
        """Return when a scheduled handler is due next."""
        timers = (one.next_timer_ns() for name, one in self._running.items() if name not in self._suspensions)
        return min((due_ns for due_ns in timers if due_ns is not None), default=None)

    # -- state

    def snapshot(self) -> Any:
        return (
            VERSION,
            (self._actions.seq, self._outcomes.refusal_seq, self._execution_seq),
            self._market.snapshot(),
            (self._accounts.snapshot(), self._target_orders.snapshot(), self._loss_stops.snapshot()),
            self._reference.snapshot(),
            {name: one.snapshot() for name, one in self._running.items()},
            *self._suspensions.snapshot(),
            self._action_counts
            | {name: one.context.action_count for name, one in self._running.items()}
            | {name: one.action_count for name, one in self._views.items()}
            | {name: one.action_count for name, one in self._removed.items()},
            (
                self._sessions.snapshot(),
                self._user_data.snapshot(),
                self._risk_event_seq,
                self._market_events.snapshot(),
            ),
            self._removed.snapshot(),
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. A strategy that it lacks starts without state.

        A strategy that no longer runs keeps its sub-account and a suspension. If it is added again, it starts with
        these, without state, and the numbers of its actions continue.
        """
        if snapshot == NO_STATE:
            return
        version, counters, market, accounts, reference, strategies, suspended, command_ids, action_counts, *later = (
            snapshot
        )
        expected = f"1 to {VERSION}"
        assert version in (1, 2, 3, VERSION), f"trading strategies snapshot: version {version}, expected {expected}"
        removed = later.pop() if version > 3 else {}
        for sessions, user_data, self._risk_event_seq, *market_events in later:  # version 1 has none
            self._sessions.restore(sessions)
            self._set_sessions()
            self._user_data.restore(user_data)
            for state in market_events:  # version 2 has none
                self._market_events.restore(state)
        self._actions.seq, self._outcomes.refusal_seq, self._execution_seq = counters
        self._market.restore(market)
        own_accounts, target_orders, *loss_stops = accounts
        self._accounts.restore(own_accounts)
        self._target_orders.restore(target_orders)
        self._loss_stops.restore(loss_stops[0] if loss_stops else {}, self._market.prices)
        self._reference.restore(reference)
        for name, one in self._running.items():
            if name in strategies:
                one.restore(strategies[name])
            else:
                one.begin(action_counts.get(name, 0), self._accounts.symbols_of(name))
            one.universe.update()
        for name, view in self._views.items():
            view.action_count = action_counts.get(name, 0)
        self._action_counts = dict(action_counts)
        names = self._accounts.accounts.keys() - self._suspendable.keys()
        self._removed.restore(names, removed, strategies, action_counts)
        self._suspensions.restore(suspended, command_ids)


def _has_position(account: SubAccount) -> Callable[[str], bool]:
    """Return a function that tells whether a sub-account has a position in a symbol."""
    return lambda symbol: bool(account.ledger.quantity(symbol))
