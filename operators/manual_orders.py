"""Orders that do not come from the portfolio: convert a request into a proposal for the risk checks.

A request is a user's command (a manual order) or the action of a trading strategy. Both have the same arguments.

`SUBMIT_ORDER` takes the arguments symbol, side, quantity and, optionally, the other terms of an order. With
take_profit_price, stop_loss_price or both it is a bracket: an entry order and exit orders that cancel each other.
`CANCEL_ORDER` takes order_id. All arguments are unvalidated text, because any client with write access to the topic
`commands` can publish them, and strategies are the user's own code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Final, NamedTuple, cast

from operators.adjustments import is_adjustment
from operators.money import ZERO, quantize
from schemas.records import (
    AMEND_ORDER,
    BUY,
    DAY,
    GTC,
    LIMIT,
    MARKET,
    SELL,
    STOP,
    STOP_LIMIT,
    TRAILING_STOP,
    Command,
    OrderProposal,
    OrderTerms,
    OrderType,
    Side,
    StrategyAction,
    TimeInForce,
)

MANUAL = "manual"
"""Strategy name of manual orders in proposals and in the portfolio's targets."""
_TEXT_ARGUMENTS = ("symbol", "side", "order_type", "time_in_force", "group_id", "parent_id")
_AMOUNT_ARGUMENTS = ("quantity", "limit_price", "stop_price", "trail_amount", "trail_percent")
_EXIT_ARGUMENTS = ("take_profit_price", "stop_loss_price", "stop_loss_limit_price")
ARGUMENTS = frozenset({*_TEXT_ARGUMENTS, *_AMOUNT_ARGUMENTS, *_EXIT_ARGUMENTS, "expires_ns", "reduce_only"})
QUANTITY_MAX = Decimal(10) ** 12

_PREFIX = "ord-cmd-"
ACTION_PREFIX: Final = "act-"
"""First characters of the ids of trading strategies' actions (`strategy_action_id`)."""
_ORDER_PREFIX: Final = "ord-"
_ACTION_ORDER_PREFIX: Final = _ORDER_PREFIX + ACTION_PREFIX
_TAKE_PROFIT_SUFFIX: Final = "-tp"
_STOP_LOSS_SUFFIX: Final = "-sl"
LIQUIDATION_PREFIX: Final = "liquidation-"
"""The orders by which the broker closes an account have ids that begin with this."""
EXIT_SUFFIXES = (_TAKE_PROFIT_SUFFIX, _STOP_LOSS_SUFFIX)
"""Added to the id of a command, they are the ids of the exit orders of its bracket."""
ACTION_STRATEGY_PATTERN: Final = f"^{ACTION_PREFIX}(.*)-[0-9]+({'|'.join(EXIT_SUFFIXES)})?$"
"""Regular expression for SQL that matches the cause of a trading strategy's order. Group 1 is the strategy."""
PRICES_OF: Final[Mapping[OrderType, tuple[str, ...]]] = {
    MARKET: (),
    LIMIT: ("limit_price",),
    STOP: ("stop_price",),
    STOP_LIMIT: ("limit_price", "stop_price"),
    TRAILING_STOP: (),
}
"""The prices that an order of each type must have. A trailing stop has an amount or a percentage instead."""
TAPE_ROW_SEPARATOR: Final = "~"
"""Separator in two kinds of ids: of commands from an orders tape (order id, line that amends or cancels it), and of a
strategy's order that a person has amended (previous order id, id of the command)."""
ORDER_STRATEGY_PATTERN: Final = f"^ord-{ACTION_PREFIX}(.*)-[0-9]+({'|'.join(EXIT_SUFFIXES)})?(~.*)?$"
"""Regular expression for SQL that matches the id of a trading strategy's order. Its first group is the strategy."""
_REDUCED_MARK: Final = TAPE_ROW_SEPARATOR + "own-"
"""In the id of an order that risk has reduced to the units that its strategy still has."""
_IDENTIFIER_PATTERN = re.compile(r"[!-~]{1,64}")
_NANOSECONDS_PATTERN = re.compile(r"\d{1,19}")
_AMOUNT_PATTERN = re.compile(r"\d{1,15}(\.\d{1,9})?")


OrderRequest = Command | StrategyAction
"""A record that submits, amends or cancels an order."""


class InvalidTerms(NamedTuple):
    """Why a request is not a valid order. `symbol`, `side` and `quantity` are sanitized for storage."""

    symbol: str
    side: str
    quantity: Decimal
    value: str
    expected: str


def request_id_of(request: OrderRequest) -> str:
    """Return the id of the command or action."""
    return request.command_id if type(request) is Command else request.action_id


def strategy_of(request: OrderRequest) -> str:
    """Return the strategy that requests an order; `MANUAL` for a command."""
    return MANUAL if type(request) is Command else request.strategy


def order_id_of(request_id: str) -> str:
    """Return the id of the order that a request creates. The id is known before risk decides on the order.

    >>> order_id_of("cmd-7f"), is_manual("ord-cmd-7f"), is_manual("ord-7")
    ('ord-cmd-7f', True, False)
    >>> order_id_of("act-pairs-7"), is_manual("ord-act-pairs-7")
    ('ord-act-pairs-7', False)
    """
    if request_id.startswith(ACTION_PREFIX):
        return _ORDER_PREFIX + request_id
    return _PREFIX + request_id.removeprefix("cmd-")


def amended_order_id(request_id: str, old_id: str) -> str:
    """Return the id of the order that replaces `old_id`. A strategy's order that a person amends stays its own.

    >>> amended_order_id("cmd-7f", "ord-act-pairs-7"), amended_order_id("act-pairs-9", "ord-act-pairs-7")
    ('ord-act-pairs-7~7f', 'ord-act-pairs-9')
    """
    if action_id_of(old_id) is None or request_id.startswith(ACTION_PREFIX):
        return order_id_of(request_id)
    return old_id.partition(TAPE_ROW_SEPARATOR)[0] + TAPE_ROW_SEPARATOR + request_id.removeprefix("cmd-")


def reduced_order_id(old_id: str, seq: int) -> str:
    """Return the id of the order by which risk replaces an order of a strategy that can close too many units.

    >>> reduced_order_id("ord-act-pairs-7", 12), reduced_order_id("ord-act-pairs-7~7f", 12)
    ('ord-act-pairs-7~own-12', 'ord-act-pairs-7~own-12')
    >>> command_id_of("ord-act-pairs-7~own-12") is None, trading_strategy_of("ord-act-pairs-7~own-12")
    (True, 'pairs')
    """
    return f"{old_id.partition(TAPE_ROW_SEPARATOR)[0]}{_REDUCED_MARK}{seq}"


def requested_order_id(command: Command) -> str:
    """Return the id of the order that a `SUBMIT_ORDER` or `AMEND_ORDER` command requests."""
    if command.kind != AMEND_ORDER:
        return order_id_of(command.command_id)
    return amended_order_id(command.command_id, command.arguments.get("order_id", ""))


def command_id_of(order_id: str) -> str | None:
    """Return the id of the command that created an order; None for an order of a strategy that nobody has amended.

    >>> command_id_of("ord-cmd-7f"), command_id_of("ord-act-pairs-7~7f"), command_id_of("ord-act-pairs-7")
    ('cmd-7f', 'cmd-7f', None)
    """
    if order_id.startswith(_ACTION_ORDER_PREFIX):
        _, separator, command = order_id.partition(TAPE_ROW_SEPARATOR)
        return "cmd-" + command if separator and _REDUCED_MARK not in order_id else None
    return "cmd-" + order_id.removeprefix(_PREFIX) if order_id.startswith(_PREFIX) else None


def action_id_of(order_id: str) -> str | None:
    """Return the id of the action that created an order; None for all other orders.

    The id of an exit of a bracket has the suffix of the exit.

    >>> action_id_of("ord-act-pairs-7"), action_id_of("ord-act-pairs-7-tp~7f"), action_id_of("ord-7")
    ('act-pairs-7', 'act-pairs-7-tp', None)
    """
    if not order_id.startswith(_ACTION_ORDER_PREFIX):
        return None
    return order_id.partition(TAPE_ROW_SEPARATOR)[0].removeprefix(_ORDER_PREFIX)


def trading_strategy_of(order_id: str) -> str | None:
    """Return the trading strategy whose action created an order; None for all other orders.

    >>> trading_strategy_of("ord-act-pairs-7"), trading_strategy_of("ord-act-mean-rev-12-sl")
    ('pairs', 'mean-rev')
    >>> trading_strategy_of("ord-7"), trading_strategy_of("ord-cmd-7f")
    (None, None)
    """
    action_id = action_id_of(order_id)
    if action_id is None:
        return None
    return (entry_cause_id(action_id) or action_id).removeprefix(ACTION_PREFIX).rpartition("-")[0]


def client_id_of(order_id: str) -> str:
    """Return the id by which the sender of a manual order knows it; "" for an order of a strategy.

    An amended order of an orders tape keeps the id of the row that submitted it.

    >>> client_id_of("ord-cmd-entry"), client_id_of("ord-cmd-entry~7"), client_id_of("ord-7")
    ('entry', 'entry', '')
    """
    return order_id.removeprefix(_PREFIX).partition(TAPE_ROW_SEPARATOR)[0] if order_id.startswith(_PREFIX) else ""


def exit_ids(entry_id: str, *, take_profit: bool, stop_loss: bool) -> list[str]:
    """Return the ids of the exit orders of a bracket, from the id of its entry.

    >>> exit_ids("cmd-7f", take_profit=True, stop_loss=True)
    ['cmd-7f-tp', 'cmd-7f-sl']
    """
    present = (take_profit, stop_loss)
    return [entry_id + suffix for suffix, is_present in zip(EXIT_SUFFIXES, present, strict=True) if is_present]


def entry_cause_id(cause_id: str) -> str | None:
    """Return the id of the request whose bracket contains this exit order; None if the id is not that of an exit.

    >>> entry_cause_id("cmd-7f-tp"), entry_cause_id("cmd-7f")
    ('cmd-7f', None)
    """
    entry_id, separator, suffix = cause_id.rpartition("-")
    return entry_id if separator and entry_id and f"-{suffix}" in EXIT_SUFFIXES else None


def is_manual(order_id: str) -> bool:
    """Whether a person, not a strategy, is behind an order id: a manual order or an adjustment."""
    return order_id.startswith(_PREFIX) or is_adjustment(order_id)


def is_for_account(order_id: str) -> bool:
    """Whether an order trades for the account, and not for strategies: a manual one, an adjustment or a liquidation.

    It closes manual positions first, then those of the strategies in the order of their names.

    >>> is_for_account("ord-cmd-7f"), is_for_account("liquidation-1"), is_for_account("ord-7")
    (True, True, False)
    """
    return is_manual(order_id) or order_id.startswith(LIQUIDATION_PREFIX)


def parse_proposal(request: OrderRequest, ts_ns: int) -> OrderProposal | InvalidTerms:
    """Parse a `SUBMIT_ORDER` request into a proposal with the request's id.

    The proposal is not published, so its `seq` is 0. Return `InvalidTerms` for the first invalid argument.
    """
    arguments = request.arguments
    for name in sorted(arguments.keys() - ARGUMENTS):
        return _invalid_terms(arguments, name, f"only the arguments {', '.join(sorted(ARGUMENTS))}")
    texts = {"order_type": MARKET, "time_in_force": DAY, "group_id": "", "parent_id": ""} | {
        name: arguments.get(name, "") for name in _TEXT_ARGUMENTS if name in arguments or name in ("symbol", "side")
    }
    for name, text in texts.items():
        if not _IDENTIFIER_PATTERN.fullmatch(text) and not (name in ("group_id", "parent_id") and not text):
            return _invalid_terms(arguments, name, "1 to 64 printable ASCII characters without spaces")
    amounts = {name: parse_amount(arguments.get(name)) for name in (*_AMOUNT_ARGUMENTS, *_EXIT_ARGUMENTS)}
    quantity = amounts.pop("quantity")
    if quantity is None or quantity > QUANTITY_MAX:
        return _invalid_terms(arguments, "quantity", f"a number up to {QUANTITY_MAX:f} with at most 9 decimals")
    for name, amount in amounts.items():
        if amount is None and name in arguments:
            return _invalid_terms(arguments, name, "a number with at most 9 decimals")
    if arguments.get("reduce_only", "false") not in ("true", "false"):
        return _invalid_terms(arguments, "reduce_only", "true or false")
    expires = arguments.get("expires_ns")
    if expires is not None and not _NANOSECONDS_PATTERN.fullmatch(expires):
        return _invalid_terms(arguments, "expires_ns", "nanoseconds since 1970")
    terms = OrderTerms(
        symbol=texts["symbol"],
        # The risk check `order_terms` refuses an unknown side, order type or time in force.
        side=cast(Side, texts["side"]),
        quantity=quantity,
        order_type=cast(OrderType, texts["order_type"]),
        time_in_force=cast(TimeInForce, texts["time_in_force"]),
        limit_price=amounts["limit_price"],
        stop_price=amounts["stop_price"],
        trail_amount=amounts["trail_amount"],
        trail_percent=amounts["trail_percent"],
        expires_ns=None if expires is None else int(expires),
        reduce_only=arguments.get("reduce_only") == "true",
        group_id=texts["group_id"],
        parent_id=texts["parent_id"],
    )
    return OrderProposal(
        seq=0,
        ts_ns=ts_ns,
        proposal_id=request_id_of(request),
        terms=terms,
        strategy=strategy_of(request),
        reference_price=ZERO,
        sizing=f"manual order by {request.actor}" if type(request) is Command else f"order of {request.strategy}",
        signal_ids=[],
    )


def bracket_exits(request: OrderRequest, entry: OrderProposal) -> list[OrderProposal]:
    """Return the exit orders of a bracket: take profit, stop loss, or both in one OCO group.

    They are reduce-only and good till cancelled. They wait at the venue until their parent is filled.
    """
    take_profit, stop_loss, stop_loss_limit = (
        parse_amount(request.arguments.get(suffix)) for suffix in _EXIT_ARGUMENTS
    )
    exit_terms = OrderTerms(
        symbol=entry.terms.symbol,
        side=SELL if entry.terms.side == BUY else BUY,
        quantity=entry.terms.quantity,
        order_type=LIMIT,
        time_in_force=GTC,
        reduce_only=True,
        group_id=f"{entry.proposal_id}-exits",
        parent_id=entry.proposal_id,
    )
    exits: list[OrderProposal] = []
    if take_profit is not None:
        terms = exit_terms._replace(limit_price=take_profit)
        exits.append(entry._replace(proposal_id=entry.proposal_id + _TAKE_PROFIT_SUFFIX, terms=terms))
    if stop_loss is not None:
        order_type: OrderType = STOP if stop_loss_limit is None else STOP_LIMIT
        terms = exit_terms._replace(order_type=order_type, limit_price=stop_loss_limit, stop_price=stop_loss)
        exits.append(entry._replace(proposal_id=entry.proposal_id + _STOP_LOSS_SUFFIX, terms=terms))
    return exits


def without_nul(command: Command) -> Command:
    """Replace NUL characters in a command. Decisions repeat parts of it, and PostgreSQL cannot store NUL."""
    texts = (command.command_id, command.kind, command.actor, command.reason, *chain(*command.arguments.items()))
    if not any("\0" in text for text in texts):
        return command
    arguments = {_replace_nul(key): _replace_nul(value) for key, value in command.arguments.items()}
    return command._replace(
        command_id=_replace_nul(command.command_id),
        kind=_replace_nul(command.kind),
        actor=_replace_nul(command.actor),
        reason=_replace_nul(command.reason),
        arguments=arguments,
    )


def _replace_nul(text: str) -> str:
    return text.replace("\0", "\ufffd")


def parse_amount(text: str | None) -> Decimal | None:
    """Parse an amount without sign and exponent: at most 15 digits and 9 decimals. Return None if it is invalid."""
    if text is None or not _AMOUNT_PATTERN.fullmatch(text):
        return None
    try:
        return quantize(Decimal(text))
    except InvalidOperation:
        return None


def _invalid_terms(arguments: dict[str, str], name: str, expected: str) -> InvalidTerms:
    symbol, side = (
        text if _IDENTIFIER_PATTERN.fullmatch(text := arguments.get(key, "")) else "?" for key in ("symbol", "side")
    )
    quantity = parse_amount(arguments.get("quantity"))
    value_text = ascii(arguments[name])[:64] if name in arguments else "missing"
    storable_quantity = quantity if quantity is not None and quantity <= QUANTITY_MAX else ZERO
    return InvalidTerms(
        symbol=symbol,
        side=side,
        quantity=storable_quantity,
        value=f"{ascii(name)[1:-1][:32]} is {value_text}",
        expected=expected,
    )
