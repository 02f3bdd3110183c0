"""Rolling correlation and beta of one symbol to another: the features `correlation_60(SPY)` and `beta_60(SPY)`."""

from __future__ import annotations

import re
from math import sqrt
from typing import Any, Final, NamedTuple

from operators.indicators.indicator import check_period, new_share_price
from operators.indicators.rolling_moments import RollingMoments
from schemas.errors import BadInput

CORRELATION: Final = "correlation"
BETA: Final = "beta"
_KIND = re.compile(rf"({CORRELATION}|{BETA})(?:_|\(|$)")
_SPEC = re.compile(rf"({CORRELATION}|{BETA})_([1-9][0-9]{{0,5}})\(([A-Za-z0-9][A-Za-z0-9./-]{{0,31}})\)")


class PairSpec(NamedTuple):
    """A feature of two symbols: `kind` over `period` returns, of the feature's symbol to `benchmark`."""

    name: str
    kind: str
    period: int
    benchmark: str


def parse_pair_spec(spec: str) -> PairSpec | None:
    """Return the parts of `beta_60(SPY)`; None for a spec of one symbol. Raises BadInput for a malformed one.

    >>> parse_pair_spec("beta_60(SPY)")
    PairSpec(name='beta_60(SPY)', kind='beta', period=60, benchmark='SPY')
    """
    kind = _KIND.match(spec)
    if kind is None:
        return None
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise BadInput(f"indicator {spec!r} must have the form {kind[1]}_<period>(<symbol>), such as {kind[1]}_60(SPY)")
    check_period(spec, int(match[2]), minimum=2)
    return PairSpec(spec, match[1], int(match[2]), match[3])


class PairStatistic:
    """Correlation or beta of the last `period` pairs of returns of a symbol and its benchmark.

    A return is the relative change of the close between two time slices in which the bars of both closed. Beta is the
    covariance divided by the variance of the benchmark's returns. Equals pandas' `rolling(period)` of `corr` and `cov`.
    """

    __slots__ = ("_benchmark_moments", "_closes", "_moments", "_sum_moments", "spec", "value")

    def __init__(self, spec: PairSpec) -> None:
        self.spec = spec
        self.value: float | None = None
        """None until it has warmed up, and where a variance is zero."""
        self._closes: tuple[float, float] | None = None  # the last closes of the symbol and of the benchmark
        # covariance = (variance of the sum - sum of the variances) / 2
        self._moments, self._benchmark_moments, self._sum_moments = (
            RollingMoments(spec.period, price_power=0) for _ in range(3)
        )

    def update(self, close: float, benchmark_close: float) -> None:
        """Add the closes of a time slice in which the bars of both closed."""
        closes, self._closes = self._closes, (close, benchmark_close)
        if closes is None:
            return
        own, benchmark = close / closes[0] - 1.0, benchmark_close / closes[1] - 1.0
        self._moments.push(own)
        self._benchmark_moments.push(benchmark)
        self.value = self._compute() if self._sum_moments.push(own + benchmark) else None

    def _compute(self) -> float | None:
        own, benchmark = self._moments.square_sum, self._benchmark_moments.square_sum
        product = (self._sum_moments.square_sum - own - benchmark) / 2.0
        if self.spec.kind == BETA:
            return product / benchmark if benchmark else None
        return max(-1.0, min(product / sqrt(own * benchmark), 1.0)) if own and benchmark else None

    def rescale(self, factor: float) -> None:
        """Convert the last close of the symbol after a split that multiplies prices by `factor`."""
        if self._closes is not None:
            self._closes = (new_share_price(self._closes[0], factor), self._closes[1])

    def rescale_benchmark(self, factor: float) -> None:
        """Convert the last close of the benchmark after its split."""
        if self._closes is not None:
            self._closes = (self._closes[0], new_share_price(self._closes[1], factor))

    def snapshot(self) -> Any:
        moments = (self._moments, self._benchmark_moments, self._sum_moments)
        return (self.value, self._closes, [one.snapshot() for one in moments])

    def restore(self, snapshot: Any) -> None:
        self.value, closes, moments = snapshot
        self._closes = None if closes is None else (closes[0], closes[1])
        for one, state in zip((self._moments, self._benchmark_moments, self._sum_moments), moments, strict=True):
            one.restore(state)
