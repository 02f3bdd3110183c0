"""Orders of a file as commands on the tape of a backtest: `time,action,id,symbol,side,quantity,...`.

A row becomes the command that the API writes for the same order, so it passes the risk checks and reaches the venue in
the next time slice. `feed_with_orders.py` adds the commands to the time slices of the bars. The file is read whole and
checked before the run; the first error raises BadInput with the line, what was found and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, get_args

from dataflows.sources.row_times import iso
from dataflows.sources.rows import RowRules, split_line
from dataflows.sources.tape.fields import Choice, RowFields
from operators.bar_completion import FeedSettings
from operators.manual_orders import PRICES_OF, QUANTITY_MAX, TAPE_ROW_SEPARATOR, exit_ids, order_id_of, parse_amount
from operators.money import plain
from operators.risk.commands import AMENDABLE_ARGUMENTS
from schemas.errors import BadInput, InvalidField
from schemas.records import (
    AMEND_ORDER,
    BUY,
    CANCEL_ORDER,
    DAY,
    GTD,
    MARKET,
    SELL,
    SUBMIT_ORDER,
    TRAILING_STOP,
    Command,
    OrderType,
    TimeInForce,
)
from schemas.suggestions import did_you_mean

ORDER_COLUMNS = (
    *("time", "action", "id", "symbol", "side", "quantity", "type", "limit_price", "stop_price", "trail_amount"),
    *("trail_percent", "time_in_force", "expires_at", "take_profit", "stop_loss", "reduce_only", "group", "parent"),
)
_REQUIRED_COLUMNS = ("time", "action")
_SUBMIT: Final = "submit"
_AMEND: Final = "amend"
_CANCEL: Final = "cancel"
_ACTIONS = (_SUBMIT, _AMEND, _CANCEL)
_TRAILS = ("trail_amount", "trail_percent")
_BRACKET_ARGUMENTS = {"take_profit": "take_profit_price", "stop_loss": "stop_loss_price"}
_ID = re.compile(r"[!-}]{1,40}")  # printable ASCII without spaces and without TAPE_ROW_SEPARATOR
_ACTOR = "orders-tape"


class TapeOrder(NamedTuple):
    """One row: its line in the file, its time, and the command that it becomes."""

    line: int
    time_ns: int
    symbol: str
    command: Command


class _Submitted(NamedTuple):
    """The row that submits an order. The exits of its bracket have it too."""

    line: int
    time_ns: int
    symbol: str
    fields: RowFields


def read_orders(path: Path, settings: FeedSettings) -> list[TapeOrder]:
    """Read the orders of a CSV file in order of time; rows with equal times keep the order of the file.

    Times without a zone are in `settings.timezone`. Raises BadInput for the first wrong line.
    """
    reader = _OrderReader(path, RowRules(settings))
    return sorted(reader.read(), key=lambda order: order.time_ns)


class _OrderReader:
    """Reads one file. Rows may name the orders of earlier lines by their id."""

    def __init__(self, path: Path, rules: RowRules) -> None:
        self._path, self._rules = path, rules
        self._submitted: dict[str, _Submitted] = {}

    def read(self) -> list[TapeOrder]:
        try:
            lines = self._path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
        except OSError as error:
            raise BadInput(f"orders file {self._path}: {error.strerror}") from error
        if not lines:
            raise BadInput(f"orders file {self._path} is empty; expected the header {','.join(ORDER_COLUMNS)}")
        delimiter = max(",;\t", key=lines[0].decode("utf-8", "replace").count)
        names = self._header(lines[0], delimiter)
        orders = []
        for number, line in enumerate(lines[1:], 2):
            if not line.strip(b" \t,;"):
                continue
            try:
                orders.append(self._order(number, self._fields(line, delimiter, names)))
            except (BadInput, InvalidField) as error:
                raise BadInput(f"{self._path.name} line {number}: {error}") from error
        return orders

    def _header(self, line: bytes, delimiter: str) -> list[str]:
        fields = split_line(line, delimiter, line.decode("utf-8", "replace").count(delimiter) + 1)
        names = [fields] if isinstance(fields, str) else [name.strip().lower() for name in fields]
        place = f"{self._path.name} line 1"
        for name in names:
            if name not in ORDER_COLUMNS:
                suggestion = did_you_mean(name, ORDER_COLUMNS) or f"; the columns are {', '.join(ORDER_COLUMNS)}"
                raise BadInput(f"{place}: unknown column {name!r}{suggestion}")
            if names.count(name) > 1:
                raise BadInput(f"{place}: column {name} is repeated")
        missing = [name for name in _REQUIRED_COLUMNS if name not in names]
        if missing:
            raise BadInput(f"{place}: column {missing[0]} is missing; found {', '.join(names)}")
        return names

    def _fields(self, line: bytes, delimiter: str, names: list[str]) -> RowFields:
        fields = split_line(line, delimiter, len(names))
        if isinstance(fields, str):
            raise InvalidField(fields)
        return RowFields(dict(zip(names, (field.strip() for field in fields), strict=True)), self._rules)

    def _order(self, line: int, fields: RowFields) -> TapeOrder:
        time_ns = fields.time_ns(("time",))
        if time_ns is None:
            raise InvalidField("field time must be an ISO time or an epoch number, found nothing")
        action = _choice(fields, "action", _ACTIONS)
        if action == _SUBMIT:
            return self._submit(line, time_ns, fields)
        order_id = fields.text("id")
        target = self._known_order("id", order_id, time_ns)
        arguments = {"order_id": order_id_of(f"cmd-{order_id}")}
        changeable = AMENDABLE_ARGUMENTS if action == _AMEND else ()
        for name in ORDER_COLUMNS[3:]:
            if name not in changeable and fields.has(name) and fields.text(name) != target.fields.text(name, ""):
                raise InvalidField(
                    f"field {name} must be empty in a row with the action {action}, found {fields.text(name)!a}"
                )
        if action == _AMEND:
            changes = {name: _amount(fields, name) for name in AMENDABLE_ARGUMENTS if fields.has(name)}
            if not changes:
                raise InvalidField(f"amend must have one of {', '.join(AMENDABLE_ARGUMENTS)}, found none")
            arguments |= changes
        kind = CANCEL_ORDER if action == _CANCEL else AMEND_ORDER
        command_id = f"cmd-{order_id}{TAPE_ROW_SEPARATOR}{line}"
        return TapeOrder(line, time_ns, target.symbol, _command(command_id, time_ns, kind, line, arguments))

    def _known_order(self, field: str, order_id: str, time_ns: int) -> _Submitted:
        """Return the order of an earlier line. Raises InvalidField if there is none, or if it is later in time."""
        submitted = self._submitted.get(order_id)
        if submitted is None:
            raise InvalidField(
                f"field {field} must be the id of an order in an earlier line, found {order_id!r}"
                f"{did_you_mean(order_id, self._submitted)}"
            )
        if time_ns < submitted.time_ns:
            raise InvalidField(
                f"field time must not be before {iso(submitted.time_ns)} of order {order_id} in line {submitted.line}, "
                f"found {iso(time_ns)}"
            )
        return submitted

    def _submit(self, line: int, time_ns: int, fields: RowFields) -> TapeOrder:
        order_id = fields.text("id", f"line-{line}")
        if not _ID.fullmatch(order_id):
            raise InvalidField(
                f"field id must be 1 to 40 printable ASCII characters without spaces and {TAPE_ROW_SEPARATOR}, "
                f"found {order_id!a}"
            )
        symbol = fields.symbol()
        submitted = _Submitted(line, time_ns, symbol, fields)
        exits = exit_ids(order_id, take_profit=fields.has("take_profit"), stop_loss=fields.has("stop_loss"))
        arguments = self._arguments(time_ns, symbol, fields)
        for new_id in (order_id, *exits):
            if new_id in self._submitted:
                raise InvalidField(
                    f"field id must be unique, found {new_id!r} again (line {self._submitted[new_id].line})"
                )
            self._submitted[new_id] = submitted
        command = _command(f"cmd-{order_id}", time_ns, SUBMIT_ORDER, line, arguments)
        return TapeOrder(line, time_ns, symbol, command)

    def _arguments(self, time_ns: int, symbol: str, fields: RowFields) -> dict[str, str]:
        order_type = _choice(fields, "type", get_args(OrderType), MARKET)
        time_in_force = _choice(fields, "time_in_force", get_args(TimeInForce), DAY)
        arguments = {
            "symbol": symbol,
            "side": _choice(fields, "side", (BUY, SELL)),
            "quantity": _amount(fields, "quantity"),
            "order_type": order_type,
            "time_in_force": time_in_force,
        }
        needed = PRICES_OF[order_type]
        for name in ("limit_price", "stop_price"):
            if fields.has(name) is not (name in needed):
                problem = "is required" if name in needed else "must be empty"
                raise InvalidField(f"field {name} {problem} for an order of type {order_type}")
        trails = [name for name in _TRAILS if fields.has(name)]
        if len(trails) != (order_type == TRAILING_STOP):
            raise InvalidField(
                "an order of type TRAILING_STOP needs either trail_amount or trail_percent, and other orders have "
                f"neither; found {' and '.join(trails) or 'neither'} in an order of type {order_type}"
            )
        arguments |= {name: _amount(fields, name) for name in (*needed, *trails)}
        arguments |= {
            argument: _amount(fields, name) for name, argument in _BRACKET_ARGUMENTS.items() if fields.has(name)
        }
        expires_ns = fields.time_ns(("expires_at",))
        if (expires_ns is not None) is not (time_in_force == GTD):
            problem = "is required" if time_in_force == GTD else "must be empty"
            raise InvalidField(f"field expires_at {problem} for time_in_force {time_in_force}")
        if expires_ns is not None:
            arguments["expires_ns"] = str(expires_ns)
        if _choice(fields, "reduce_only", ("TRUE", "FALSE", "1", "0", "YES", "NO"), "FALSE") in ("TRUE", "1", "YES"):
            arguments["reduce_only"] = "true"
        if fields.has("group"):
            arguments["group_id"] = fields.symbol("group")
        if fields.has("parent"):
            parent = fields.text("parent")
            self._known_order("parent", parent, time_ns)
            arguments["parent_id"] = f"cmd-{parent}"
        return arguments


def _command(command_id: str, time_ns: int, kind: str, line: int, arguments: dict[str, str]) -> Command:
    reason = f"line {line} of the orders tape"
    return Command(command_id=command_id, ts_ns=time_ns, kind=kind, actor=_ACTOR, reason=reason, arguments=arguments)


def _choice(fields: RowFields, name: str, allowed: Sequence[Choice], default: Choice | None = None) -> Choice:
    """Return the allowed value, whatever its case; spaces and hyphens count as underscores."""
    text = fields.text(name, default)
    normalized = text.upper().replace(" ", "_").replace("-", "_")
    for candidate in allowed:
        if candidate.upper() == normalized:
            return candidate
    raise InvalidField(f"field {name} must be one of {', '.join(allowed)}, found {text!a}{did_you_mean(text, allowed)}")


def _amount(fields: RowFields, name: str) -> str:
    text = fields.text(name)
    amount = parse_amount(text)
    if amount is None or not 0 < amount <= QUANTITY_MAX:
        raise InvalidField(f"field {name} must be a number > 0 with at most 9 decimals, found {text!a}")
    return plain(amount)
