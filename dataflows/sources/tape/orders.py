"""Orders of a file as commands on the tape of a backtest: `time,action,id,symbol,side,quantity,...`.

A row becomes the command that the API writes for the same order, so it passes the risk checks and reaches the venue in
the next time slice. A command inside a bar belongs to the bar's time slice. While no bar is open, a command has a time
slice of its own, as in live trading, so that the order works from the next bar's open on. The file is read whole and
checked before the run; the first error raises BadInput with the line, what was found and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import compress
from operator import not_
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeGuard, get_args

from dataflows.sources.feed_source import MarketFeed
from dataflows.sources.row_times import iso
from dataflows.sources.rows import RowRules, split_line
from dataflows.sources.tape.fields import Choice, RowFields
from operators.bar_completion import OPENING_PRICE_SEQ, FeedSettings
from operators.manual_orders import PRICES_OF, QUANTITY_MAX, TAPE_ROW_SEPARATOR, exit_ids, order_id_of, parse_amount
from operators.money import plain
from operators.risk.commands import AMENDABLE_ARGUMENTS
from operators.stage import TimeSlice
from schemas.errors import BadInput, InvalidField
from schemas.records import (
    AMEND_ORDER,
    BUY,
    CANCEL_ORDER,
    CASH_DIVIDEND,
    DAY,
    GTD,
    MARKET,
    PRE,
    REGULAR,
    RIGHTS,
    SELL,
    SPIN_OFF,
    SUBMIT_ORDER,
    TRAILING_STOP,
    Bar,
    Command,
    CorporateAction,
    DeadLetter,
    OrderType,
    Record,
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
STATE_VERSION = 2


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


def _is_converting(record: Record) -> TypeGuard[CorporateAction]:
    """Whether the record is a corporate action that converts or cancels the open orders of its symbol."""
    return type(record) is CorporateAction and record.kind not in (CASH_DIVIDEND, SPIN_OFF, RIGHTS)


def _opening_price(bar: Bar, interval_ns: int) -> Bar:
    """Return a bar without a trade at the open of a symbol's first bar, as its first known price.

    It belongs to the session before, so that the regular session opens with the first bar.
    """
    return bar._replace(
        seq=OPENING_PRICE_SEQ,
        ts_ns=bar.open_ns,
        open_ns=bar.open_ns - interval_ns,
        high=bar.open,
        low=bar.open,
        close=bar.open,
        volume=0.0,
        session=PRE if bar.session == REGULAR else bar.session,
        traded=False,
    )


class FeedWithOrders:
    """A feed with the commands of an orders tape added to its time slices. Orders before `start_ns` are left out.

    Commands while no bar is open have a time slice at their time, with the feed's other records up to then. Those of a
    symbol without a bar so far wait for its first bar. If no earlier time slice is in the way, they enter at its open,
    with a bar without a trade at this price (`_opening_price`), because risk refuses an order without a known price.
    Otherwise they enter with the bar. So do those after a split that takes effect with the next bar: they are in new
    shares, and the split converts the orders that are open by then.
    """

    def __init__(self, feed: MarketFeed, orders: Sequence[TapeOrder], start_ns: int | None = None) -> None:
        self._feed = feed
        self._orders = [order for order in orders if start_ns is None or order.time_ns >= start_ns]
        self._early = len(orders) - len(self._orders)
        self._next = 0
        self._waiting: list[int] = []  # numbers of the orders that wait for the first bar of their symbol
        self._symbols: set[str] = set()
        self._last_ns = 0  # time of the last time slice

    @property
    def interval_ns(self) -> int:
        return self._feed.interval_ns

    @property
    def finished(self) -> bool:
        return self._feed.finished

    def take(self, count: int) -> list[TimeSlice]:
        """Return the feed's next time slices, at most `count`, and those of commands between them."""
        return [merged for time_slice in self._feed.take(count) for merged in self._with_orders(time_slice)]

    def _with_orders(self, time_slice: TimeSlice) -> list[TimeSlice]:
        """Return the time slice with the commands of its bars, after the time slices of commands before its bars."""
        due, orders, last_ns = self._waiting, self._orders, self._last_ns
        while self._next < len(orders) and orders[self._next].time_ns <= time_slice.ts_ns:
            due = [*due, self._next]
            self._next += 1
        self._last_ns, records = time_slice.ts_ns, time_slice.records
        bars = {record.symbol: record for record in records if type(record) is Bar}
        if not due:
            self._symbols.update(bars)
            return [time_slice]
        open_ns = min((bar.open_ns for bar in bars.values()), default=-1)
        split_ns = {
            action.symbol: action.ts_ns for action in filter(_is_converting, reversed(records))
        }  # the first one
        before: dict[int, list[Record]] = {}
        inside: list[Command] = []
        priced: set[str] = set()
        self._waiting = []
        for number in due:
            order = orders[number]
            symbol, enters_ns = order.symbol, order.time_ns
            if symbol not in self._symbols:
                if symbol not in bars:
                    self._waiting.append(number)
                    continue
                enters_ns = bars[symbol].open_ns if enters_ns <= bars[symbol].open_ns > last_ns else time_slice.ts_ns
            if enters_ns >= min(open_ns + 1, split_ns.get(symbol, open_ns + 1)):
                inside.append(order.command)
                continue
            commands = before.setdefault(enters_ns, [])
            if symbol not in self._symbols and symbol not in priced:
                priced.add(symbol)
                commands.append(_opening_price(bars[symbol], self.interval_ns))
            commands.append(order.command)
        self._symbols.update(bars)
        out = []
        for time_ns in sorted(before):
            is_known = [type(record) not in (Bar, DeadLetter) and record.ts_ns <= time_ns for record in records]
            known = list(compress(records, is_known))
            records = list(compress(records, map(not_, is_known)))
            out.append(TimeSlice(time_ns, [*before[time_ns], *known]))
        return [*out, TimeSlice(time_slice.ts_ns, [*inside, *records])]

    def check_end(self, file_name: str) -> list[str]:
        """Return warnings about orders outside the period of the bars, after the last time slice.

        Raises BadInput for an order of a symbol without bars.
        """
        for order in self._orders[: self._next]:
            if order.symbol not in self._symbols:
                raise BadInput(
                    f"{file_name} line {order.line}: no bars of symbol {order.symbol!r}"
                    f"{did_you_mean(order.symbol, self._symbols)}"
                )
        warnings = []
        if self._early:
            warnings.append(f"{file_name}: {self._early} rows before the start were left out")
        late = self._orders[self._next :]
        if late:
            warnings.append(
                f"{file_name}: {len(late)} rows after the last bar had no effect, the first in line {late[0].line} at "
                f"{iso(late[0].time_ns)}"
            )
        return warnings

    def due_ns(self) -> int | None:
        return self._feed.due_ns()

    def state(self) -> dict[str, Any]:
        own = {"next": self._next, "waiting": self._waiting, "symbols": sorted(self._symbols), "last_ns": self._last_ns}
        return {"v": STATE_VERSION, **own, "feed": self._feed.state()}

    def resume(self, state: dict[str, Any] | None) -> FeedWithOrders:
        if state is not None:
            version = state["v"]
            assert version in (1, STATE_VERSION), f"orders tape state of version {version}, expected {STATE_VERSION}"
            self._next, self._symbols = state["next"], set(state["symbols"])
            # Version 1 has no waiting orders.
            self._waiting, self._last_ns = list(state.get("waiting", ())), state.get("last_ns", 0)
            self._feed = self._feed.resume(state["feed"])
        return self
