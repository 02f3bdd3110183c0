"""Orders and cancels by hand: what a person's command says, in the terms that the risk checks know.

`SUBMIT_ORDER` has the arguments symbol, side, quantity and, where wanted, the other terms of an order; with
take_profit_price, stop_loss_price or both it is a bracket: the order, and behind it what closes it, of which one
cancels the other. `CANCEL_ORDER` has order_id. All are texts that nobody has checked: who can write to the topic
`commands` wrote them.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import NamedTuple

from operators.money import ZERO, quantize
from schemas.records import BUY, DAY, GTC, LIMIT, MARKET, SELL, STOP, STOP_LIMIT, Command, OrderProposal

SUBMIT_ORDER, CANCEL_ORDER = "SUBMIT_ORDER", "CANCEL_ORDER"
MANUAL = "manual"
"""What stands for the strategy in the proposal and in the portfolio's targets."""
_WORDS = ("symbol", "side", "order_type", "time_in_force", "group_id", "parent_id")
_AMOUNTS = ("quantity", "limit_price", "stop_price", "trail_amount", "trail_percent")
_EXITS = ("take_profit_price", "stop_loss_price", "stop_loss_limit_price")
ARGUMENTS = frozenset({*_WORDS, *_AMOUNTS, *_EXITS, "expires_ns", "reduce_only"})
QUANTITY_MAX = Decimal(10) ** 12

_PREFIX = "ord-cmd-"
_WORD = re.compile(r"[!-~]{1,64}")
_NANOSECONDS = re.compile(r"\d{1,19}")
_AMOUNT = re.compile(r"\d{1,15}(\.\d{1,9})?")


class BadTerms(NamedTuple):
    """Why a command is no order; `symbol`, `side` and `quantity` as far as they can be told, fit to be stored."""

    symbol: str
    side: str
    quantity: Decimal
    found: str
    limit: str


def order_id_of(command_id: str) -> str:
    """The id of the order that a command leads to: known before risk has decided on it.

    >>> order_id_of("cmd-7f"), is_manual("ord-cmd-7f"), is_manual("ord-7")
    ('ord-cmd-7f', True, False)
    """
    return _PREFIX + command_id.removeprefix("cmd-")


def command_id_of(order_id: str) -> str | None:
    """The other way round; None for an order that no command led to."""
    return "cmd-" + order_id.removeprefix(_PREFIX) if is_manual(order_id) else None


def is_manual(order_id: str) -> bool:
    return order_id.startswith(_PREFIX)


def proposal_of(command: Command, ts_ns: int) -> OrderProposal | BadTerms:
    """What the person wants, as a proposal under the command's id; not on any topic, so without a `seq`."""
    given = command.arguments
    for name in sorted(given.keys() - ARGUMENTS):
        return _bad(given, name, f"no other arguments than {', '.join(sorted(ARGUMENTS))}")
    words = {"order_type": MARKET, "time_in_force": DAY, "group_id": "", "parent_id": ""} | {
        name: given.get(name, "") for name in _WORDS if name in given or name in ("symbol", "side")
    }
    for name, text in words.items():
        if not _WORD.fullmatch(text) and not (name in ("group_id", "parent_id") and not text):
            return _bad(given, name, "one word of at most 64 plain characters")
    amounts = {name: amount_of(given.get(name)) for name in (*_AMOUNTS, *_EXITS)}
    quantity = amounts.pop("quantity")
    if quantity is None or quantity > QUANTITY_MAX:
        return _bad(given, "quantity", f"a number up to {QUANTITY_MAX:f} with at most 9 decimals")
    for name, amount in amounts.items():
        if amount is None and name in given:
            return _bad(given, name, "a number with at most 9 decimals")
    if given.get("reduce_only", "false") not in ("true", "false"):
        return _bad(given, "reduce_only", "true or false")
    expires = given.get("expires_ns")
    if expires is not None and not _NANOSECONDS.fullmatch(expires):
        return _bad(given, "expires_ns", "nanoseconds since 1970")
    return OrderProposal(
        *(0, ts_ns, command.command_id, words["symbol"], words["side"], quantity, words["order_type"]),
        *(amounts["limit_price"], words["time_in_force"], MANUAL, ZERO, f"by hand: {command.actor}", []),
        stop_price=amounts["stop_price"],
        trail_amount=amounts["trail_amount"],
        trail_percent=amounts["trail_percent"],
        expires_ns=None if expires is None else int(expires),
        reduce_only=given.get("reduce_only") == "true",
        group_id=words["group_id"],
        parent_id=words["parent_id"],
    )


def exits_of(command: Command, entry: OrderProposal) -> list[OrderProposal]:
    """What closes the order of a bracket once it is filled: take profit, stop loss, or both, one cancelling the other.

    Good till cancelled and only reducing; they wait at the venue for their parent.
    """
    target, stop, stop_limit = (amount_of(command.arguments.get(name)) for name in _EXITS)
    side = SELL if entry.side == BUY else BUY
    kinds: list[tuple[str, str, Decimal | None, Decimal | None]] = []
    if target is not None:
        kinds.append(("tp", LIMIT, target, None))
    if stop is not None:
        kinds.append(("sl", STOP if stop_limit is None else STOP_LIMIT, stop_limit, stop))
    return [
        entry._replace(
            proposal_id=f"{entry.proposal_id}-{name}",
            side=side,
            order_type=kind,
            limit_price=limit,
            stop_price=stop_price,
            trail_amount=None,
            trail_percent=None,
            time_in_force=GTC,
            expires_ns=None,
            reduce_only=True,
            group_id=f"{entry.proposal_id}-exits",
            parent_id=entry.proposal_id,
        )
        for name, kind, limit, stop_price in kinds
    ]


def storable(command: Command) -> Command:
    """The command without NUL, as decisions repeat parts of it and Postgres has no place for one."""
    texts = (command.command_id, command.kind, command.actor, command.reason, *chain(*command.arguments.items()))
    if not any("\0" in text for text in texts):
        return command
    clean = {_clean(key): _clean(value) for key, value in command.arguments.items()}
    name, kind, actor, reason = map(_clean, texts[:4])
    return Command(name, command.ts_ns, kind, actor, reason, clean)


def _clean(text: str) -> str:
    return text.replace("\0", "\ufffd")


def amount_of(text: str | None) -> Decimal | None:
    """An amount that fits a record, as a person writes it: no sign, no exponent."""
    if text is None or not _AMOUNT.fullmatch(text):
        return None
    try:
        return quantize(Decimal(text))
    except InvalidOperation:
        return None


def _bad(given: dict[str, str], name: str, limit: str) -> BadTerms:
    symbol, side = (text if _WORD.fullmatch(text := given.get(key, "")) else "?" for key in ("symbol", "side"))
    quantity = amount_of(given.get("quantity"))
    shown = ascii(given[name])[:64] if name in given else "nothing"
    fits = quantity if quantity is not None and quantity <= QUANTITY_MAX else ZERO
    return BadTerms(symbol, side, fits, f"{ascii(name)[1:-1][:32]} {shown}", limit)
