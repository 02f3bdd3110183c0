"""Read trades: the plain columns of `lots`, or one of the `LAYOUTS`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from deploy.trade_files.export_rows import export_rows, find_layout
from deploy.trade_files.layouts import ASSET_KINDS, EXECUTIONS, SELL_HELD, FileLayout
from deploy.trade_files.rows import (
    AMOUNT_MAX,
    Line,
    TradeFileRow,
    plain_rows,
    read_json_objects,
    read_lines,
    read_parquet,
    require_consistent_zones,
)
from deploy.trade_files.times import TradeTime
from operators.adjustments import PREFIX, is_adjustment
from operators.ledger import TaxTrade
from operators.ledger.asset_kinds import AssetKind, asset_kind_of
from operators.money import EIGHTEEN_PLACES, ONE, ZERO
from schemas.errors import BadInput
from schemas.records import BUY, SELL
from schemas.suggestions import did_you_mean

FILL_COLUMNS = ("time", "symbol", "side", "quantity", "price", "fee")
OPTIONAL_COLUMNS = ("order_id", "multiplier", "asset_class", "id", "currency")
_READERS: Mapping[str, Callable[[Path], list[Line]]] = {
    ".json": read_json_objects,
    ".parquet": read_parquet,
    ".pq": read_parquet,
}
_DIGITS = re.compile(r"[0-9]+")


class FillRow(NamedTuple):
    """One trade of a file. `fill_id` is "" if the file has no ids.

    `remaining` is what the order had left to fill after the trade, in units; 0 if the file does not name it.
    """

    trade_time: TradeTime
    trade: TaxTrade
    fill_id: str
    remaining: Decimal

    @property
    def event(self) -> TaxTrade:
        return self.trade

    @property
    def event_id(self) -> str:
        return self.trade.trade_id


class FillFile(NamedTuple):
    """The trades of a file in order of time. `skipped` counts the rows that are not trades, by their kind.

    `currency` is "" if the file does not name it.
    """

    fills: list[FillRow]
    skipped: Counter[str]
    currency: str


@EIGHTEEN_PLACES.exact_sums
def read_fills(
    paths: Sequence[Path], zone: ZoneInfo, *, no_securities: Collection[str] = (), skip_actions: Collection[str] = ()
) -> FillFile:
    """Return the trades of one or more files ordered by time, whatever the order of their rows.

    Trades with equal times: in this platform's executions in order of their order ids (an exit comes after its entry);
    elsewhere by symbol, buys before sells. Trades that are equal in this are ordered by their execution ids, then by
    their order ids, then by price, quantity and fee. Numbers in an id are compared by their value. Without an order id,
    rows with the same time, symbol and side are one order. Rows of one order with the same time and price that follow
    each other become one trade. If only some files have times with a zone, the times of the others are in `zone`. Wash
    sales do not apply to the symbols `no_securities`.
    """
    reader, skipped, all_numbered = _FillReader(zone, frozenset(no_securities)), Counter[str](), True
    for path, file in zip(paths, _file_names(paths), strict=True):
        rows, layout = _read_rows(path, file, skip_actions, skipped)
        all_numbered &= layout is EXECUTIONS
        reader.add_file(rows)
    fills = _with_common_zone(reader.fills, zone)
    _check_exempt_symbols(paths, no_securities, {fill.trade.symbol for fill in fills})
    return FillFile(_merge(sorted(fills, key=_numbered_key if all_numbered else _key)), skipped, reader.currency)


def _file_names(paths: Sequence[Path]) -> list[str]:
    """Name each file for messages: by its name, or by its path if several have this name."""
    names = [path.name for path in paths]
    for path in paths:
        if paths.count(path) > 1:
            raise BadInput(f"--fills must list each file once, found {path} twice")
    return [path.name if names.count(path.name) == 1 else str(path) for path in paths]


def _read_rows(
    path: Path, file: str, skip_actions: Collection[str], skipped: Counter[str]
) -> tuple[Iterator[TradeFileRow], FileLayout | None]:
    lines = _READERS.get(path.suffix.lower(), read_lines)(path)
    found = find_layout(lines)
    if found is None:
        _check_optional_columns(file, lines[0].values if lines else [])
        return plain_rows(file, lines, FILL_COLUMNS), None
    layout, header_index = found
    return export_rows(file, lines[header_index:], layout, skip_actions, skipped), layout


def _with_common_zone(fills: list[FillRow], zone: ZoneInfo) -> list[FillRow]:
    if len({fill.trade_time.has_zone for fill in fills}) < 2:
        return fills
    return [fill._replace(trade_time=fill.trade_time.in_zone(zone)) for fill in fills]


class _FillReader:
    """Convert rows to fills, and compare each with the rows before."""

    def __init__(self, zone: ZoneInfo, exempt: frozenset[str]) -> None:
        self.fills: list[FillRow] = []
        self.currency = ""
        self._zone = zone
        self._exempt = exempt
        self._row_of_id: dict[str, TradeFileRow] = {}

    def add_file(self, rows: Iterable[TradeFileRow]) -> None:
        first: TradeTime | None = None
        for row in rows:
            fill = self._fill(row)
            require_consistent_zones(row, fill.trade_time, first)
            first = first or fill.trade_time
            self._check_id(row, fill.fill_id)
            self._check_currency(row)
            self.fills.append(fill)

    def _check_id(self, row: TradeFileRow, fill_id: str) -> None:
        other = self._row_of_id.setdefault(fill_id, row)
        if fill_id and other is not row:
            place = other.name if other.file == row.file else other.place
            raise row.error("id", f"an id that no other row has (it repeats {place})")

    def _check_currency(self, row: TradeFileRow) -> None:
        currency = row.optional("currency").upper()
        if currency and self.currency and currency != self.currency:
            raise row.error("currency", f"{self.currency} as in the rows before")
        self.currency = self.currency or currency

    def _fill(self, row: TradeFileRow) -> FillRow:
        trade_time = row.trade_time("time", self._zone)
        symbol, side = row.text("symbol"), _side(row)
        quantity, price = row.amount("quantity", minimum="above 0"), row.amount("price", minimum="0")
        multiplier = row.amount("multiplier", minimum="above 0") if row.optional("multiplier") else ONE
        if row.is_export and row.optional("value"):
            price = EIGHTEEN_PLACES.divide(abs(row.amount("value", minimum="any")), quantity)
        if quantity * price * multiplier > AMOUNT_MAX:
            raise row.error("quantity", f"such that quantity x price x multiplier is at most {AMOUNT_MAX:,}")
        order_id = row.optional("order_id")
        trade = TaxTrade(
            trade_id=PREFIX + row.place if is_adjustment(order_id) else row.place,
            ts_ns=trade_time.wall_ns,
            symbol=symbol,
            quantity=quantity if side == BUY else -quantity,
            price=price,
            fee=row.amount("fee", minimum="any"),
            multiplier=multiplier,
            order_id=order_id or f"{side[:1]} {symbol} {trade_time.sort_key.isoformat()}",
            asset_kind=self._asset_kind(row, symbol),
            must_be_held=side == SELL_HELD,
        )
        remaining = row.amount("remaining", minimum="0") if row.is_export and row.optional("remaining") else ZERO
        return FillRow(trade_time, trade, row.optional("id"), remaining)

    def _asset_kind(self, row: TradeFileRow, symbol: str) -> AssetKind:
        name = row.optional("asset_class").lower()
        if name and name not in ASSET_KINDS:
            raise row.error("asset_class", f"one of {', '.join(ASSET_KINDS)}{did_you_mean(name, ASSET_KINDS)}")
        kind = ASSET_KINDS[name] if name else asset_kind_of(symbol)
        return AssetKind.OTHER if kind is AssetKind.SECURITY and symbol in self._exempt else kind


def _side(row: TradeFileRow) -> str:
    side = row.optional("side").upper()
    if side not in ((BUY, SELL, SELL_HELD) if row.is_export else (BUY, SELL)):
        raise row.error("side", "BUY or SELL")
    return side


def _check_optional_columns(file: str, header: list[str]) -> None:
    """Raise BadInput for a column that is probably a misspelled optional one: it would be ignored."""
    for name in header:
        known = (*FILL_COLUMNS, *OPTIONAL_COLUMNS)
        if name.lower() not in known and (hint := did_you_mean(name, OPTIONAL_COLUMNS)):
            raise BadInput(f"{file} line 1: column {name} is unknown{hint}")


def _check_exempt_symbols(paths: Sequence[Path], no_securities: Collection[str], symbols: set[str]) -> None:
    for symbol in no_securities:
        if symbol not in symbols:
            files, hint = ", ".join(path.name for path in paths), did_you_mean(symbol, symbols)
            raise BadInput(f"--no-securities must list symbols of {files}, found {symbol!r}{hint}")


def _key(fill: FillRow) -> tuple[object, ...]:
    """Order trades by their content, so that the order of the rows and of the files does not matter."""
    return (fill.trade_time.sort_key, *_key_within_time(fill))


def _numbered_key(fill: FillRow) -> tuple[object, ...]:
    """Order executions of one time by their order id."""
    return (fill.trade_time.sort_key, _by_number(fill.trade.order_id), *_key_within_time(fill))


def _key_within_time(fill: FillRow) -> tuple[object, ...]:
    """The fills of one order leave less and less of it; ids of executions count up at most brokers."""
    trade = fill.trade
    sequence = (-fill.remaining, _by_number(fill.fill_id), _by_number(trade.order_id))
    return (trade.symbol, trade.quantity < 0, *sequence, trade.price, abs(trade.quantity), trade.fee)


def _by_number(text: str) -> tuple[list[tuple[str, int, str]], str]:
    """Return a key that compares the numbers in a text by their value: `ord-9` comes before `ord-10`."""
    texts, numbers = _DIGITS.split(text), [number.lstrip("0") for number in _DIGITS.findall(text)]
    return [*zip(texts, map(len, numbers), numbers, strict=False), (texts[-1], -1, "")], text


def _merge(fills: list[FillRow]) -> list[FillRow]:
    """Merge consecutive trades of one order with the same time and price."""
    merged: list[FillRow] = []
    for fill in fills:
        last = merged[-1] if merged else None
        if last is not None and _terms(last) == _terms(fill):
            trade = last.trade._replace(
                quantity=last.trade.quantity + fill.trade.quantity, fee=last.trade.fee + fill.trade.fee
            )
            merged[-1] = last._replace(trade=trade)
        else:
            merged.append(fill)
    return merged


def _terms(fill: FillRow) -> tuple[object, ...]:
    trade = fill.trade
    return (
        fill.trade_time.sort_key,
        trade.order_id,
        trade.symbol,
        trade.quantity > 0,
        trade.price,
        trade.multiplier,
        trade.asset_kind,
        is_adjustment(trade.trade_id),
    )
