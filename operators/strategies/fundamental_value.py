"""Own what earns well and is cheap: price to earnings and to book, with a floor for quality."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from operators.strategies.strategy import View
from schemas.errors import BadInput
from schemas.records import FeatureRow, Fundamentals

DAY_NS = 86_400 * 1_000_000_000


class Figures(NamedTuple):
    """What the strategy remembers of a symbol. Prices are limits of the close; 0 to buy means never."""

    filing_id: str
    period_end: int
    filed: int
    expires_ns: int
    buy_below: float
    sell_above: float
    eps: float
    book: float
    held: int


class FundamentalValue:
    """Long while a sound company is cheap: at most `pe_max` times the earnings and `pb_max` times the book value.

    Sound is a return on equity of at least `return_on_equity_min` and debt to equity of at most
    `debt_to_equity_max`. Out when the price to earnings is above `pe_exit`, when a new filing fails, or `age_days_max`
    days after filing. Never short.

    P/E is close / eps of twelve months, P/B is close / (equity / shares). A figure that the filing lacks fails, but
    debt, which is then taken as none. Filings in another currency than `currency` and older periods are not heard.
    After a split, the figures a share are those of the old shares until the next filing. Confidence grows with the
    distance to the limit.
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
        """Raises BadInput for a limit that is not a number > 0, and unless pe_max < pe_exit."""
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

    def decide(self, record: Any, state: Any) -> tuple[Any, View | None]:
        if type(record) is Fundamentals:
            return self._file(record, None if state is None else Figures(*state)), None
        if state is None:
            return None, None
        known = Figures(*state)
        close = record.close
        fresh = record.ts_ns < known.expires_ns
        if known.held:
            wanted = 1 if fresh and close <= known.sell_above else 0
        else:
            wanted = 1 if fresh and close <= known.buy_below else 0
        if wanted == known.held:
            return state, None
        parts = {"close": close, "eps": known.eps, "book_value": known.book}
        if known.eps > 0 and known.book > 0:
            parts |= {"pe": close / known.eps, "pb": close / known.book}
        sure = min(1.0, 0.5 + 0.5 * (1 - close / known.buy_below)) if wanted else 1.0
        view = View(wanted, float(wanted), sure, parts, (known.filing_id,))
        return tuple(known._replace(held=wanted)), view

    def _file(self, filing: Fundamentals, known: Figures | None) -> Any:
        """The state with this filing; the price is judged at the next row."""
        held = 0 if known is None else known.held
        other = filing.currency != self.currency
        if other or (known is not None and (filing.period_end, filing.filed) < (known.period_end, known.filed)):
            return None if known is None else tuple(known)
        facts, ratios = filing.facts, filing.ratios
        eps, shares, equity = facts.get("eps", 0.0), facts.get("shares", 0.0), facts.get("equity", 0.0)
        book = equity / shares if shares > 0 else 0.0
        sound = eps > 0 and book > 0 and ratios.get("return_on_equity", float("-inf")) >= self.equity_return_min
        sound = sound and ratios.get("debt_to_equity", 0.0) <= self.debt_max
        buy_below = min(self.pe_max * eps, self.pb_max * book) if sound else 0.0
        sell_above = self.pe_exit * eps if sound else 0.0
        expires_ns = _midnight_ns(filing.filed) + self.age_ns
        when = (filing.period_end, filing.filed, expires_ns)
        return tuple(Figures(filing.fundamentals_id, *when, buy_below, sell_above, eps, book, held))


def _midnight_ns(day: int) -> int:
    moment = datetime(day // 10_000, day // 100 % 100, day % 100, tzinfo=UTC)
    return round(moment.timestamp()) * 1_000_000_000
