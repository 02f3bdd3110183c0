"""The endpoints of historical bars and news."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deploy.alpaca_server import request_query
from deploy.alpaca_server.broker import LocalBroker, iso
from deploy.alpaca_server.broker_order import invalid
from deploy.alpaca_server.market import SECOND_NS, BarRow

BARS_MAX = 10_000


class DataEndpoints:
    """One method per endpoint."""

    def __init__(self, broker: LocalBroker) -> None:
        self._broker = broker

    async def bars(self, request: Request) -> Response:
        query = request.query_params
        now_ns = time.time_ns()
        start_ns, end_ns = _parse_time_ns(query.get("start"), 0), _parse_time_ns(query.get("end"), now_ns)
        limit = request_query.whole_number(query, "limit", BARS_MAX, BARS_MAX)
        after = _page_start(query.get("page_token"))
        rows: list[BarRow] = []
        for symbol in sorted(query.get("symbols", "").split(",")):
            if symbol >= after[0]:
                first_ns = after[1] + 1 if symbol == after[0] else start_ns
                rows += self._broker.market.bars(symbol, first_ns, end_ns, now_ns, limit + 1 - len(rows))
        bars_by_symbol: dict[str, list[dict[str, Any]]] = {}
        for row in rows[:limit]:
            bars_by_symbol.setdefault(row.symbol, []).append(_bar(row))
        last = rows[limit - 1] if len(rows) > limit else None
        token = None if last is None else f"{last.symbol}|{last.open_ns}"
        return JSONResponse({"bars": bars_by_symbol, "next_page_token": token})

    async def news(self, _request: Request) -> Response:
        return JSONResponse({"news": self._broker.news[::-1], "next_page_token": None})


def _bar(row: BarRow) -> dict[str, Any]:
    values = {"o": row.open, "h": row.high, "l": row.low, "c": row.close, "v": row.volume, "n": 1, "vw": row.close}
    return {"t": iso(row.open_ns), **values}


def _page_start(token: str | None) -> tuple[str, int]:
    """Return the symbol and the time of the last bar before a page; ("", 0) for the first page."""
    symbol, _, open_ns = (token or "|0").rpartition("|")
    if not (open_ns.isascii() and open_ns.isdigit()):
        raise invalid("invalid page_token")
    return symbol, int(open_ns)


def _parse_time_ns(text: str | None, default_ns: int) -> int:
    if not text:
        return default_ns
    try:
        parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise invalid(f"invalid time {text[:40]}") from None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return round(parsed.timestamp() * SECOND_NS)
