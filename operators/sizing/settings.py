"""What can be set about sizes. Shares and limits are fractions of equity (0.05 is 5 %)."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, get_args

from operators.money import ONE, quantize
from schemas.errors import BadInput

SizingMethod = Literal[
    "fixed_fraction",
    "target_percent",
    "fixed_quantity",
    "kelly",
    "volatility_target",
    "risk_parity",
    "atr_stop",
    "target_weights",
]
METHODS: tuple[SizingMethod, ...] = get_args(SizingMethod)
_LOT_SIZE_MAX = Decimal(1_000_000_000)
REBALANCED: frozenset[SizingMethod] = frozenset(
    {"target_percent", "volatility_target", "risk_parity", "target_weights"}
)
"""Methods that trade to their target at each signal and rebalance. The others size on entry and keep the quantity."""


@dataclass(frozen=True, kw_only=True)
class KellySettings:
    """`kelly`: a fraction of the growth-optimal share of equity, estimated from the strategy's closed trades.

    fraction          [multiple] multiple of the full Kelly share (0.5 is half Kelly)
    cap               [fraction] maximum share of equity
    warm_up_fraction  [fraction] share of equity until the strategy has closed `trades_min` trades
    trades_min        [trades] closed trades before the first estimate
    shrinkage_trades  [trades] number of trades without an edge that are added to the estimate of the win rate
    floor             [fraction] minimum share of equity, for a strategy without an edge. At 0 the strategy stops
                      trading, so that its estimate never changes again
    """

    fraction: Decimal = Decimal("0.5")
    cap: Decimal = Decimal("0.05")
    warm_up_fraction: Decimal = Decimal("0.005")
    trades_min: int = 30
    shrinkage_trades: int = 20
    floor: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        _check_range("kelly fraction", self.fraction, Decimal(1))
        _check_range("kelly cap", self.cap, Decimal(10))
        for name, share in (("warm_up_fraction", self.warm_up_fraction), ("floor", self.floor)):
            if not 0 <= share <= self.cap:
                raise BadInput(f"sizing kelly {name} must be in [0, cap {self.cap}], found {share}")
        _check_minimum("kelly trades_min", self.trades_min, 1)
        _check_minimum("kelly shrinkage_trades", self.shrinkage_trades, 0)


@dataclass(frozen=True, kw_only=True)
class VolatilitySettings:
    """`volatility_target`, and the volatility estimate of `risk_parity`.

    target          [fraction per year] annual volatility that one position at full strength adds to equity (0.01 is 1 %
                    of equity)
    half_life_bars  [bars] number of bars after which a squared return has half its weight in the estimate
    bars_min        [returns] number of returns before the first estimate; without an estimate, no position is opened
    bars_per_year   [bars] factor to annualize; unset: derived from the feed's calendar and bar interval
    """

    target: Decimal = Decimal("0.01")
    half_life_bars: int = 240
    bars_min: int = 120
    bars_per_year: float | None = None

    def __post_init__(self) -> None:
        _check_range("volatility target", self.target, Decimal(10))
        _check_minimum("volatility half_life_bars", self.half_life_bars, 1)
        _check_minimum("volatility bars_min", self.bars_min, 2)
        if self.bars_per_year is not None and not 0 < self.bars_per_year < 1e12:
            raise BadInput(f"sizing volatility bars_per_year must be in (0, 1e12), found {self.bars_per_year}")


@dataclass(frozen=True, kw_only=True)
class RiskParitySettings:
    """`risk_parity`: allocate equity to all active views by inverse volatility.

    exposure  [fraction] share of equity that is allocated
    """

    exposure: Decimal = Decimal("0.5")

    def __post_init__(self) -> None:
        _check_range("risk_parity exposure", self.exposure, Decimal(10))


@dataclass(frozen=True, kw_only=True)
class AtrStopSettings:
    """`atr_stop`: a loss of `multiple` average true ranges costs the share `risk` of equity.

    risk      [fraction] share of equity that is lost at the stop
    multiple  [average true ranges] distance of the stop
    period    [bars] length of the average
    """

    risk: Decimal = Decimal("0.001")
    multiple: Decimal = Decimal(2)
    period: int = 14

    def __post_init__(self) -> None:
        _check_range("atr_stop risk", self.risk, Decimal(1))
        _check_range("atr_stop multiple", self.multiple, Decimal(1000))
        _check_minimum("atr_stop period", self.period, 2)


@dataclass(frozen=True, kw_only=True)
class SizingSettings:
    """How a view is converted into a quantity. `no_trade_band` and `turnover_max` apply to the methods
    `target_percent`, `volatility_target`, `risk_parity` and `target_weights`. Raises BadInput for a value out of range.

    method         the method (docs/howto/sizing.md)
    fraction       [fraction] share of equity, for `fixed_fraction` and `target_percent`
    quantity       [units] units, for `fixed_quantity`
    lot_size       [units] smallest step (0.0001 for fractional shares); quantities are rounded towards zero to it
    no_trade_band  [fraction] share of the target's value; a smaller difference from the target is not traded
    turnover_max   [fraction] limit of the adjustments of one time slice as a share of equity; above it, each is traded
                   by the same fraction (None: no limit). Entries, exits and reversals are not limited
    share_max      [fraction] maximum share of equity for the methods that use estimates or recorded weights
    kelly          parameters of `kelly`
    volatility     parameters of `volatility_target`, and the volatility estimate of `risk_parity`
    risk_parity    parameters of `risk_parity`
    atr_stop       parameters of `atr_stop`

    * `fixed_fraction`: on entry, `fraction` of equity times the signal's strength. The quantity is kept while the
      direction does not change.
    * `target_percent`: `fraction` of equity times strength, traded to at each signal and each rebalance.
    * `fixed_quantity`: `quantity` units, independent of the strength.
    * `kelly`, `atr_stop`: on entry like `fixed_fraction`, with the fraction of `KellySettings` or `AtrStopSettings`.
    * `volatility_target`, `risk_parity`: traded to like `target_percent`, with the fraction of `VolatilitySettings` or
      `RiskParitySettings`.
    * `target_weights`: traded to like `target_percent`, with the symbol's fraction in the last TARGET_WEIGHTS command
      of the log (`target_weights.py`), and again at each new command. The fraction of an unlisted symbol is 0.
    """

    method: SizingMethod = "fixed_fraction"
    fraction: Decimal = Decimal("0.02")
    quantity: Decimal = Decimal(100)
    lot_size: Decimal = ONE
    no_trade_band: Decimal = Decimal("0.05")
    turnover_max: Decimal | None = None
    share_max: Decimal = Decimal(1)
    kelly: KellySettings = field(default_factory=KellySettings)
    volatility: VolatilitySettings = field(default_factory=VolatilitySettings)
    risk_parity: RiskParitySettings = field(default_factory=RiskParitySettings)
    atr_stop: AtrStopSettings = field(default_factory=AtrStopSettings)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadInput(f"sizing method must be one of {', '.join(METHODS)}, found {self.method!r}")
        _check_range("fraction", self.fraction, Decimal(10))
        if self.quantity <= 0:
            raise BadInput(f"sizing quantity must be > 0, found {self.quantity}")
        if not 0 < self.lot_size <= _LOT_SIZE_MAX or quantize(self.lot_size) != self.lot_size:
            raise BadInput(
                f"sizing lot_size must be > 0 and at most {_LOT_SIZE_MAX:,} with at most 9 decimals, "
                f"found {self.lot_size}"
            )
        if not 0 <= self.no_trade_band < 1:
            raise BadInput(f"sizing no_trade_band must be in [0, 1), found {self.no_trade_band}")
        if self.turnover_max is not None:
            _check_range("turnover_max", self.turnover_max, Decimal(10))
        _check_range("share_max", self.share_max, Decimal(10))


def _check_range(name: str, value: Decimal, maximum: Decimal) -> None:
    if not 0 < value <= maximum:
        raise BadInput(f"sizing {name} must be in (0, {maximum}], found {value}")


def _check_minimum(name: str, value: int, minimum: int) -> None:
    if value < minimum:
        raise BadInput(f"sizing {name} must be >= {minimum}, found {value}")
