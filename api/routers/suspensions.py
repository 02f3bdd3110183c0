"""The strategies that are suspended because they raised an exception, or by their loss stop."""

from __future__ import annotations

from fastapi import APIRouter

from api.json_types import ApiModel, utc
from api.resources import Db
from api.routers import PREFIX
from schemas.records import StrategySuspension
from sinks.suspensions import suspended_strategies

router = APIRouter(prefix=PREFIX, tags=["strategies and models"])


class SuspendedStrategy(ApiModel):
    """A strategy that raised `error` on `symbol` at event time `since`, in `line` of `file`.

    The error of a loss stop is `LossStop`, without a file.

    `cause_id` is the id of the record that it was evaluating.
    """

    strategy: str
    since: str
    symbol: str
    cause_id: str
    error: str
    message: str
    file: str
    line: int


@router.get("/strategies/suspended")
def get_suspended_strategies(db: Db) -> list[SuspendedStrategy]:
    """The suspended strategies, by name. `POST /strategies/{strategy}/resume` resumes one."""
    return [suspension_out(record) for record in suspended_strategies(db)]


def suspension_out(record: StrategySuspension) -> SuspendedStrategy:
    return SuspendedStrategy(
        strategy=record.strategy,
        since=utc(record.ts_ns),
        symbol=record.symbol,
        cause_id=record.cause_id,
        error=record.error_type,
        message=record.message,
        file=record.file,
        line=record.line,
    )
