"""Closed lots: entry, exit, P&L, and the worst and the best price in between."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select

from api.excursions import excursions_of
from api.json_types import Amount, ApiModel, TextLine, utc
from api.pagination import Before, newest_page
from api.resources import Db
from api.routers import PREFIX
from operators.excursions import Excursion
from schemas.records import LotDirection, LotMatch
from sinks.record_tables import record_of
from sinks.tables import lot_matches

LOTS_MAX = 100
"""Lots of a page. Fewer than those of other lists, because each lot needs the bars between its entry and exit."""

router = APIRouter(prefix=f"{PREFIX}/portfolio/closed-lots", tags=["portfolio"])


class ClosedLotOut(ApiModel):
    """A lot, or the part of a lot that one execution closed. `pnl` is before `fees`, which are those of both sides.

    `mae` and `mfe` are the maximum adverse and favourable excursion: the worst and the best unrealized result per unit
    between entry and exit, as fractions of the entry price. Both are null if the symbol was split or renamed while the
    lot was open, if the bar of the entry is not stored, or if more than 10,000 bars lie between entry and exit.
    `strategy` is that of the order that opened the lot: "a+b" for an order of several strategies, "manual" for a manual
    order. It is null for a lot that was open during the upgrade from a release that did not record it.
    """

    seq: int
    match_id: str
    symbol: str
    direction: LotDirection
    quantity: Amount
    opened_at: str
    entry_price: Amount
    closed_at: str
    exit_price: Amount
    pnl: Amount
    fees: Amount
    mae: float | None
    mfe: float | None
    strategy: str | None
    lot_id: str
    open_execution_id: str
    close_execution_id: str


class ClosedLotPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    lots: list[ClosedLotOut]
    next: int | None


@router.get("")
def get_closed_lots(
    db: Db,
    symbol: TextLine | None = None,
    strategy: TextLine | None = None,
    before: Before = None,
    limit: Annotated[int, Query(ge=1, le=LOTS_MAX)] = LOTS_MAX,
) -> ClosedLotPage:
    """Closed lots, newest first, `limit` per page."""
    rows, next_before = newest_page(
        db, select(lot_matches), lot_matches, before=before, limit=limit, symbol=symbol, strategy=strategy
    )
    matches = [record_of(LotMatch, row) for row in rows]
    excursions = excursions_of(db, matches)
    return ClosedLotPage(
        lots=[_closed_lot_out(match, excursions.get(match.match_id)) for match in matches], next=next_before
    )


def _closed_lot_out(match: LotMatch, excursion: Excursion | None) -> ClosedLotOut:
    fractions = None if excursion is None else excursion.fractions(match)
    mae, mfe = (None, None) if fractions is None else fractions
    return ClosedLotOut(
        seq=match.seq,
        match_id=match.match_id,
        symbol=match.symbol,
        direction=match.direction,
        quantity=match.quantity,
        opened_at=utc(match.opened_ns),
        entry_price=match.entry_price,
        closed_at=utc(match.closed_ns),
        exit_price=match.exit_price,
        pnl=match.pnl,
        fees=match.fees,
        mae=mae,
        mfe=mfe,
        strategy=match.strategy or None,
        lot_id=match.lot_id,
        open_execution_id=match.open_execution_id,
        close_execution_id=match.close_execution_id,
    )
