"""Buy profitable companies at a low price-to-earnings and price-to-book ratio."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from operators.strategies.strategy import TargetView
from schemas.errors import BadInput
from schemas.records import FeatureRow, Fundamentals

DAY_NS = 86_400 * 1_000_000_000


class ValuationState(NamedTuple):
    """The state of a symbol. `buy_below` and `sell_above` are limits of the close; `buy_below` 0 means never buy."""

    filing_id: str
    period_end: int
    filed: int
    expires_ns: int
    buy_below: float
    sell_above: float
    eps: float
    book_value: float
    direction: int


class FundamentalValue:
    """Long a sound company at a price of at most `pe_max` times earnings and `pb_max` times book value. Never short.

    A company is sound if its return on equity is at least `return_on_equity_min` and its debt to equity at most
    `debt_to_equity_max`. The position is closed when P/E is above `pe_exit`, when a new filing is not sound, or
    `age_days_max` days after the filing.

    P/E is close / eps over twelve months, P/B is close / (equity / shares). A missing figure makes a filing not sound,
    except debt, which counts as 0. Filings in a currency other than `currency` and filings of older periods are
    ignored. After a split, the per-share figures are those of the old shares until the next filing. Confidence
    increases with the distance to the limit.
    """

    reads = (FeatureRow, Fundamentals)
    features: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        pe_max: float = 15.0,
        pe_exit: float = 22.0,
        pb_max: float = 3.0,
        return_on_equity_min: float = 0.1,
        debt_to_equity_max: float = 1.5,
        age_days_max: int = 200,
        currency: str = "USD",
        name: str = "fundamental_value",
    ) -> None:
        """Raises BadInput for a limit that is not a number > 0, or if pe_max >= pe_exit."""
        numbers = {"pe_max": pe_max, "pe_exit": pe_exit, "pb_max": pb_max, "debt_to_equity_max": debt_to_equity_max}
        for label, value in (numbers | {"age_days_max": age_days_max}).items():
            if type(value) not in (int, float) or not 0 < value < float("inf"):
                raise BadInput(f"strategy {name}: {label} must be a number > 0, found {value!r}")
        if pe_max >= pe_exit:
            raise BadInput(f"strategy {name}: pe_max must be below pe_exit, found {pe_max} and {pe_exit}")
        if type(return_on_equity_min) not in (int, float):
            raise BadInput(f"strategy {name}: return_on_equity_min must be a number, found {return_on_equity_min!r}")
        self.name, self.currency = name, currency
        self.pe_max, self.pe_exit, self.pb_max = pe_max, pe_exit, pb_max
        self.equity_return_min, self.debt_max = return_on_equity_min, debt_to_equity_max
        self.age_ns = round(age_days_max * DAY_NS)

    def decide(self, record: Any, state: Any) -> tuple[Any, TargetView | None]:
        if type(record) is Fundamentals:
            return self._apply_filing(record, None if state is None else ValuationState(*state)), None
        if state is None:
            return None, None
        figures = ValuationState(*state)
        close = record.close
        is_current = record.ts_ns < figures.expires_ns
        if figures.direction:
            target = 1 if is_current and close <= figures.sell_above else 0
        else:
            target = 1 if is_current and close <= figures.buy_below else 0
        if target == figures.direction:
            return state, None
        parts = {"close": close, "eps": figures.eps, "book_value": figures.book_value}
        if figures.eps > 0 and figures.book_value > 0:
            parts |= {"pe": close / figures.eps, "pb": close / figures.book_value}
        confidence = min(1.0, 0.5 + 0.5 * (1 - close / figures.buy_below)) if target else 1.0
        view = TargetView(
            direction=target, strength=float(target), confidence=confidence, parts=parts, causes=(figures.filing_id,)
        )
        return tuple(figures._replace(direction=target)), view

    def _apply_filing(self, filing: Fundamentals, figures: ValuationState | None) -> Any:
        """Return the state with this filing. The price is compared at the next feature row."""
        direction = 0 if figures is None else figures.direction
        other_currency = filing.currency != self.currency
        if other_currency or (
            figures is not None and (filing.period_end, filing.filed) < (figures.period_end, figures.filed)
        ):
            return None if figures is None else tuple(figures)
        facts, ratios = filing.facts, filing.ratios
        eps, shares, equity = facts.get("eps", 0.0), facts.get("shares", 0.0), facts.get("equity", 0.0)
        book_value = equity / shares if shares > 0 else 0.0
        is_sound = (
            eps > 0 and book_value > 0 and ratios.get("return_on_equity", float("-inf")) >= self.equity_return_min
        )
        is_sound = is_sound and ratios.get("debt_to_equity", 0.0) <= self.debt_max
        buy_below = min(self.pe_max * eps, self.pb_max * book_value) if is_sound else 0.0
        sell_above = self.pe_exit * eps if is_sound else 0.0
        updated = ValuationState(
            filing_id=filing.fundamentals_id,
            period_end=filing.period_end,
            filed=filing.filed,
            expires_ns=_midnight_ns(filing.filed) + self.age_ns,
            buy_below=buy_below,
            sell_above=sell_above,
            eps=eps,
            book_value=book_value,
            direction=direction,
        )
        return tuple(updated)


def _midnight_ns(day: int) -> int:
    midnight = datetime(day // 10_000, day // 100 % 100, day % 100, tzinfo=UTC)
    return round(midnight.timestamp()) * 1_000_000_000
