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
        bars_by_symbol = {}
        for symbol in query.get("symbols", "").split(","):
            rows = self._broker.market.bars(symbol, start_ns, end_ns, now_ns, limit)
            if rows:
                bars_by_symbol[symbol] = [_bar(row) for row in rows]
        return JSONResponse({"bars": bars_by_symbol, "next_page_token": None})

    async def news(self, _request: Request) -> Response:
        return JSONResponse({"news": self._broker.news[::-1], "next_page_token": None})


def _bar(row: BarRow) -> dict[str, Any]:
    values = {"o": row.open, "h": row.high, "l": row.low, "c": row.close, "v": row.volume, "n": 1, "vw": row.close}
    return {"t": iso(row.open_ns), **values}


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
