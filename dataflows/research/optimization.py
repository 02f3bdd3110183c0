"""Optimize target weights: from closes to the command `TARGET_WEIGHTS`, which the sizing method reads.

The last digits of a numerical solver depend on the machine. It therefore runs once, outside the stages, and its result
is recorded before anything acts on it. skfolio is an optional dependency (`optimization` in pyproject.toml), imported
on use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

import numpy as np
from sqlalchemy import Engine, func, select

from configs.settings import Settings
from dataflows.sources.file_feed import FileFeed
from operators.ledger.events import share_ratio
from operators.money import plain
from schemas.errors import BadInput
from schemas.records import SPLIT, Bar, CorporateAction
from sinks.archive.table_archive import TableArchive
from sinks.archived_partitions import archived_bars
from sinks.record_tables import record_of
from sinks.tables import bars, corporate_actions

if TYPE_CHECKING:
    from numpy.typing import NDArray

OptimizationMethod = Literal["max_sharpe", "hrp", "cvar"]
METHODS: tuple[OptimizationMethod, ...] = get_args(OptimizationMethod)
ReturnFrequency = Literal["daily", "bar"]
DAILY: Final = "daily"
BAR: Final = "bar"
LOOKBACK_DAYS: dict[ReturnFrequency, int] = {DAILY: 365, BAR: 5}
"""Default lookback in calendar days."""
CVAR_BETA = 0.95
RETURNS_MIN: dict[OptimizationMethod, int] = {"max_sharpe": 30, "hrp": 30, "cvar": 100}
"""The worst 5 % of 100 returns are five; an average of fewer is not meaningful."""
JUMP_RETURN_MIN = 0.4
_MILLIONTH = Decimal("0.000001")
_DAY_NS = 86_400 * 10**9

ClosesBySymbol = dict[str, dict[int, float]]
"""By symbol, then by time: the trading day as yyyymmdd, or the end of a bar in ns."""


class Close(NamedTuple):
    symbol: str
    trading_day: int
    ts_ns: int
    close: float


class ReturnMatrix(NamedTuple):
    """Simple price returns: one row per time that all `symbols` have, one column per symbol."""

    symbols: list[str]
    values: NDArray[np.float64]
    times: list[int]  # the end of each return
    frequency: ReturnFrequency


class OptimizedWeights(NamedTuple):
    """Weights as shares of equity that sum to at most 1, with the inputs and the method of their computation."""

    method: OptimizationMethod
    weights: dict[str, Decimal]
    returns: int
    each: ReturnFrequency
    first: int
    last: int
    max_weight: Decimal
    version: str

    @property
    def reason(self) -> str:
        """How the weights were computed, for the command."""
        first, last = (_format_time(time_key, self.each) for time_key in (self.first, self.last))
        window = f"{self.returns} {self.each} returns to {first}..{last}"
        return f"{self.method} over {window}, at most {plain(self.max_weight)} each, skfolio {self.version}"

    @property
    def arguments(self) -> dict[str, str]:
        return {symbol: plain(weight) for symbol, weight in self.weights.items()}


# -- closes ------------------------------------------------------------------------------------------------------------


def closes_from_files(
    settings: Settings, paths: Sequence[Path], frequency: ReturnFrequency, days: int
) -> ClosesBySymbol:
    """Read closes from files. Prices are not adjusted for splits: adjust the files. Raises BadInput for a bad file."""
    closes = _last_closes(_closes_from_feed(FileFeed(paths, settings.market_data.files)), frequency)
    last_ns = max((ts_ns for _, ts_ns in closes.values()), default=0)
    return _group_by_symbol(
        ((key, close) for key, (close, ts_ns) in closes.items() if ts_ns > last_ns - days * _DAY_NS)
    )


def closes_from_table(
    engine: Engine,
    frequency: ReturnFrequency,
    days: int,
    symbols: Sequence[str] = (),
    archive: TableArchive | None = None,
) -> ClosesBySymbol:
    """Read recorded closes, adjusted for the recorded splits that have an ex-date. `archive` has those of old months.

    Raises Unavailable if the archive is damaged.
    """
    closes_query = select(bars.c.symbol, bars.c.trading_day, bars.c.ts_ns, bars.c.close).order_by(
        bars.c.symbol, bars.c.ts_ns
    )
    if symbols:
        closes_query = closes_query.where(bars.c.symbol.in_(symbols))
    if frequency == DAILY:
        closes_query = closes_query.distinct(bars.c.symbol, bars.c.trading_day).order_by(None)
        closes_query = closes_query.order_by(bars.c.symbol, bars.c.trading_day, bars.c.ts_ns.desc())
    with engine.connect().execution_options(stream_results=True, yield_per=10_000) as connection:
        last_ns = connection.execute(select(func.max(bars.c.ts_ns))).scalar() or 0
        rows = connection.execute(closes_query.where(bars.c.ts_ns > last_ns - days * _DAY_NS))
        driver = connection.connection.driver_connection
        assert driver is not None, "the connection is open"
        archived = archived_bars(driver, archive)
        first_ns = last_ns - days * _DAY_NS
        closes = [Close(*row) for row in archived.closes(first_ns, daily=frequency == DAILY, symbols=symbols)]
        closes += [Close(*row) for row in rows]
        splits_query = select(corporate_actions).where(corporate_actions.c.kind == SPLIT)
        splits = [record_of(CorporateAction, row) for row in connection.execute(splits_query).mappings()]
    adjusted = _last_closes(adjust_for_splits(closes, splits), frequency)
    return _group_by_symbol((key, close) for key, (close, _) in adjusted.items())


def adjust_for_splits(closes: Iterable[Close], splits: Iterable[CorporateAction]) -> Iterator[Close]:
    """Adjust closes before the ex-date of a split to the new share count. A split without an ex-date is ignored."""
    ratios_by_symbol: dict[str, dict[str, tuple[int, float]]] = {}
    for split in splits:
        if split.ex_date:
            ratios_by_symbol.setdefault(split.symbol, {})[split.action_id] = (split.ex_date, float(share_ratio(split)))
    for close in closes:
        price = close.close
        for day, ratio in ratios_by_symbol.get(close.symbol, {}).values():
            price = price / ratio if close.trading_day < day else price
        yield close._replace(close=price)


def _closes_from_feed(feed: FileFeed) -> Iterator[Close]:
    for _, records in feed:
        for record in records:
            if isinstance(record, Bar):
                yield Close(record.symbol, record.trading_day, record.ts_ns, record.close)


def _last_closes(closes: Iterable[Close], frequency: ReturnFrequency) -> dict[tuple[str, int], tuple[float, int]]:
    """Return the last close of each symbol and time key, with its time in ns."""
    return {
        (row.symbol, row.trading_day if frequency == DAILY else row.ts_ns): (row.close, row.ts_ns) for row in closes
    }


def _group_by_symbol(rows: Iterable[tuple[tuple[str, int], float]]) -> ClosesBySymbol:
    closes: ClosesBySymbol = {}
    for (symbol, time_key), close in rows:
        closes.setdefault(symbol, {})[time_key] = close
    return closes


# -- weights -----------------------------------------------------------------------------------------------------------


def compute_returns(
    closes: Mapping[str, Mapping[int, float]], frequency: ReturnFrequency, symbols: Sequence[str] = ()
) -> ReturnMatrix:
    """Compute returns over the times that all symbols have. Raises BadInput if a symbol has no close."""
    names = sorted(set(symbols) or closes)
    for name in names:
        if name not in closes:
            available = f"; symbols with bars: {', '.join(sorted(closes))}" if closes else ""
            raise BadInput(f"no bars of {name} in the requested days{available}")
    if not names:
        raise BadInput("no bars to compute returns from in the requested days")
    times = sorted(set.intersection(*(set(closes[name]) for name in names)))
    prices = np.array([[closes[name][time_key] for name in names] for time_key in times], dtype=np.float64)
    values = prices[1:] / prices[:-1] - 1.0 if len(times) > 1 else np.empty((0, len(names)))
    return ReturnMatrix(names, values, times[1:], frequency)


def suspicious_jumps(returns: ReturnMatrix) -> list[str]:
    """Describe returns large enough to be an unrecorded split, one sentence each."""
    messages = []
    for row, column in zip(*np.nonzero(np.abs(returns.values) > JUMP_RETURN_MIN), strict=True):
        change, when = returns.values[row, column], _format_time(returns.times[row], returns.frequency)
        messages.append(f"{returns.symbols[column]} moved by {change:+.1%} to {when}: check for an unrecorded split")
    return messages


def _format_time(time_key: int, frequency: ReturnFrequency) -> str:
    return (
        str(time_key) if frequency == DAILY else f"{datetime.fromtimestamp(time_key // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"
    )


def optimize(returns: ReturnMatrix, method: OptimizationMethod, max_weight: Decimal = Decimal(1)) -> OptimizedWeights:
    """Compute weights >= 0 that sum to 1 before each is rounded down to millionths.

    `max_sharpe` maximizes mean over standard deviation, `hrp` is hierarchical risk parity by variance, `cvar` minimizes
    the mean of the worst 5 % of returns. Sources: H. Markowitz (1952), M. Lopez de Prado (2016), R. T. Rockafellar and
    S. Uryasev (2000). Raises BadInput, with one sentence, if there is no solution or skfolio is not installed.
    """
    _validate(returns, method, max_weight)
    try:
        import skfolio
        from cvxpy.error import SolverError
        from skfolio.exceptions import SkfolioError
    except ImportError as error:
        raise BadInput(
            f"{error.name} is not installed; install it with {sys.executable} -m pip install --require-hashes"
            " -r deploy/locks/requirements-optimization.txt"
        ) from error
    try:
        weights = _estimator(method, float(max_weight)).fit(returns.values).weights_
    except (SkfolioError, SolverError, ValueError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{method} found no weights for {len(returns.symbols)} symbols: {message}") from error
    rounded = {symbol: _round_weight(float(w), max_weight) for symbol, w in zip(returns.symbols, weights, strict=True)}
    count, times = len(returns.times), returns.times
    return OptimizedWeights(
        method=method,
        weights=rounded,
        returns=count,
        each=returns.frequency,
        first=times[0],
        last=times[-1],
        max_weight=max_weight,
        version=skfolio.__version__,
    )


def _validate(returns: ReturnMatrix, method: OptimizationMethod, max_weight: Decimal) -> None:
    if method not in METHODS:
        raise BadInput(f"method must be one of {', '.join(METHODS)}, found {method!r}")
    symbols, values = returns.symbols, returns.values
    if not 0 < max_weight <= 1:
        raise BadInput(f"max weight must be in (0, 1], found {max_weight}")
    if max_weight * len(symbols) < 1:
        raise BadInput(f"max weight must be at least 1/{len(symbols)} for {len(symbols)} symbols, found {max_weight}")
    returns_required = max(RETURNS_MIN[method], len(symbols) + 1)
    if len(values) < returns_required:
        raise BadInput(
            f"{method} of {len(symbols)} symbols needs at least {returns_required} {returns.frequency} returns"
            f" common to all of them, found {len(values)}"
        )
    for symbol, symbol_returns in zip(symbols, values.T, strict=True):
        if not symbol_returns.var() > 0:
            raise BadInput(f"{symbol} did not move in {len(values)} {returns.frequency} returns; exclude it")
    if method == "max_sharpe" and not (values.mean(axis=0) > 0).any():
        raise BadInput(
            f"max_sharpe has no solution: the mean return of all {len(symbols)} symbols is negative or 0; use hrp or"
            " cvar, which do not use means"
        )


def _estimator(method: OptimizationMethod, max_weight: float) -> Any:
    from skfolio import RiskMeasure
    from skfolio.optimization import HierarchicalRiskParity, MeanRisk, ObjectiveFunction

    if method == "hrp":
        return HierarchicalRiskParity(risk_measure=RiskMeasure.VARIANCE, max_weights=max_weight)
    if method == "cvar":
        return MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=CVAR_BETA, max_weights=max_weight)
    ratio = ObjectiveFunction.MAXIMIZE_RATIO
    return MeanRisk(objective_function=ratio, risk_measure=RiskMeasure.VARIANCE, max_weights=max_weight)


def _round_weight(weight: float, max_weight: Decimal) -> Decimal:
    """Round down to millionths, with a tolerance for the last digits of a float."""
    return min(Decimal(repr(max(weight, 0.0) + 1e-9)).quantize(_MILLIONTH, ROUND_DOWN), max_weight)
