"""Convert the SEC's companyfacts of one company to point-in-time fundamentals: figures as first reported.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces ("companyfacts"): per concept and
unit a list of observations with `start` (flows only), `end`, `val`, `accn`, `form`, `filed`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, NamedTuple

from operators.fundamentals.ratios import ratios
from schemas.errors import InvalidField
from schemas.records import Fundamentals

FORMS = ("10-K", "10-KT", "10-Q", "20-F", "40-F")
"""Forms that create a record. Amendments (10-K/A ...) create none; their new figures count from the next filing on."""
SOURCE = "sec"
YEAR_DAYS, QUARTER_DAYS = range(350, 381), range(80, 101)
QUARTER_GAP_MAX = timedelta(days=6)  # quarters of a 52/53-week year are not always contiguous
_REVENUE = "RevenueFromContractWithCustomer"
FLOWS: dict[str, tuple[str, ...]] = {
    "revenue": (f"{_REVENUE}ExcludingAssessedTax", "Revenues", "SalesRevenueNet", f"{_REVENUE}IncludingAssessedTax"),
    "gross_profit": ("GrossProfit",),
    "operating_income": ("OperatingIncomeLoss",),
    "net_income": ("NetIncomeLoss", "ProfitLoss"),
    "interest_expense": ("InterestExpense", "InterestExpenseNonoperating", "InterestExpenseDebt"),
    "operating_cash_flow": ("NetCashProvidedByUsedInOperatingActivities",),
    "capital_expenditure": ("PaymentsToAcquirePropertyPlantAndEquipment", "PaymentsToAcquireProductiveAssets"),
    "eps": ("EarningsPerShareDiluted", "EarningsPerShareBasic"),
    "dividends": ("PaymentsOfDividends", "PaymentsOfDividendsCommonStock"),
}
BALANCES: dict[str, tuple[tuple[str, ...], ...]] = {
    "assets": (("Assets",),),
    "current_assets": (("AssetsCurrent",),),
    "current_liabilities": (("LiabilitiesCurrent",),),
    "equity": (("StockholdersEquity",), ("StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest",)),
    "debt": (("LongTermDebt",), ("LongTermDebtNoncurrent", "LongTermDebtCurrent"), ("LongTermDebtNoncurrent",)),
}
"""Alternatives in order of preference. The concepts of one alternative are summed."""
SHARE_COUNTS = (("dei", "EntityCommonStockSharesOutstanding"), ("us-gaap", "CommonStockSharesOutstanding"))


class Observation(NamedTuple):
    """One value of a concept in one filing. `start` is None for a balance at `end`."""

    filed: date
    accn: str
    form: str
    start: date | None
    end: date
    value: float


def filings(companyfacts: Any, symbol: str) -> list[Fundamentals]:
    """Return one record per filing, oldest first. `ts_ns` is 0; the caller sets the time at which it received the data.

    Flows cover the twelve months to the end of the period: as reported, or as the sum of four quarters. A quarter that
    is not reported is the difference of reported periods (the fourth is the year minus nine months). Raises
    InvalidField if `companyfacts` is not a companyfacts object. Incomplete observations are skipped.
    """
    concepts = _concepts(companyfacts)
    currency = _currency(concepts)
    by_concept = {
        fundamentals_id: sorted(observations)
        for fundamentals_id, observations in _observations(concepts, currency).items()
    }
    filings_by_key: dict[tuple[date, str], tuple[str, date]] = {}
    for (taxonomy, _), observations in by_concept.items():
        for one in observations:
            if taxonomy == "us-gaap" and one.form in FORMS and one.end <= one.filed:
                _, end = filings_by_key.get((one.filed, one.accn), ("", one.end))
                filings_by_key[one.filed, one.accn] = (one.form, max(end, one.end))
    out = []
    for (filed_on, accn), (form, end) in sorted(filings_by_key.items()):
        facts = _facts(by_concept, filed_on, end)
        if facts:
            out.append(
                Fundamentals(
                    fundamentals_id=f"fund-{symbol}-{accn}",
                    ts_ns=0,
                    symbol=symbol,
                    period_end=_yyyymmdd(end),
                    filed=_yyyymmdd(filed_on),
                    form=form,
                    source=SOURCE,
                    facts=facts,
                    ratios=ratios(facts),
                    currency=currency,
                )
            )
    return out


ObservationsByConcept = Mapping[tuple[str, str], list[Observation]]


def _facts(by_concept: ObservationsByConcept, as_of: date, end: date) -> dict[str, float]:
    """Return the figures of the period ending at `end` that were filed up to `as_of`."""
    out: dict[str, float] = {}
    for name, concepts in FLOWS.items():
        totals = (_twelve_months(_first_values(by_concept.get(("us-gaap", c), []), as_of), end) for c in concepts)
        _set_if_reported(out, name, next((value for value in totals if value is not None), None))
    for name, choices in BALANCES.items():
        _set_if_reported(
            out, name, next((s for c in choices if (s := _sum_at(by_concept, c, as_of, end)) is not None), None)
        )
    for concept in SHARE_COUNTS:
        instants = [one for one in by_concept.get(concept, []) if one.filed <= as_of and one.value > 0]
        if instants and "shares" not in out:
            latest = max(one.end for one in instants)
            out["shares"] = next(one.value for one in instants if one.end == latest)
    return out


def _set_if_reported(facts: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        facts[name] = value


def _first_values(observations: list[Observation], as_of: date) -> dict[tuple[date | None, date], float]:
    """Return the first filed value of each period, up to `as_of`. `observations` must be in order of filing."""
    out: dict[tuple[date | None, date], float] = {}
    for one in observations:
        if one.filed > as_of:
            break
        out.setdefault((one.start, one.end), one.value)
    return out


def _sum_at(by_concept: ObservationsByConcept, concepts: tuple[str, ...], as_of: date, end: date) -> float | None:
    values = [_first_values(by_concept.get(("us-gaap", concept), []), as_of).get((None, end)) for concept in concepts]
    return None if None in values else sum(value for value in values if value is not None)


def _twelve_months(values: dict[tuple[date | None, date], float], end: date) -> float | None:
    flows = {(start, period_end): value for (start, period_end), value in values.items() if start is not None}
    for (start, period_end), value in flows.items():
        if period_end == end and (period_end - start).days + 1 in YEAR_DAYS:
            return value
    quarters = _quarters(flows)
    total, quarter_end = 0.0, end
    for number in range(4):
        tolerance = timedelta(0) if number == 0 else QUARTER_GAP_MAX
        candidates = [
            (abs(period_end - quarter_end), start, value)
            for (start, period_end), value in quarters.items()
            if abs(period_end - quarter_end) <= tolerance
        ]
        if not candidates:
            return None
        _, start, value = min(candidates)
        total, quarter_end = total + value, start - timedelta(days=1)
    return total


def _quarters(flows: Mapping[tuple[date, date], float]) -> dict[tuple[date, date], float]:
    """Return the reported and derived quarters.

    A quarter is derived as a longer period minus a shorter one with the same start, or minus the quarters at its start.
    """
    quarters = {period: value for period, value in flows.items() if _days(period) in QUARTER_DAYS}
    periods = sorted(flows)
    for start, end in periods:
        for other_start, other_end in periods:
            remainder = (other_end + timedelta(days=1), end)
            if other_start == start and other_end < end and _days(remainder) in QUARTER_DAYS:
                quarters.setdefault(remainder, flows[start, end] - flows[start, other_end])
    for start, end in periods:
        total, next_start = 0.0, start
        while (following := next((p for p in sorted(quarters) if p[0] == next_start and p[1] < end), None)) is not None:
            total, next_start = total + quarters[following], following[1] + timedelta(days=1)
        if next_start != start and _days((next_start, end)) in QUARTER_DAYS:
            quarters.setdefault((next_start, end), flows[start, end] - total)
    return quarters


def _days(period: tuple[date, date]) -> int:
    return (period[1] - period[0]).days + 1


# -- reading -----------------------------------------------------------------------------------------------------------

Units = Mapping[str, list[Any]]


def _concepts(companyfacts: Any) -> dict[tuple[str, str], Units]:
    facts = companyfacts.get("facts") if isinstance(companyfacts, Mapping) else None
    if not isinstance(facts, Mapping):
        raise InvalidField(f"field facts must be an object of taxonomies, found {type(facts).__name__}")
    required = [("us-gaap", c) for concepts in FLOWS.values() for c in concepts]
    required += [("us-gaap", c) for choices in BALANCES.values() for choice in choices for c in choice]
    out: dict[tuple[str, str], Units] = {}
    for taxonomy, name in dict.fromkeys([*required, *SHARE_COUNTS]):
        concept = facts.get(taxonomy, {}).get(name) if isinstance(facts.get(taxonomy, {}), Mapping) else None
        units = concept.get("units") if isinstance(concept, Mapping) else None
        if isinstance(units, Mapping):
            out[taxonomy, name] = {unit: rows for unit, rows in units.items() if isinstance(rows, list)}
    return out


def _currency(concepts: Mapping[tuple[str, str], Units]) -> str:
    """Return USD if any figure is reported in it, otherwise the first currency by name."""
    currencies = {unit for units in concepts.values() for unit in units if len(unit) == 3 and unit.isupper()}
    return "USD" if "USD" in currencies or not currencies else min(currencies)


def _observations(concepts: Mapping[tuple[str, str], Units], currency: str) -> dict[tuple[str, str], list[Observation]]:
    """Return the observations in `currency`, in `currency` per share and in shares. Other units are not comparable."""
    units = {currency, f"{currency}/shares", "shares"}
    return {
        name: [observation for unit, rows in rows_by_unit.items() if unit in units for observation in _read_rows(rows)]
        for name, rows_by_unit in concepts.items()
    }


def _read_rows(rows: list[Any]) -> Iterator[Observation]:
    for row in rows:
        try:
            start = date.fromisoformat(row["start"]) if row.get("start") else None
            end, filed = date.fromisoformat(row["end"]), date.fromisoformat(row["filed"])
            value = float(row["val"])
            accn, form = str(row["accn"]), str(row["form"])
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        if math.isfinite(value) and (start is None or start < end):
            yield Observation(filed=filed, accn=accn, form=form, start=start, end=end, value=value)


def _yyyymmdd(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day
