"""One trading strategy with its context, timers and queued updates, and the isolated call of its handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from operators.handler_limit import HandlerCalls, HandlerTimedOut, timeout_error
from operators.raised_error import RaisedError, describe_error
from operators.strategies.trading_strategy import EVERY, TradingStrategy, schedules_of
from operators.trading.account_records import AccountRecords
from operators.trading.context import NewAction, TradingContext
from operators.trading.exchange_sessions import ExchangeSessions
from operators.trading.market_context import Declarations
from operators.trading.order_updates import OrderUpdate
from operators.trading.orders import StrategyOrders
from operators.trading.purity import attributes_of, changed_attribute, plain_state
from operators.trading.settings import TradingSettings
from operators.trading.timers import DailyTimer, IntervalTimer
from operators.trading.universe import Universe
from schemas.errors import BadInput
from schemas.records import (
    DELISTING,
    RIGHTS,
    SPIN_OFF,
    SYMBOL_CHANGE,
    Bar,
    CorporateAction,
    strategy_action_id,
)

VERSION = 2


class RunningStrategy:
    """A strategy, and everything that belongs to it alone."""

    def __init__(
        self,
        strategy: TradingStrategy,
        declarations: Declarations,
        context: TradingContext,
        orders: StrategyOrders,
        universe: Universe,
        settings: TradingSettings,
        calls: HandlerCalls,
    ) -> None:
        self.strategy, self.name = strategy, declarations.name
        self.context, self.orders, self.universe = context, orders, universe
        self.data, self.events = declarations.data, declarations.events
        self.trade_intervals = declarations.trade_intervals
        self.updates: list[OrderUpdate] = []  # of actions that were rejected here, for the next time slice
        self.account_records = AccountRecords(self.name)
        self.targets: dict[str, None] = {}  # symbols with a target
        self._attributes = attributes_of(strategy)
        base = TradingStrategy
        kind = type(strategy)
        self.has_on_slice = kind.on_slice is not base.on_slice
        self.has_on_fill = kind.on_fill is not base.on_fill
        self.has_on_order = kind.on_order is not base.on_order
        self.has_on_event = kind.on_event is not base.on_event
        self._timers: list[tuple[str, DailyTimer | IntervalTimer]] = []
        for handler, schedule in schedules_of(strategy):
            if schedule.kind == EVERY:
                self._timers.append((handler, IntervalTimer(schedule.every_ns)))
            else:
                days = settings.sessions[schedule.calendar or settings.calendar]
                self._timers.append((handler, DailyTimer(schedule, days)))
        self._calendar, self._calls = settings.calendar, calls

    def set_sessions(self, sessions: ExchangeSessions) -> None:
        """Schedule the handlers with `at` by other trading hours from now on."""
        for _, timer in self._timers:
            if isinstance(timer, DailyTimer):
                timer.set_days(sessions.days(timer.schedule.calendar or self._calendar))

    def evaluate(
        self, ts_ns: int, handler: Callable[..., Any], causes: Sequence[str], *arguments: Any
    ) -> list[NewAction] | RaisedError:
        """Call a handler. Return its actions, or what was wrong: then the call has had no effect."""
        context = self.context
        file: str = getattr(getattr(handler, "__code__", None), "co_filename", "")  # of the function of a method
        context.begin(ts_ns, causes)
        try:
            returned = self._calls.run(self.name, "", handler, file, context, *arguments)
            _check_returned(handler, returned)
            self._check_attributes(handler)
            context.state = plain_state(context.state)
            context.symbol_states.commit()
        except HandlerTimedOut as timed_out:
            context.discard()
            return timeout_error(timed_out.timeout)
        except Exception as error:  # noqa: BLE001  (code of the user)
            context.discard()
            code = handler.__code__
            described = describe_error(error, code.co_filename)
            if described.file != code.co_filename:  # found after the call
                described = described._replace(file=code.co_filename, line=code.co_firstlineno)
            return described
        actions, refused = context.commit()
        self.updates += refused
        for action in actions:
            if action.kind.startswith("TARGET_"):
                self.targets[action.symbol] = None
        return actions

    def _check_attributes(self, handler: Callable[..., Any]) -> None:
        after = attributes_of(self.strategy)
        name = changed_attribute(self._attributes, after)
        if name is not None:
            self._attributes = after
            raise BadInput(
                f"{handler.__name__} changed self.{name}, which a snapshot does not contain; "
                f"use ctx.state[{name!r}] instead"
            )

    def apply_action(self, action: CorporateAction, day: int, *, had_bars: bool) -> None:
        """Apply a corporate action to the universe (`Universe.apply_end`). Targets and states follow a new symbol."""
        symbol, new_symbol = action.symbol, action.new_symbol
        if action.kind in (SPIN_OFF, RIGHTS) and symbol in self.universe:
            self.universe.admit_distributed(new_symbol)
        if action.kind not in (SYMBOL_CHANGE, DELISTING):
            return
        was_own = symbol in self.universe
        self.universe.apply_end(action, day, had_bars=had_bars)
        if was_own:
            self.context.symbol_states.end(symbol, self.universe.names.successor(symbol))
        if symbol in self.targets:
            del self.targets[symbol]
            if new_symbol:
                self.targets[new_symbol] = None

    def due_handlers(self, ts_ns: int, bar: Bar | None, open_ns: int) -> list[str]:
        """Return the scheduled handlers that run in this time slice. Call once for each time slice.

        `bar` is a bar of a regular or continuous session in this time slice, which opened at `open_ns`.
        """
        due: list[str] = []
        for handler, timer in self._timers:
            if isinstance(timer, DailyTimer):
                is_due = timer.is_due(ts_ns)
            else:
                is_due = bar is not None and timer.is_due(ts_ns, open_ns)
            if is_due:
                due.append(handler)
        return due

    def next_timer_ns(self) -> int | None:
        """Return when a handler with `at` is due next. One with `every` runs with a bar."""
        timers = (timer.next_ns() for _, timer in self._timers if isinstance(timer, DailyTimer))
        return min((due_ns for due_ns in timers if due_ns is not None), default=None)

    def next_action_id(self) -> str:
        """Return the id of the next action of the platform on behalf of the strategy."""
        self.context.action_count += 1
        return strategy_action_id(self.name, self.context.action_count)

    def begin(self, action_count: int, held: Iterable[str]) -> None:
        """Start without state in a restored stage. The strategy can sell the symbols `held` by its sub-account."""
        self.context.action_count = action_count
        self.universe.restore(None)
        for symbol in held:
            self.universe.admit_distributed(symbol)

    def reset(self) -> None:
        """Start afresh after a resume: without state and undelivered updates."""
        self.context.state = {}
        self.context.symbol_states.clear()
        self.updates = []
        self._attributes = attributes_of(self.strategy)

    def snapshot(self) -> Any:
        return (
            VERSION,
            self.context.action_count,
            plain_state(self.context.state),
            self.orders.snapshot(),
            self.universe.snapshot(),
            [tuple(update) for update in self.updates],
            list(self.targets),
            [(handler, timer.snapshot()) for handler, timer in self._timers],
            self.account_records.snapshot(),
            self.context.symbol_states.snapshot(),
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. A scheduled handler that it lacks starts with the next time slice.

        Version 1 has no states of symbols.
        """
        version, count, state, orders, universe, updates, targets, timers, account_records, *later = snapshot
        assert version in (1, VERSION), f"trading strategy snapshot: version {version}, expected 1 or {VERSION}"
        self.context.symbol_states.restore(later[0] if later else ())
        self.context.action_count, self.context.state = count, plain_state(state)
        self.orders.restore(orders)
        self.universe.restore(universe)
        self.updates = [OrderUpdate(*values) for values in updates]
        self.targets = dict.fromkeys(targets)
        self.account_records.restore(account_records)
        states = dict(timers)
        for handler, timer in self._timers:
            if handler in states:
                timer.restore(states[handler])


def _check_returned(handler: Callable[..., Any], returned: Any) -> None:
    """Reject a return value that shows a misunderstanding. The id of an order, which `submit` returns, is harmless."""
    if returned is not None and not isinstance(returned, str):
        raise BadInput(
            f"{handler.__name__} returned {type(returned).__name__}, expected nothing; "
            "act through ctx, such as ctx.target_weight(symbol, weight)"
        )
