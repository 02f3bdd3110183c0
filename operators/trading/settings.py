"""Settings of the trading strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from operators.ledger.cash import AccrualSettings
from operators.strategies.universe_rules import UniverseMember
from operators.strategy_limits import StrategyLimits
from operators.strategy_removal import OnRemove
from operators.trading.intervals import interval_ns
from operators.trading.sessions import SessionTable
from schemas.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class TradingSettings:
    """Settings of the stage of the trading strategies. Money in `currency`.

    * `initial_capital`: initial cash of the account.
    * `universe`: symbols of the strategies that name none. None: every symbol that has had a bar.
    * `universe_files`: members of the universe by the path of its file.
    * `bar_interval`: interval of the feed's bars.
    * `has_trades`: whether the feed publishes trades.
    * `regular_trades`: whether the feed has only the regular session, so that other trades do not count.
    * `calendar`: name of the trading calendar of the universe, and of `@at` without a calendar.
    * `sessions`: trading hours by calendar and day. `@at` requires those of its calendar.
    * `capital`: share of the account's capital by strategy, above 0; 1 for a strategy that is not named.
    * `limits`: limits by strategy. Those of its losses suspend it; risk checks the others.
    * `flatten_on_error`: strategies whose positions are closed when they are suspended; those of others are held.
    * `accruals`: interest and borrow fees of the account.
    * `limited_views`: view strategies with limits. They have a sub-account, and a loss stop suspends them.
    * `approvals`: actions that need a second person (`operators/approvals.py`); "releases" include a resume.
    * `on_remove`: whether the positions of a strategy stay or are closed when the settings no longer name it.
    * `source_sha256`: hashes of the user's files behind each strategy, for its actions.

    Raises BadInput for a value out of range.
    """

    initial_capital: Decimal = Decimal(1_000_000)
    currency: str = "USD"
    universe: tuple[str, ...] | None = None
    universe_files: Mapping[str, tuple[UniverseMember, ...]] = field(default_factory=dict)
    bar_interval: str = "1m"
    has_trades: bool = False
    regular_trades: bool = False
    calendar: str = "XNYS"
    sessions: SessionTable = field(default_factory=dict)
    capital: Mapping[str, Decimal] = field(default_factory=dict)
    limits: Mapping[str, StrategyLimits] = field(default_factory=dict)
    flatten_on_error: frozenset[str] = frozenset()
    accruals: AccrualSettings = field(default_factory=AccrualSettings)
    approvals: tuple[str, ...] = ()
    limited_views: tuple[str, ...] = ()
    on_remove: OnRemove = "keep"
    source_sha256: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.initial_capital <= 0:
            raise BadInput(f"initial_capital must be > 0, found {self.initial_capital}")
        interval_ns(self.bar_interval)
        for strategy, share in self.capital.items():
            if not (share.is_finite() and 0 < share <= 100):
                raise BadInput(f"capital of strategy {strategy} must be above 0 and at most 100, found {share}")
