"""Point-in-time companyfacts: hand-written filings with restatements, repeats, gaps, units and fiscal periods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from configs.settings import load_settings
from dataflows.sources.fundamentals import fundamentals_source
from dataflows.sources.fundamentals.files import FundamentalsFileSource
from dataflows.sources.fundamentals.sec import SecFactsSource
from dataflows.sources.row_times import iso
from dataflows.sources.tape import Tape, TapeFiles
from operators.bar_completion import FeedSettings
from operators.fundamentals import FACTS, RATIOS, filings, ratios
from schemas.codec import decode, encode
from schemas.errors import BadInput, InvalidField, Unavailable
from schemas.records import Fundamentals
from tests.unit.local_http_server import LocalServer, local_server

NOW_NS = int(datetime(2024, 3, 11, 15, tzinfo=UTC).timestamp()) * 10**9
Q1, H1, M9, FY = "2022-03-31", "2022-06-30", "2022-09-30", "2022-12-31"
FILED = {"K21": "2022-02-10", "Q1": "2022-05-05", "Q2": "2022-08-04", "Q3": "2022-11-03", "K22": "2023-02-09"}


def row(filing: str, end: str, value: Any, start: str | None = None, form: str | None = None) -> dict[str, Any]:
    kind = form or ("10-K" if filing.startswith("K") else "10-Q")
    fact = {"end": end, "val": value, "accn": filing, "form": kind, "filed": FILED[filing], "fy": 2022, "fp": "?"}
    return fact | ({"start": start} if start else {})


def company(**concepts: Any) -> dict[str, Any]:
    """Build companyfacts with us-gaap concepts in USD. A dict sets its own units."""
    units = {name: {"units": rows if isinstance(rows, dict) else {"USD": rows}} for name, rows in concepts.items()}
    return {"cik": 1, "entityName": "X", "facts": {"us-gaap": units}}


REVENUE = [
    row("K21", "2021-12-31", 100, "2021-01-01"),
    row("K21", "2021-12-31", 30, "2021-10-01"),
    row("Q1", Q1, 28, "2022-01-01"),
    row("Q1", "2021-03-31", 20, "2021-01-01"),
    row("Q2", H1, 60, "2022-01-01"),
    row("Q2", H1, 32, "2022-04-01"),
    row("Q2", "2021-06-30", 24, "2021-04-01"),
    row("Q3", M9, 95, "2022-01-01"),
    row("Q3", "2021-09-30", 26, "2021-07-01"),
    row("K22", FY, 135, "2022-01-01"),
    row("K22", "2021-12-31", 90, "2021-01-01"),  # restated
]


def by_filing(facts: dict[str, Any]) -> dict[str, Fundamentals]:
    return {record.fundamentals_id.removeprefix("fund-X-"): record for record in filings(facts, "X")}


def test_flows_cover_twelve_months() -> None:
    """Use the year as reported, or the sum of four quarters. A quarter that was not reported is a difference."""
    records = by_filing(company(Revenues=REVENUE))
    # At the filings of Q1 and Q2, the quarter July to September of the previous year has no figure of its own.
    assert {name: record.facts["revenue"] for name, record in records.items()} == {
        "K21": 100,
        "Q3": (95 - 60) + 32 + 28 + 30,
        "K22": 135,
    }


def test_a_fourth_quarter_is_the_year_less_nine_months() -> None:
    nine_months = [row("K21", "2021-09-30", 70, "2021-01-01"), row("K21", "2021-12-31", 100, "2021-01-01")]
    later = [row("Q1", Q1, 28, "2022-01-01"), row("Q2", H1, 60, "2022-01-01"), row("Q3", M9, 95, "2022-01-01")]
    records = by_filing(company(Revenues=[*nine_months, *later]))
    assert records["Q3"].facts["revenue"] == 95 + (100 - 70)


def test_a_fourth_quarter_is_the_year_less_three_quarters() -> None:
    quarters = [("2021-01-01", "2021-03-31", 20), ("2021-04-01", "2021-06-30", 24), ("2021-07-01", "2021-09-30", 26)]
    year = [row("K21", end, value, start) for start, end, value in quarters]
    year.append(row("K21", "2021-12-31", 100, "2021-01-01"))
    records = by_filing(company(Revenues=[*year, row("Q1", Q1, 28, "2022-01-01")]))
    assert records["Q1"].facts["revenue"] == 28 + (100 - 20 - 24 - 26) + 26 + 24


def test_restatement_changes_neither_past_nor_later_records() -> None:
    assets = [row("K21", "2021-12-31", 500), row("Q1", "2021-12-31", 400), row("Q1", Q1, 510)]
    records = by_filing(company(Assets=assets))
    assert (records["K21"].facts, records["Q1"].facts) == ({"assets": 500}, {"assets": 510})
    original_only = by_filing(company(Assets=assets[:1]))
    assert original_only["K21"] == records["K21"], "a record holds nothing that was filed behind it"
    amended = by_filing(company(Assets=[assets[0], row("Q1", "2021-12-31", 1, form="10-K/A")]))
    assert amended == original_only, "an amendment makes no record"


def test_a_prefix_of_the_filings_gives_a_prefix_of_the_records() -> None:
    all_facts = company(Revenues=REVENUE, Assets=[row("K21", "2021-12-31", 500), row("K22", FY, 600)])
    for last_filed in FILED.values():
        partial_facts = json.loads(json.dumps(all_facts))
        for concept in partial_facts["facts"]["us-gaap"].values():
            concept["units"]["USD"] = [fact for fact in concept["units"]["USD"] if fact["filed"] <= last_filed]
        assert filings(partial_facts, "X") == [
            r for r in filings(all_facts, "X") if r.filed <= int(last_filed.replace("-", ""))
        ]


def test_repeats_and_the_order_of_rows_do_not_matter() -> None:
    assert by_filing(company(Revenues=[*REVENUE[::-1], *REVENUE])) == by_filing(company(Revenues=REVENUE))


def test_units_are_not_mixed() -> None:
    facts = company(
        Assets={"USD": [row("K21", "2021-12-31", 500)], "EUR": [row("K21", "2021-12-31", 450)]},
        EarningsPerShareDiluted={"USD/shares": [row("K21", "2021-12-31", 2.5, "2021-01-01")]},
        CommonStockSharesOutstanding={"shares": [row("K21", "2021-12-31", 40)]},
    )
    facts["facts"]["dei"] = {
        "EntityCommonStockSharesOutstanding": {"units": {"shares": [row("K21", "2022-01-31", 39)]}}
    }
    record = by_filing(facts)["K21"]
    assert (record.facts, record.currency) == ({"eps": 2.5, "assets": 500, "shares": 39}, "USD")
    assert record.period_end == 20211231, "the date of the share count is not the period's"
    euro = by_filing(company(Assets={"EUR": [row("K21", "2021-12-31", 450)]}))["K21"]
    assert (euro.facts, euro.currency) == ({"assets": 450}, "EUR")


def test_missing_values_and_malformed_rows_are_skipped() -> None:
    malformed: list[Any] = [{}, None, 3, {"end": "x"}, row("K21", "2021-12-31", None), row("K21", "2021-12-31", "nan")]
    records = by_filing(
        company(Assets=[*malformed, row("K21", "2021-12-31", 500)], Revenues=[row("Q1", Q1, 5, "2022-01-01")])
    )
    assert {name: record.facts for name, record in records.items()} == {"K21": {"assets": 500}}


def test_debt_is_the_sum_of_its_parts_when_no_total_is_reported() -> None:
    parts = company(
        LongTermDebtNoncurrent=[row("K21", "2021-12-31", 90)], LongTermDebtCurrent=[row("K21", "2021-12-31", 10)]
    )
    assert by_filing(parts)["K21"].facts == {"debt": 100}


@pytest.mark.parametrize("payload", [None, [], {}, {"facts": 3}])
def test_invalid_companyfacts_give_a_one_line_error(payload: Any) -> None:
    with pytest.raises(InvalidField, match="field facts must be an object of taxonomies, found"):
        filings(payload, "X")


def test_the_ten_ratios_are_computed_from_the_figures() -> None:
    facts = dict(zip(FACTS, (200, 80, 40, 30, 8, 50, 10, 2.5, 5, 400, 120, 60, 150, 75, 12), strict=True))
    assert ratios(facts) == {
        "gross_margin": 0.4,
        "operating_margin": 0.2,
        "net_margin": 0.15,
        "free_cash_flow_margin": 0.2,
        "return_on_equity": 0.2,
        "return_on_assets": 0.075,
        "asset_turnover": 0.5,
        "current_ratio": 2.0,
        "debt_to_equity": 0.5,
        "interest_coverage": 5.0,
    }
    assert len(RATIOS) == 10
    assert ratios(facts | {"equity": -1.0, "revenue": 0.0}).keys() == {
        "return_on_assets",
        "asset_turnover",
        "current_ratio",
        "interest_coverage",
    }


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server() as running:
        yield running


def sec(server: LocalServer, companies: dict[str, int], **overrides: Any) -> SecFactsSource:
    options: dict[str, Any] = {
        "history_days": 400,
        "timeout_s": 2.0,
        "requests_per_s": 5.0,
        "private_addresses": True,
        "sleep": lambda s: None,
    } | overrides
    return SecFactsSource(
        companies,
        user_agent="Test test@example.com",
        interval_s=1.0,
        url=server.url + "/CIK{cik:010d}.json",
        now_ns=lambda: NOW_NS,
        **options,
    )


def test_recent_filings_are_requested_with_user_agent_and_pauses(server: LocalServer) -> None:
    pauses: list[float] = []
    server.set_response("/CIK0000000001.json", json.dumps(company(Revenues=REVENUE)).encode(), Last_Modified="x")
    source = sec(server, {"X": 1, "Y": 2}, sleep=pauses.append)
    records: Any = source.fetch()
    assert [(record.fundamentals_id, record.ts_ns) for record in records] == [("fund-X-K22", NOW_NS)]
    assert decode(encode(records[0])) == records[0]
    assert {request.headers["user-agent"] for request in server.requests} == {"Test test@example.com"}
    assert pauses == [0.2], "between two companies"
    source.fetch()
    assert server.requests[2].headers["if-modified-since"] == "x"


def test_failed_or_malformed_response_makes_the_source_unavailable(server: LocalServer) -> None:
    with pytest.raises(Unavailable, match=r"X: .*404"):
        sec(server, {"X": 1}).fetch()
    server.set_response("/CIK0000000001.json", b"<html>")
    with pytest.raises(Unavailable, match="must be JSON"):
        sec(server, {"X": 1}).fetch()


def test_companyfacts_files_work_in_a_tape_and_in_a_live_feed(tmp_path: Path) -> None:
    path = tmp_path / "X.json"
    path.write_text(json.dumps(company(Revenues=REVENUE)))
    (tmp_path / "more.csv").write_text("symbol,filed,period_end,eps\nY,2022-03-01,2021-12-31,1\n")
    tape = Tape(TapeFiles(fundamentals=[tmp_path]), FeedSettings())
    records: Any = tape.pop_until(NOW_NS, NOW_NS, 0)[0]
    assert [(r.symbol, r.filed) for r in records][:3] == [("X", 20220210), ("Y", 20220301), ("X", 20221103)]
    assert iso(records[0].ts_ns) == "2022-02-11T05:00:00Z", "known when the day of filing is over in New York"
    live = FundamentalsFileSource([path, tmp_path / "more.csv"], interval_s=1.0, now_ns=lambda: NOW_NS)
    assert [record[:2] for record in live.fetch()][-1][1] == NOW_NS
    assert live.fetch() == []
    for name, text, message in (
        ("CIK1.json", "{}", "named after its symbol"),
        ("Z.json", "[", "not a companyfacts file"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(BadInput, match=message):
            Tape(TapeFiles(fundamentals=[tmp_path / name]), FeedSettings()).pop_until(NOW_NS, NOW_NS, 0)


@pytest.mark.parametrize(("feed", "missing"), [("sec", "sec.companies"), ("files", "files.paths")])
def test_feed_without_required_settings_gives_a_one_line_error(feed: str, missing: str) -> None:
    settings = load_settings(environment={"FUNDAMENTALS__FEED": feed})
    with pytest.raises(BadInput, match=missing):
        fundamentals_source(settings, list)
    assert fundamentals_source(load_settings(environment={}), list) is None
