"""A backtest of hourly or minute bars with corporate actions, from files and through the fused pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from bytewax.testing import TestingSink, run_main

from configs.settings import Settings, load_settings
from dataflows import backtest
from dataflows.sources.feed_selection import file_history_bars, files_source, renamed_file_bars
from dataflows.sources.feed_source import MarketFeed
from operators.performance import Performance
from operators.stage import TimeSlice
from schemas.records import TRADE, Execution, Valuation

STRATEGY = f"{Path(__file__).parents[1] / 'scheduled_strategy.py'}:ScheduledPosition"
START = datetime(2024, 6, 3, tzinfo=UTC)
CAPITAL = Decimal(1_000_000)
BAR_HEADER = "timestamp,symbol,open,high,low,close,volume"


class BarRow(NamedTuple):
    """One traded bar that opens at `opened` (UTC), with all prices equal."""

    opened: datetime
    symbol: str
    price: float


class ActionBacktest(NamedTuple):
    """The output of a run."""

    slices: list[TimeSlice]
    performance: Performance

    def of_type(self, kind: type) -> list[Any]:
        return [record for time_slice in self.slices for record in time_slice.records if type(record) is kind]

    @property
    def valuations(self) -> list[Valuation]:
        return self.of_type(Valuation)

    @property
    def fills(self) -> list[Execution]:
        return [report for report in self.of_type(Execution) if report.exec_type == TRADE]


def hourly(symbol: str, prices: Iterable[float], first_hour: int = 0) -> list[BarRow]:
    """One bar an hour from `first_hour` hours after `START` on."""
    return [BarRow(START + timedelta(hours=first_hour + n), symbol, price) for n, price in enumerate(prices)]


def run_actions(
    folder: Path,
    bars: Sequence[BarRow],
    actions: Sequence[Mapping[str, Any]],
    *,
    strategy: Mapping[str, Any] | None = None,
    quantity: int = 1000,
    bar_interval_s: int = 3600,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> ActionBacktest:
    """Run the strategy over the bars, without costs and limits. `actions` are the rows of the reference data file."""
    content = _settings(strategy or {}, quantity, bar_interval_s, settings or {})
    loaded, bar_file = _write_files(folder, bars, actions, content)
    out: list[Any] = []
    sink: Any = TestingSink(out)
    source = files_source(
        loaded.market_data.files,
        [bar_file],
        history_bars=file_history_bars(loaded),
        renamed_bars=renamed_file_bars(loaded),
    )
    run_main(backtest.build(loaded, source, sink))
    performance = Performance(loaded.portfolio_manager.initial_capital)
    time_slices = [time_slice for _, batch in out for time_slice in batch]
    for time_slice in time_slices:
        performance.on_slice(time_slice)
    return ActionBacktest(time_slices, performance)


def open_actions_feed(
    folder: Path, bars: Sequence[BarRow], actions: Sequence[Mapping[str, Any]], *, history_bars: int
) -> MarketFeed:
    """Return the feed of hourly bars with `actions`, before its first time slice."""
    loaded, bar_file = _write_files(folder, bars, actions, _settings({}, 1, 3600, {}))
    return files_source(loaded.market_data.files, [bar_file], history_bars=history_bars).open_feed()


def _write_files(
    folder: Path, bars: Sequence[BarRow], actions: Sequence[Mapping[str, Any]], content: Mapping[str, Any]
) -> tuple[Settings, Path]:
    """Write the files of a run. Return its settings and the file of bars."""
    rows = [f"{one.opened:%Y-%m-%dT%H:%M:%SZ},{one.symbol}," + f"{one.price}," * 4 + "1000000" for one in sorted(bars)]
    bar_file, action_file, settings_file = folder / "bars.csv", folder / "actions.csv", folder / "settings.yaml"
    bar_file.write_text("\n".join([BAR_HEADER, *rows]) + "\n")
    columns = ["kind", *dict.fromkeys(name for action in actions for name in action if name != "kind")]
    lines = [",".join(str(action.get(name, "")) for name in columns) for action in actions]
    action_file.write_text("\n".join([",".join(columns), *lines]) + "\n")
    settings_file.write_text(yaml.safe_dump(content))
    loaded = load_settings(settings_file, environment={})
    return loaded.with_files({"reference_data": [action_file] if actions else []}).for_backtest(), bar_file


def _settings(
    strategy: Mapping[str, Any], quantity: int, bar_interval_s: int, changes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    limits = ("max_order_notional", "max_position", "max_position_size", "max_daily_loss", "max_portfolio_leverage")
    sections: dict[str, dict[str, Any]] = {
        "market_data": {"files": {"calendar": "24/7", "bar_interval_s": bar_interval_s}},
        "signals": {"strategies": [{"name": STRATEGY, "parameters": dict(strategy)}]},
        "portfolio_manager": {
            "initial_capital": int(CAPITAL),
            "max_position_percentage": 10,
            "allow_short": True,
            "cash_buffer": 0,
            "sizing": {"method": "fixed_quantity", "quantity": quantity},
            "accruals": {"margin_rate": 0, "borrow_rate": 0},
        },
        "risk_manager": {**dict.fromkeys(limits, "unlimited"), "circuit_breaker_threshold": 0.99},
        "execution": {"venue": {"fee_per_share": 0, "fee_min": 0, "slippage_bps": 0}},
    }
    return {name: {**values, **changes.get(name, {})} for name, values in sections.items()}
