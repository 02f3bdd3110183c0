"""`backtest --orders`: orders whose time lies while no bar is open work from the open of the next bar on."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dataflows.sources.file_feed import FeedSettings, FileFeed
from dataflows.sources.tape import Tape, TapeFiles
from dataflows.sources.tape.feed_with_orders import FeedWithOrders
from dataflows.sources.tape.orders import ORDER_COLUMNS, read_orders
from deploy.commands import backtest
from operators.stage import TimeSlice
from schemas.records import Bar, Command, CorporateAction, Quote

MINUTES = ["2024-01-02T20:58", "2024-01-02T20:59", "2024-01-03T14:30", "2024-01-03T14:31", "2024-01-03T14:32"]
DAYS = ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05"]
SETTINGS = "execution: {venue: {fee_per_share: 0, fee_min: 0, slippage_bps: 0}}\n"
NIGHT, OPEN = "2024-01-03T07:10:00Z", "2024-01-03T14:30:00Z"


def write_bars(folder: Path, times: Sequence[str], symbol: str = "A") -> Path:
    """Bars that open at 100, 101, 102, ... and close 0.5 above."""
    rows = [f"{time},{symbol},{100 + n},{101 + n},{99 + n},{100.5 + n},100000" for n, time in enumerate(times)]
    file = folder / f"{symbol}.csv"
    file.write_text("\n".join(["timestamp,symbol,open,high,low,close,volume", *rows]))
    return file


def row(time: str, order_id: str, **cells: object) -> str:
    values = {"time": time, "action": "submit", "id": order_id, "symbol": "A", "side": "BUY", "quantity": 10} | cells
    return ",".join(str(values.get(name, "")) for name in ORDER_COLUMNS)


def write_orders(folder: Path, rows: Sequence[str]) -> Path:
    file = folder / "orders.csv"
    file.write_text("\n".join([",".join(ORDER_COLUMNS), *rows]))
    return file


def merged(folder: Path, bars: Sequence[Path], rows: Sequence[str], **tape: Sequence[Path]) -> FeedWithOrders:
    settings = FeedSettings()
    tape_or_none = Tape(TapeFiles(**tape), settings) if tape else None
    return FeedWithOrders(FileFeed(bars, settings, tape_or_none), read_orders(write_orders(folder, rows), settings))


def take_all(feed: FeedWithOrders, count: int = 3) -> list[TimeSlice]:
    out: list[TimeSlice] = []
    while not feed.finished:
        out += feed.take(count)
    return out


def slice_of(time_slices: Sequence[TimeSlice], command_id: str) -> TimeSlice:
    (found,) = (
        one for one in time_slices if any(isinstance(r, Command) and r.command_id == command_id for r in one.records)
    )
    return found


def ns(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp()) * 10**9


def run(folder: Path, bars: Path, *rows: str, settings: str = SETTINGS, options: Sequence[str] = ()) -> dict[str, Any]:
    """Run the command. Return its summary, and `fills` as (id, time, price) with `refused` as (id, reason)."""
    app = typer.Typer()
    backtest.register(app)
    app.command("other")(lambda: None)  # typer drops the name of a single command
    (folder / "settings.yaml").write_text(settings)
    files = ["--bars", str(bars), "--orders", str(write_orders(folder, rows)), "--settings"]
    files += [str(folder / "settings.yaml"), "--executions", str(folder / "fills.csv")]
    result = CliRunner().invoke(app, ["backtest", *files, *options, "--json", str(folder / "summary.json")])
    assert result.exit_code == 0, result.output
    with (folder / "fills.csv").open() as file:
        events = list(csv.DictReader(file))
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary | {
        "fills": [(one["id"], one["time"], one["price"]) for one in events if one["event"] == "TRADE"],
        "refused": [(one["id"], one["reason"]) for one in events if one["event"] == "REJECTED"],
    }


@pytest.mark.parametrize("time", ["2024-01-02T21:00:00Z", "2024-01-02T22:50:00Z", NIGHT, "2024-01-03T14:27:00Z", OPEN])
@pytest.mark.parametrize("time_in_force", ["DAY", "IOC", "OPG", "GTC"])
def test_an_order_between_sessions_trades_at_the_open(tmp_path: Path, time: str, time_in_force: str) -> None:
    order = row(time, "a", time_in_force=time_in_force)
    assert run(tmp_path, write_bars(tmp_path, MINUTES), order)["fills"] == [("a", OPEN, "102")]


@pytest.mark.parametrize("time", ["2024-01-03T02:00:00Z", "2024-01-03", OPEN])
def test_an_order_between_daily_bars_trades_at_the_next_open(tmp_path: Path, time: str) -> None:
    orders = [row(time, tif, time_in_force=tif) for tif in ("DAY", "IOC", "OPG")]
    fills = run(tmp_path, write_bars(tmp_path, DAYS), *orders)["fills"]
    assert sorted(fills) == [("DAY", OPEN, "101"), ("IOC", OPEN, "101"), ("OPG", OPEN, "101")]


def test_an_order_inside_a_bar_trades_in_the_next_bar(tmp_path: Path) -> None:
    fills = run(tmp_path, write_bars(tmp_path, MINUTES), row("2024-01-03T14:30:01Z", "a"))["fills"]
    assert fills == [("a", "2024-01-03T14:31:00Z", "103")]


def test_a_day_order_after_the_close_lives_through_the_next_session(tmp_path: Path) -> None:
    """Another command in the same night does not end it."""
    late = row("2024-01-02T22:50:00Z", "late", type="LIMIT", limit_price=102.5)
    fills = run(tmp_path, write_bars(tmp_path, MINUTES), late, row("2024-01-02T23:00:00Z", "other"))["fills"]
    assert fills == [("late", OPEN, "102"), ("other", OPEN, "102")]


@pytest.mark.parametrize("time", ["2024-01-02T14:00:00Z", "2023-12-29T12:00:00Z", "2024-01-02T20:58:00Z"])
def test_orders_before_the_first_bar_trade_at_its_open(tmp_path: Path, time: str) -> None:
    fills = run(tmp_path, write_bars(tmp_path, MINUTES), row(time, "a"), row(time, "b", time_in_force="IOC"))["fills"]
    assert fills == [("a", "2024-01-02T20:58:00Z", "100"), ("b", "2024-01-02T20:58:00Z", "100")]


def test_an_on_open_order_before_the_first_bar_of_the_file_takes_part_in_its_auction(tmp_path: Path) -> None:
    order = row("2024-01-03T01:00:00Z", "a", time_in_force="OPG")
    assert run(tmp_path, write_bars(tmp_path, MINUTES[2:]), order)["fills"] == [("a", OPEN, "100")]
    daily = run(tmp_path, write_bars(tmp_path, DAYS), row("2023-12-31", "a", time_in_force="OPG"))
    assert daily["fills"] == [("a", "2024-01-02T14:30:00Z", "100")]


def test_orders_of_a_symbol_wait_for_its_first_bar(tmp_path: Path) -> None:
    """A symbol that is listed at 14:31 while another one trades: an order of the evening before works from 14:32 on."""
    folder = tmp_path / "bars"
    folder.mkdir()
    write_bars(folder, MINUTES)
    write_bars(folder, MINUTES[3:], "NEW")
    result = run(tmp_path, folder, row("2024-01-02T20:58:30Z", "a", symbol="NEW", time_in_force="GTC"))
    assert (result["fills"], result["refused"]) == ([("a", "2024-01-03T14:32:00Z", "101")], [])


@pytest.mark.parametrize("stale_price_s", ["300", "0"])
def test_a_price_does_not_age_while_the_market_is_closed(tmp_path: Path, stale_price_s: str) -> None:
    """The last close is 10 hours old by the clock at night, and a weekend has 65."""
    settings = SETTINGS + f"risk_manager: {{stale_price_s: {stale_price_s}}}\n"
    weekend = [*MINUTES, "2024-01-05T20:59", "2024-01-08T14:30", "2024-01-08T14:31"]
    orders = [row(NIGHT, "night"), row("2024-01-07T12:00:00Z", "sunday", time_in_force="OPG")]
    result = run(tmp_path, write_bars(tmp_path, weekend), *orders, settings=settings)
    assert result["refused"] == []
    assert result["fills"] == [("night", OPEN, "102"), ("sunday", "2024-01-08T14:30:00Z", "106")]


@pytest.mark.parametrize("options", [("--workers", "2"), ("--batch", "1"), ("--batch", "2")])
def test_the_decisions_do_not_depend_on_workers_and_batches(tmp_path: Path, options: tuple[str, ...]) -> None:
    orders = [row(NIGHT, "a"), row(NIGHT, "b", side="SELL", quantity=3), row(OPEN, "c", time_in_force="OPG")]
    bars = write_bars(tmp_path, MINUTES)
    results = [run(tmp_path, bars, *orders, options=extra) for extra in ((), options)]
    assert len(results[0]["fills"]) == 3
    for result in results:
        del result["elapsed_s"], result["bars_per_s"]
    assert results[0] == results[1]


def test_commands_of_one_time_share_a_time_slice_and_bars_do_not_change(tmp_path: Path) -> None:
    bars = [write_bars(tmp_path, MINUTES)]
    orders = [row(NIGHT, "a"), row(OPEN, "c"), row(NIGHT, "b"), row("2024-01-03T14:30:30Z", "d")]
    time_slices = take_all(merged(tmp_path, bars, orders))
    by_time = {time_slice.ts_ns: time_slice.records for time_slice in time_slices}
    assert [one.ts_ns for one in time_slices] == sorted(by_time), "times must increase"
    commands = {ts_ns: [r.command_id for r in records if isinstance(r, Command)] for ts_ns, records in by_time.items()}
    assert {ts_ns: ids for ts_ns, ids in commands.items() if ids} == {
        ns(NIGHT): ["cmd-a", "cmd-b"],
        ns(OPEN): ["cmd-c"],
        ns("2024-01-03T14:31:00Z"): ["cmd-d"],
    }
    plain = list(FileFeed(bars, FeedSettings()))
    without = [TimeSlice(one.ts_ns, [r for r in one.records if isinstance(r, Bar)]) for one in time_slices]
    assert [one for one in without if one.records] == plain
    assert take_all(merged(tmp_path, bars, [])) == plain


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_feed_with_orders_continues_after_any_batch(tmp_path: Path, count: int) -> None:
    bars = [write_bars(tmp_path, MINUTES)]
    orders = [row("2024-01-02T20:00:00Z", "first"), row(NIGHT, "a"), row(OPEN, "b"), row("2024-01-03T14:31:30Z", "c")]
    expected = take_all(merged(tmp_path, bars, orders))
    feed = merged(tmp_path, bars, orders)
    out: list[TimeSlice] = []
    while not feed.finished:
        out += feed.take(count)
        feed = (
            merged(tmp_path, bars, orders).resume(json.loads(json.dumps(feed.state()))) if not feed.finished else feed
        )
    assert out == expected


def test_quotes_up_to_the_order_precede_it(tmp_path: Path) -> None:
    """Otherwise the order would trade at a quote from before its time."""
    quotes = tmp_path / "quotes.csv"
    times = ["2024-01-03T07:00:00Z", NIGHT, "2024-01-03T08:00:00Z"]
    quotes.write_text("\n".join(["time,symbol,bid,ask", *(f"{time},A,100,101" for time in times)]))
    time_slices = take_all(merged(tmp_path, [write_bars(tmp_path, MINUTES)], [row(NIGHT, "a")], quotes=[quotes]))
    seqs = {one.ts_ns: [r.seq for r in one.records if isinstance(r, Quote)] for one in time_slices}
    assert {ts_ns: found for ts_ns, found in seqs.items() if found} == {
        ns(NIGHT): [1, 2],
        ns("2024-01-03T14:31:00Z"): [3],
    }


def test_an_order_on_the_day_of_a_split_is_in_new_shares(tmp_path: Path) -> None:
    """The split converts what is open at the first bar, so the order of that morning enters with the bar."""
    actions = tmp_path / "actions.csv"
    actions.write_text("kind,symbol,ratio,ex_date\nSPLIT,A,4:1,2024-01-03\n")
    orders = [row("2024-01-02T22:00:00Z", "before"), row(NIGHT, "after"), row(NIGHT, "other", symbol="B")]
    bars = [write_bars(tmp_path, MINUTES, symbol) for symbol in ("A", "B")]
    time_slices = take_all(merged(tmp_path, bars, orders, reference_data=[actions]))
    found = {name: slice_of(time_slices, f"cmd-{name}").ts_ns for name in ("before", "after", "other")}
    assert found == {"before": ns("2024-01-02T22:00:00Z"), "after": ns("2024-01-03T14:31:00Z"), "other": ns(NIGHT)}
    assert any(isinstance(record, CorporateAction) for record in slice_of(time_slices, "cmd-other").records)


def test_a_dividend_does_not_delay_an_order(tmp_path: Path) -> None:
    actions = tmp_path / "actions.csv"
    actions.write_text("kind,symbol,amount,ex_date\nCASH_DIVIDEND,A,0.5,2024-01-03\n")
    time_slices = take_all(
        merged(tmp_path, [write_bars(tmp_path, MINUTES)], [row(NIGHT, "a")], reference_data=[actions])
    )
    assert slice_of(time_slices, "cmd-a").ts_ns == ns(NIGHT)


def test_an_order_of_a_symbol_without_a_price_enters_at_the_open_of_its_first_bar(tmp_path: Path) -> None:
    bars = [write_bars(tmp_path, MINUTES), write_bars(tmp_path, MINUTES[2:], "NEW")]
    time_slices = take_all(merged(tmp_path, bars, [row(NIGHT, "new", symbol="NEW"), row(NIGHT, "old")]))
    assert slice_of(time_slices, "cmd-old").ts_ns == ns(NIGHT)
    first = slice_of(time_slices, "cmd-new")
    assert first.ts_ns == ns(OPEN)
    (price,) = [record for record in first.records if isinstance(record, Bar)]
    assert (price.symbol, price.open, price.close, price.traded, price.session) == ("NEW", 100.0, 100.0, False, "PRE")
