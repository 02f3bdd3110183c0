"""Internal crosses: trades between two strategies of the account, without an order and without a fee."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import ColumnElement, Connection, or_, select

from api.json_types import Amount, ApiModel, TextLine, utc
from api.pagination import Before, Limit, newest_page
from api.resources import Db
from api.routers import PREFIX
from schemas.records import InternalCross
from sinks.record_tables import record_of
from sinks.tables import internal_crosses

router = APIRouter(prefix=f"{PREFIX}/internal-crosses", tags=["strategies and models"])


class InternalCrossOut(ApiModel):
    """A trade between two strategies: `seller` sold `quantity` units to `buyer` at `price`.

    The price is that of the first fill of the order that traded their difference, or the last price of the symbol if
    no order was needed. `cause_ids` are the proposal and the fill, or the signals and actions behind the targets;
    `GET /lineage/{record_id}` explains the cross and each of them.
    """

    seq: int
    timestamp: str
    cross_id: str
    symbol: str
    quantity: Amount
    price: Amount
    buyer: str
    seller: str
    cause_ids: list[str]


class InternalCrossPage(ApiModel):
    """Newest first. `next` is the value of `before` for the next page, null on the last page."""

    crosses: list[InternalCrossOut]
    next: int | None


@router.get("")
def get_internal_crosses(
    db: Db,
    strategy: TextLine | None = None,
    symbol: TextLine | None = None,
    before: Before = None,
    limit: Limit = 100,
) -> InternalCrossPage:
    """Internal crosses, newest first, `limit` per page. `strategy` is the buyer or the seller."""
    return find_crosses(db, strategy=strategy, symbol=symbol, before=before, limit=limit)


def find_crosses(
    db: Connection, *, strategy: str | None, symbol: str | None, before: int | None, limit: int
) -> InternalCrossPage:
    query = select(internal_crosses)
    if strategy is not None:
        query = query.where(_is_side(strategy))
    rows, next_before = newest_page(db, query, internal_crosses, before=before, limit=limit, symbol=symbol)
    return InternalCrossPage(crosses=[_cross_out(record_of(InternalCross, row)) for row in rows], next=next_before)


def _is_side(strategy: str) -> ColumnElement[bool]:
    return or_(internal_crosses.c.buyer == strategy, internal_crosses.c.seller == strategy)


def _cross_out(cross: InternalCross) -> InternalCrossOut:
    values = {name: value for name, value in cross._asdict().items() if name != "ts_ns"}
    return InternalCrossOut(**values, timestamp=utc(cross.ts_ns))
