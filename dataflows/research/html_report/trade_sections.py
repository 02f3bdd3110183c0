"""The sections of a report about trades, costs, rejections and signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from dataflows.research.html_report.charts import ChartLine, ChartMark, bar_table, legend_of, line_chart, scatter
from dataflows.research.html_report.number_formats import (
    MISSING,
    escaped,
    money,
    percent,
    plain_number,
    ratio,
    utc_text,
)
from dataflows.research.html_report.page import paragraph, table
from dataflows.research.html_report.run_figures import (
    WEEKDAYS,
    entry_reasons,
    entry_values,
    exchange_zone,
    holding_classes,
    profit_parts,
    records_of,
    trade_groups,
    traded_values,
)
from dataflows.research.market_tables import OBSERVATIONS_MIN, PRICES, SIGNAL_QUALITY
from operators.money import plain, to_decimal
from schemas.records import LONG, REJECTED, TRADE

if TYPE_CHECKING:
    from dataflows.research.result import Result

GROUPS_MAX = 40
MARKS_MAX = 400
PRICE_CHARTS_MAX = 12
TRADES_SHOWN = 50
_GAIN_LEGEND = (("profit", "gain-mark"), ("loss", "loss-mark"))
_NO_TRADES = "No closed lots."


def attribution_section(result: Result) -> str:
    """Return the parts of the profit, and with a benchmark those of the market and of the rest."""
    parts = profit_parts(result.trades, result.summary)
    initial = float(result.summary["initial_equity"])
    rows = [
        (part.name, part.amount, [money(part.amount), percent(part.amount / initial if initial else None)])
        for part in parts
    ]
    text = bar_table(["part", "amount", "of initial equity"], rows)
    beta, alpha = result.metrics.get("beta"), result.metrics.get("alpha")
    if beta is not None and alpha is not None:
        text += paragraph(
            f"Against {result.summary['benchmark']}: beta {ratio(beta)}, alpha {percent(alpha)} per year. Beta is the"
            " part of the benchmark's daily returns that the run had; alpha is the mean of the rest."
        )
    return text


def groups_section(result: Result) -> str:
    """Return the results of closed lots by symbol, strategy, weekday, hour and holding time."""
    trades = result.trades
    if trades.empty:
        return paragraph(_NO_TRADES)
    zone, values = exchange_zone(result.settings), entry_values(trades, result.settings)
    entries = trades["entry_time"].dt.tz_convert(zone)
    weekdays = pd.Categorical([WEEKDAYS[day] for day in entries.dt.day_of_week], categories=WEEKDAYS, ordered=True)
    tables = [
        _group_table("symbol", trade_groups(trades, trades["symbol"], values).sort_values("net", ascending=False)),
        _group_table("strategy", trade_groups(trades, trades["strategy"], values).sort_values("net", ascending=False)),
        _group_table("weekday of entry", trade_groups(trades, weekdays, values)),
        _group_table("hour of entry", trade_groups(trades, entries.dt.strftime("%H:00"), values)),
        _group_table("holding time", trade_groups(trades, holding_classes(trades), values)),
        _group_table("side", trade_groups(trades, trades["side"], values)),
    ]
    note = (
        "Net P&L: of closed lots after fees, in account currency. Return: of the value at entry. Hits: share of lots"
        f" with a profit. Times are in {zone.key}."
    )
    return paragraph(note, "note") + f'<div class="pair">{"".join(tables)}</div>'


def _group_table(kind: str, groups: pd.DataFrame) -> str:
    rows = [
        (
            str(row["key"]),
            row["net"],
            [money(row["net"]), percent(row["return"]), percent(row["hit_rate"]), plain_number(row["lots"])],
        )
        for row in records_of(groups.head(GROUPS_MAX).reset_index())
    ]
    more = len(groups) - GROUPS_MAX
    rest = paragraph(f"{more} more are not shown.", "note") if more > 0 else ""
    headings = ["", "net P&L", "return", "hits", "lots"]
    return f"<div><h3>By {kind}</h3>{bar_table(headings, rows)}{rest}</div>"


def excursions_section(result: Result) -> str:
    """Return the excursions of each lot against its result."""
    trades = result.trades
    value = entry_values(trades, result.settings)
    known = trades.assign(value=value, net=trades["pnl"] - trades["fees"])[trades["mae"].notna() & (value > 0)]
    if known.empty:
        return paragraph("No excursions: they need closed lots, and a run that stores its bars (--report or --trades).")
    shown = known.tail(MARKS_MAX)
    charts = []
    for column, title, axis in (
        ("mae", "Maximum adverse excursion (MAE)", "worst unrealized result"),
        ("mfe", "Maximum favourable excursion (MFE)", "best unrealized result"),
    ):
        marks = [
            ChartMark(
                float(row[column] / row["value"]),
                float(row["net"] / row["value"]),
                _mark_color(row["net"]),
                f"{row['symbol']} entered {row['entry_time']:%Y-%m-%d %H:%M}: net {money(row['net'])}",
            )
            for row in records_of(shown)
        ]
        axes = (f"{axis} (fraction of entry value)", "net result (fraction of entry value)")
        charts.append(scatter(title, marks, axes, percent, legend_of(_GAIN_LEGEND)))
    note = "" if len(shown) == len(known) else paragraph(f"The last {MARKS_MAX} of {len(known)} lots.", "note")
    return f'{note}<div class="pair">{"".join(charts)}</div>'


def prices_section(result: Result) -> str:
    """Return the prices of the symbols with the most trades, with entries and exits, and the trades as a table."""
    trades = result.trades
    if trades.empty:
        return paragraph(_NO_TRADES)
    reasons = pd.Series(entry_reasons(trades, result.signals), index=trades.index)
    stored: pa.Table | None = result.tables.get(PRICES)
    if stored is None:
        charts = paragraph("No price charts: the run did not store its bars. Run it with --report or --trades.", "note")
    else:
        charts = _price_charts(stored.to_pandas(), trades, reasons)
    return charts + _trade_table(trades, reasons)


def _price_charts(prices: pd.DataFrame, trades: pd.DataFrame, reasons: pd.Series[str]) -> str:
    counts = trades["symbol"].value_counts()
    shown = list(counts.index[:PRICE_CHARTS_MAX])
    parts = [
        _price_chart(symbol, prices[prices["symbol"] == symbol], trades[trades["symbol"] == symbol], reasons)
        for symbol in shown
    ]
    note = (
        "Blue: entry of a long position. Orange: entry of a short one. Green and red: exit with profit and with loss."
    )
    hidden = f" {len(counts) - len(shown)} symbols with fewer trades are not shown." if len(counts) > len(shown) else ""
    return paragraph(note + hidden, "note") + f'<div class="pair">{"".join(parts)}</div>'


def _price_chart(symbol: str, prices: pd.DataFrame, trades: pd.DataFrame, reasons: pd.Series[str]) -> str:
    if prices.empty:
        return ""
    times = prices["time"].astype("int64").to_numpy()
    marks = []
    for row in records_of(trades.assign(reason=reasons[trades.index]).tail(MARKS_MAX // 2)):
        moments = [row["entry_time"].value, row["exit_time"].value]
        entry, leave = np.maximum(np.searchsorted(times, moments, side="right") - 1, 0)
        size, net = plain(to_decimal(row["quantity"])), row["pnl"] - row["fees"]
        entered = f"{row['entry_time']:%Y-%m-%d %H:%M} {row['side'].lower()} {size} at {row['entry_price']:g}"
        left = f"{row['exit_time']:%Y-%m-%d %H:%M} exit at {row['exit_price']:g}: net {money(net)}"
        color = "line-1" if row["side"] == LONG else "line-2"
        marks.append(ChartMark(float(entry), row["entry_price"], color, f"{entered}: {row['reason']}"))
        marks.append(ChartMark(float(leave), row["exit_price"], _mark_color(net), left))
    line = ChartLine("close", prices["close"].to_numpy(dtype=float), "line-6")
    title = f"{symbol}, {len(trades)} closed lots"
    if len(trades) > MARKS_MAX // 2:
        title += f", marks of the last {MARKS_MAX // 2}"
    return line_chart(title, times.tolist(), [line], "price (UTC)", plain_number, marks=marks, height=220)


def _trade_table(trades: pd.DataFrame, reasons: pd.Series[str]) -> str:
    rows = [
        [
            row["symbol"],
            row["side"],
            f"{row['quantity']:.9g}",
            utc_text(row["entry_time"].value),
            f"{row['entry_price']:.9g}",
            utc_text(row["exit_time"].value),
            f"{row['exit_price']:.9g}",
            money(row["pnl"] - row["fees"]),
            row["reason"],
        ]
        for row in records_of(trades.assign(reason=reasons).tail(TRADES_SHOWN).iloc[::-1])
    ]
    headings = ["symbol", "side", "quantity", "entry (UTC)", "price", "exit (UTC)", "price", "net P&L", "entry reason"]
    title = f"Last {len(rows)} of {len(trades)} closed lots, newest first"
    listed = table(headings, rows, wrapped=[len(headings) - 1])
    return f'<details open class="trades"><summary>{title}</summary>{listed}</details>'


def costs_section(result: Result) -> str:
    """Return fees and traded value by symbol."""
    fills = result.executions[result.executions["event"] == TRADE]
    if fills.empty:
        return paragraph("No fills, so no costs.")
    costs = pd.DataFrame(
        {"symbol": fills["symbol"], "fee": fills["fee"], "value": traded_values(fills, result.settings)}
    )
    by_symbol = costs.groupby("symbol").agg(fee=("fee", "sum"), value=("value", "sum"), fills=("fee", "size"))
    by_symbol = by_symbol.sort_values("fee", ascending=False)
    gross = float(result.trades["pnl"].sum())
    fees, value = float(costs["fee"].sum()), float(costs["value"].sum())
    share = (
        f"{percent(fees / gross)} of the profit of closed lots before fees" if gross > 0 else "no profit before fees"
    )
    text = paragraph(
        f"Fees {money(fees)}: {1e4 * fees / value if value else 0:.2f} bps of the traded value {money(value)}, {share}."
    )
    rows = [
        (
            row["symbol"],
            row["fee"],
            [
                money(row["fee"]),
                f"{1e4 * row['fee'] / row['value']:.2f}" if row["value"] else MISSING,
                money(row["value"]),
                plain_number(row["fills"]),
            ],
        )
        for row in records_of(by_symbol.head(GROUPS_MAX).reset_index())
    ]
    note = paragraph("Spread and slippage of the venue are in the prices of the fills, not in the fees.", "note")
    return text + note + bar_table(["symbol", "fees", "bps", "traded value", "fills"], rows, is_profit=False)


def refusals_section(result: Result) -> str:
    """Return the orders that risk or the venue rejected, by reason."""
    rejected = result.executions[result.executions["event"] == REJECTED]
    if rejected.empty:
        return paragraph("No order was rejected.")
    kinds = rejected["reason"].str.split(":", n=1).str[0]
    rows = []
    for kind, part in rejected.groupby(kinds, sort=False):
        first = part.iloc[0]
        example = f"{first['side']} {first['symbol']}: {first['reason']}"
        rows.append([str(kind), str(len(part)), utc_text(first["time"].value), example])
    rows.sort(key=lambda row: -int(row[1]))
    return table(["check or reason", "count", "first (UTC)", "example"], rows[:GROUPS_MAX], wrapped=[3])


def signals_section(result: Result) -> str:
    """Return how well the views of the strategies forecast the prices, by the number of bars after a signal."""
    stored: pa.Table | None = result.tables.get(SIGNAL_QUALITY)
    if result.signals.empty:
        return paragraph("No signals: no view strategy has changed its view.")
    if stored is None:
        return paragraph("No signal quality: the run did not store its bars. Run it with --report or --trades.", "note")
    quality = stored.to_pandas()
    note = (
        "The information coefficient (IC) is the rank correlation of a view (direction × strength × confidence), at"
        " each of its changes, with the return of the symbol over the next bars. Its standard error is about"
        f" 1 / √signals; it needs {OBSERVATIONS_MIN} signals."
    )
    parts = [_quality_of(str(strategy), part) for strategy, part in quality.groupby("strategy")]
    return paragraph(note, "note") + f'<div class="pair">{"".join(parts)}</div>'


def _quality_of(strategy: str, quality: pd.DataFrame) -> str:
    rows = []
    for row in records_of(quality):
        is_known, signals = not np.isnan(row["ic"]), row["signals"]
        error = f"{1 / np.sqrt(signals):.3f}" if signals else MISSING
        texts = [f"{row['ic']:+.3f}" if is_known else MISSING, error, plain_number(signals)]
        rows.append((f"{row['horizon']} bars", row["ic"] if is_known else 0.0, texts))
    listed = bar_table(["horizon", "IC", "standard error", "signals"], rows)
    return f"<div><h3>IC decay of {escaped(strategy)}</h3>{listed}</div>"


def _mark_color(net: float) -> str:
    return "gain-mark" if net > 0 else "loss-mark"
