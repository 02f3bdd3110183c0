"""What a trading strategy sees and does: the `ctx` of its handlers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from operators.manual_orders import order_id_of
from operators.money import plain
from operators.trading.accounts import SubAccount
from operators.trading.intervals import interval_text
from operators.trading.market import Market
from operators.trading.market_context import Declarations, MarketContext
from operators.trading.market_events import MarketEvents
from operators.trading.numbers import (
    TEXT_LENGTH_MAX,
    parse_number,
    positive_text,
    tag_text,
)
from operators.trading.order_arguments import SubmittedOrder, exit_terms, order_arguments, order_terms
from operators.trading.order_updates import OrderUpdate, WorkingOrder
from operators.trading.orders import StrategyOrders
from operators.trading.symbol_states import SymbolStates
from operators.trading.universe import Universe
from operators.trading.user_data import UserData
from schemas.errors import BadInput
from schemas.records import (
    AMEND_ORDER,
    CANCEL_ORDER,
    NOTE,
    SUBMIT_ORDER,
    TARGET_QUANTITY,
    TARGET_VIEW,
    TARGET_WEIGHT,
    OrderType,
    StrategyActionKind,
    TimeInForce,
    bar_id,
    feature_id,
    strategy_action_id,
)

WARM_UP = "warm_up"
OPEN_ORDER = "open_order"
ACTIONS_MAX = 10_000
"""Maximum number of actions in one evaluation of a handler."""


class NewAction(NamedTuple):
    """An action of the current evaluation. It becomes a record if the handler returns without an error."""

    action_id: str
    kind: StrategyActionKind
    symbol: str
    arguments: dict[str, str]
    reason: str
    cause_ids: list[str]


def _only_reduces(action: NewAction) -> bool:
    """Whether an action is a reduce-only order, or a target of 0."""
    arguments = action.arguments
    target = arguments.get("weight" if action.kind == TARGET_WEIGHT else "quantity")
    return "reduce_only" in arguments or (action.kind in (TARGET_QUANTITY, TARGET_WEIGHT) and target == "0")


class TradingContext(MarketContext):
    """The market, the positions and orders of one strategy, and its actions.

    Quantities are in units, money in account currency. Members raise BadInput for an unknown symbol, interval or
    indicator and for an invalid number; the evaluation then has no effect, and the strategy is suspended. Orders and
    targets under the old name of a symbol that was renamed, merged or delisted raise it too (SymbolEnded).
    """

    def __init__(
        self,
        declarations: Declarations,
        market: Market,
        account: SubAccount,
        orders: StrategyOrders,
        universe: Universe,
        user_data: UserData,
        market_events: MarketEvents,
    ) -> None:
        super().__init__(declarations, market, universe, user_data, market_events)
        self._account, self._orders = account, orders
        self._causes: list[str] = []
        self._actions: list[NewAction] = []
        self._new_orders: list[str] = []
        self._refused: list[OrderUpdate] = []
        self.action_count = 0  # of the evaluations that succeeded, with those that were rejected here
        self._number = 0
        self.state: dict[Any, Any] = {}
        """The strategy's memory: plain values (numbers, text, None, lists, tuples, dicts), by text."""
        self._symbol_states = SymbolStates()

    def state_of(self, symbol: str) -> dict[Any, Any]:
        """Return the part of the strategy's memory that belongs to a symbol: a dict of plain values, empty at first.

        It follows the symbol: after a symbol change or a merger for stock, the new symbol has it. For an old name, such
        as that of a cancelled order, this is the state of the present symbol. A delisting and a merger into a symbol of
        the universe remove it.
        """
        self._check_symbol(symbol)
        return self._symbol_states.get(self._universe.names.successor(symbol))

    # -- the strategy's account

    def position(self, symbol: str) -> float:
        """Return the strategy's position in signed units, with every fill that `on_fill` has received."""
        self._check_symbol(symbol)
        return float(self._account.ledger.quantity(symbol))

    def entry_price(self, symbol: str) -> float | None:
        """Return the average price of the strategy's open units; None without a position."""
        self._check_symbol(symbol)
        price = self._account.entry_price(symbol)
        return None if price is None else float(price)

    def orders(self, symbol: str | None = None) -> list[WorkingOrder]:
        """Return the strategy's working orders, oldest first, with those that it has just submitted."""
        if symbol is not None:
            self._check_symbol(symbol)
        return self._orders.orders(symbol)

    @property
    def cash(self) -> float:
        """The cash of the strategy: its capital share, less purchases and fees, plus sales and dividends."""
        return float(self._account.ledger.cash)

    @property
    def equity(self) -> float:
        """The cash of the strategy and the value of its positions at the last closes."""
        return float(self._account.equity(self._market.prices))

    # -- actions

    def target_weight(self, symbol: str, weight: float, *, tag: str = "") -> None:
        """Set the target position as a share of the account's equity x `capital`: 0.5, or -0.5 for a short position."""
        number = parse_number("weight", weight)
        if abs(number) > 100:
            raise BadInput(f"weight must be between -100 and 100, found {weight!r:.64}")
        self._target(TARGET_WEIGHT, symbol, {"weight": plain(number)}, tag)

    def target_quantity(self, symbol: str, quantity: float, *, tag: str = "") -> None:
        """Set the target position in signed units."""
        self._target(TARGET_QUANTITY, symbol, {"quantity": plain(parse_number("quantity", quantity))}, tag)

    def target_view(self, symbol: str, direction: int, strength: float = 1.0, *, tag: str = "") -> None:
        """Set the view: direction 1 (long), 0 or -1 (short), strength in [0, 1]. The platform sizes the position."""
        side, share = parse_number("direction", direction), parse_number("strength", strength)
        if side not in (-1, 0, 1) or not 0 <= share <= 1:
            raise BadInput(
                f"direction must be -1, 0 or 1 and strength in [0, 1], found {direction!r:.64} and {strength!r:.64}"
            )
        self._target(TARGET_VIEW, symbol, {"direction": plain(side), "strength": plain(share)}, tag)

    def submit(
        self,
        symbol: str,
        side: str,
        quantity: float,
        type: OrderType | None = None,
        *,
        limit_price: float | None = None,
        stop_price: float | None = None,
        trail_amount: float | None = None,
        trail_percent: float | None = None,
        time_in_force: TimeInForce = "DAY",
        expires: int | None = None,
        take_profit: float | None = None,
        stop_loss: float | None = None,
        stop_loss_limit: float | None = None,
        reduce_only: bool = False,
        group: str = "",
        parent: str = "",
        tag: str = "",
    ) -> str:
        """Submit an order and return its id. Without `type`, the prices determine it.

        `take_profit` and `stop_loss` are the prices of exits that start with the first fill and cancel each other;
        their ids are the order's id with `-tp` and `-sl`. `expires` (nanoseconds) is the end of a GTD order. The first
        of a `group` (a name of your choice) that fills cancels the others. An order with a `parent` (an order id) waits
        for its fill. During warm-up the order is rejected: `on_order` receives it, and the id names no order.
        """
        request = SubmittedOrder(
            symbol=symbol,
            side=side,
            quantity=quantity,
            type=type,
            limit_price=limit_price,
            stop_price=stop_price,
            trail_amount=trail_amount,
            trail_percent=trail_percent,
            time_in_force=time_in_force,
            expires=expires,
            take_profit=take_profit,
            stop_loss=stop_loss,
            stop_loss_limit=stop_loss_limit,
            reduce_only=reduce_only,
            group=group and f"{self._declared.name}-{group}",
            parent=parent,
        )
        self._check_tradable(symbol)
        if parent and not self._orders.is_own(parent, self._number):
            raise BadInput(f"parent must be the id of an order of the strategy, found {parent!r:.64}")
        arguments = order_arguments(request)
        action = self._add(SUBMIT_ORDER, symbol, arguments, tag)
        order_id = order_id_of(action.action_id)
        if self._refuse_in_warm_up(action, "submit", order_id):
            return order_id
        terms = order_terms(arguments, parent)
        self._orders.add(order_id, terms, action.reason)
        self._new_orders.append(order_id)
        for exit_id, one in exit_terms(order_id, terms, arguments):
            self._orders.add(exit_id, one, action.reason)
            self._new_orders.append(exit_id)
        return order_id

    def amend(
        self,
        order_id: str,
        *,
        quantity: float | None = None,
        limit_price: float | None = None,
        stop_price: float | None = None,
        trail_amount: float | None = None,
        trail_percent: float | None = None,
        tag: str = "",
    ) -> None:
        """Change a working order. `quantity` is the new total with what has filled. The order keeps its id."""
        given = {
            "quantity": quantity,
            "limit_price": limit_price,
            "stop_price": stop_price,
            "trail_amount": trail_amount,
            "trail_percent": trail_percent,
        }
        changes = {name: positive_text(name, value) for name, value in given.items() if value is not None}
        if not changes:
            raise BadInput(f"amend must change at least one of {', '.join(given)}")
        self._request(AMEND_ORDER, order_id, changes, tag)

    def cancel(self, order_id: str | None = None, *, tag: str = "") -> None:
        """Cancel an order by its id, all orders of a symbol, or, without an argument or with "all", all orders."""
        if order_id is None or (order_id == "all" and "all" not in self._universe.known):
            order_ids = self._orders.ids()
        elif order_id in self._universe.known:
            order_ids = self._orders.ids(order_id)
        else:
            order_ids = [order_id]
        for one in order_ids:
            self._request(CANCEL_ORDER, one, {}, tag)

    def close(self, symbol: str, *, tag: str = "") -> None:
        """Cancel the strategy's orders of a symbol, and set its target position to 0. A delisted one has neither."""
        self._check_symbol(symbol)
        if self._universe.names.has_ended(symbol) and self._universe.names.current(symbol) is None:
            return
        for order_id in self._orders.ids(symbol):
            self._request(CANCEL_ORDER, order_id, {}, tag)
        self._target(TARGET_QUANTITY, symbol, {"quantity": "0"}, tag)

    def note(self, text: str) -> None:
        """Record a text, for example a reason to do nothing. `explain` and the table of the actions show it."""
        clean = " ".join(str(text).replace("\0", "").encode(errors="replace").decode().split())[:TEXT_LENGTH_MAX]
        self._add(NOTE, "", {"text": clean}, "")

    def _check_tradable(self, symbol: str) -> None:
        self._check_symbol(symbol)
        self._universe.names.check_not_ended(symbol)

    def _target(self, kind: StrategyActionKind, symbol: str, arguments: dict[str, str], tag: str) -> None:
        self._check_tradable(symbol)
        self._refuse_in_warm_up(self._add(kind, symbol, arguments, tag), "target", "")

    def _request(
        self, kind: Literal["AMEND_ORDER", "CANCEL_ORDER"], order_id: str, changes: dict[str, str], tag: str
    ) -> None:
        if not self._orders.is_own(order_id, self._number):
            raise BadInput(f"order id must be that of an order of the strategy, found {order_id!r:.64}")
        symbol = self._orders.symbol_of(order_id)
        request: Literal["amend", "cancel"] = "amend" if kind == AMEND_ORDER else "cancel"
        if symbol is None:
            reason = f"{OPEN_ORDER}: order {order_id} has already ended"
            self._refused.append(
                self._refusal(order_id, "", request, OPEN_ORDER, "an open order", "ended", reason, tag)
            )
            return
        action = self._add(kind, symbol, {"order_id": order_id, **changes}, tag)
        self._orders.add_request(action.action_id, request, order_id)

    def _add(self, kind: StrategyActionKind, symbol: str, arguments: dict[str, str], tag: str) -> NewAction:
        if len(self._actions) >= ACTIONS_MAX:
            raise BadInput(f"one evaluation must have at most {ACTIONS_MAX} actions")
        self._number += 1
        action_id = strategy_action_id(self._declared.name, self._number)
        action = NewAction(
            action_id=action_id,
            kind=kind,
            symbol=symbol,
            arguments=arguments,
            reason=tag_text(tag),
            cause_ids=self._causes_of(symbol),
        )
        self._actions.append(action)
        return action

    def _causes_of(self, symbol: str) -> list[str]:
        """Return the ids of the records behind an action: what the handler received, else the symbol's last bar."""
        if self._causes:
            return list(self._causes)
        one = self._market.symbols.get(symbol)
        if one is not None and one.row is not None:
            return [feature_id(symbol, one.row.seq)]
        return [] if one is None or one.bar is None else [bar_id(symbol, one.bar.seq)]

    @property
    def is_warming_up(self) -> bool:
        """Whether no symbol of the universe has the bars that the strategy declares for its warm-up."""
        bars_min, interval = self._declared.warm_up, self._declared.warm_up_interval
        if not bars_min:
            return False
        known = self._market.symbols
        return not any(
            symbol in known and known[symbol].closed_bars(interval) >= bars_min for symbol in self._universe.symbols
        )

    def _refuse_in_warm_up(self, action: NewAction, request: Literal["submit", "target"], order_id: str) -> bool:
        """Reject an action of a symbol without enough bars. It stays without a record.

        Actions that can only reduce a position are accepted: a symbol with a position can be without bars after a
        symbol change.
        """
        declared, symbol = self._declared, action.symbol
        if not declared.warm_up or (_only_reduces(action) and self._account.ledger.quantity(symbol)):
            return False
        one = self._market.symbols.get(symbol)
        bars = 0 if one is None else one.closed_bars(declared.warm_up_interval)
        if bars >= declared.warm_up:
            return False
        self._actions.pop()
        limit = f"{declared.warm_up} bars of {interval_text(declared.warm_up_interval)}"
        reason = f"{WARM_UP}: {symbol} has {bars} of {limit}"
        self._refused.append(
            self._refusal(order_id, symbol, request, WARM_UP, str(declared.warm_up), str(bars), reason, action.reason)
        )
        return True

    def _refusal(
        self, order_id: str, symbol: str, request: Any, check: str, limit: str, value: str, reason: str, tag: str
    ) -> OrderUpdate:
        return OrderUpdate(
            order_id=order_id,
            symbol=symbol,
            status="rejected",
            request=request,
            check=check,
            limit=limit,
            value=value,
            reason=reason,
            tag=tag,
            filled=0.0,
            time=self._time,
        )

    # -- for the stage

    @property
    def symbol_states(self) -> SymbolStates:
        """The memory of `state_of`."""
        return self._symbol_states

    def begin(self, ts_ns: int, causes: Sequence[str] = ()) -> None:
        """Start an evaluation. `causes` are the ids of the records that the handler receives."""
        self._time, self._number = ts_ns, self.action_count
        self._causes = list(causes)
        self._actions, self._new_orders, self._refused = [], [], []

    def commit(self) -> tuple[list[NewAction], list[OrderUpdate]]:
        """End an evaluation. Return its actions, and the updates about actions that were rejected here."""
        actions, refused = self._actions, self._refused
        self.action_count = self._number
        self._actions, self._new_orders, self._refused = [], [], []
        return actions, refused

    def discard(self) -> None:
        """End an evaluation that failed, without an effect."""
        self._orders.discard(self._new_orders, [action.action_id for action in self._actions])
        self._actions, self._new_orders, self._refused = [], [], []
