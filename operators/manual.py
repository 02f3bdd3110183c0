"""Orders and cancels by hand: what a person's command says, in the terms that the risk checks know.

`SUBMIT_ORDER` has the arguments symbol, side, quantity and, where wanted, order_type, limit_price, time_in_force;
`CANCEL_ORDER` has order_id. All are texts that nobody has checked: who can write to the topic `commands` wrote them.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import NamedTuple

from operators.money import ZERO, quantize
from schemas.records import DAY, MARKET, Command, OrderProposal

SUBMIT_ORDER, CANCEL_ORDER = "SUBMIT_ORDER", "CANCEL_ORDER"
MANUAL = "manual"
"""What stands for the strategy in the proposal and in the portfolio's targets."""
ARGUMENTS = frozenset({"symbol", "side", "quantity", "order_type", "limit_price", "time_in_force"})
QUANTITY_MAX = Decimal(10) ** 12

_PREFIX = "ord-cmd-"
_WORD = re.compile(r"[!-~]{1,32}")
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
    symbol, side = given.get("symbol", ""), given.get("side", "")
    kind, force = given.get("order_type", MARKET), given.get("time_in_force", DAY)
    for name, text in (("symbol", symbol), ("side", side), ("order_type", kind), ("time_in_force", force)):
        if not _WORD.fullmatch(text):
            return _bad(given, name, "one word of at most 32 plain characters")
    for name in sorted(given.keys() - ARGUMENTS):
        return _bad(given, name, f"no other arguments than {', '.join(sorted(ARGUMENTS))}")
    quantity, limit = amount_of(given.get("quantity")), amount_of(given.get("limit_price"))
    if quantity is None or quantity > QUANTITY_MAX:
        return _bad(given, "quantity", f"a number up to {QUANTITY_MAX:f} with at most 9 decimals")
    if limit is None and "limit_price" in given:
        return _bad(given, "limit_price", "a number with at most 9 decimals")
    terms = (symbol, side, quantity, kind, limit, force)
    return OrderProposal(0, ts_ns, command.command_id, *terms, MANUAL, ZERO, f"by hand: {command.actor}", [])


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
