"""What risk allows now."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from sqlalchemy import desc, select

from api.resources import Db, Open
from api.routers import PREFIX
from api.shapes import Shape, plain, utc
from schemas.records import ACTIVE
from sinks.tables import risk_fences

router = APIRouter(prefix=f"{PREFIX}/risk", tags=["risk"])


class RiskLimits(Shape):
    """The limits and whether trading is halted.

    A limit is a number, "unlimited", or null: not set, which refuses every order. Money in account currency.
    """

    state: str  # ACTIVE or HALTED
    epoch: int
    reason: str | None
    since: str | None  # None while nothing was ever halted
    limits: dict[str, int | float | str | None]


@router.get("/limits")
def get_limits(db: Db, resources: Open) -> RiskLimits:
    """Current risk limits and the state of the kill switch."""
    fence = db.execute(select(risk_fences).order_by(desc(risk_fences.c.seq)).limit(1)).mappings().first()
    limits = {name: plain(value) for name, value in asdict(resources.settings.risk()).items()}
    return RiskLimits(
        state=ACTIVE if fence is None else fence["state"],
        epoch=0 if fence is None else fence["epoch"],
        reason=None if fence is None else fence["reason"],
        since=None if fence is None else utc(fence["ts_ns"]),
        limits=limits,
    )
