"""Rolling correlation and beta of one symbol to another: the features `correlation_60(SPY)` and `beta_60(SPY)`."""

from __future__ import annotations

import re
from collections import deque
from math import isqrt
from typing import Any, Final, NamedTuple

from operators.indicators.indicator import check_period, new_share_price
from schemas.errors import BadInput

CORRELATION: Final = "correlation"
BETA: Final = "beta"
VERSION = 2
RETURN_UNIT: Final = 2.0**-64
"""About 5e-20. The rounding error of a return is 1e-16, because a quotient near 1 has 53 binary digits."""
RETURN_MAX: Final = 1e9
"""A statistic starts to warm up again after a larger return, which no market has."""
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

    A return is the relative change of the close between two times at which the bars of both closed. Beta is the
    covariance divided by the variance of the benchmark's returns. Equals pandas' `rolling(period)` of `corr` and `cov`.

    The value depends on the last `period` returns only, to the last bit: a run that started earlier has the same one.
    Returns are therefore counted in integer multiples of `RETURN_UNIT`, whose sums are exact.
    """

    __slots__ = (
        "_benchmark_square_sum",
        "_benchmark_sum",
        "_closes",
        "_own_square_sum",
        "_own_sum",
        "_product_sum",
        "_returns",
        "end_ns",
        "spec",
    )

    def __init__(self, spec: PairSpec) -> None:
        self.spec = spec
        self.end_ns = 0
        """End of the last bars that were added; 0 before the first ones."""
        self._closes: tuple[float, float] | None = None  # the last closes of the symbol and of the benchmark
        self._clear()

    def _clear(self) -> None:
        self._returns: deque[tuple[int, int]] = deque()
        self._own_sum = self._benchmark_sum = 0
        self._own_square_sum = self._benchmark_square_sum = self._product_sum = 0

    @property
    def value(self) -> float | None:
        """None until it has warmed up, and where a variance is zero."""
        count = self.spec.period
        if len(self._returns) < count:
            return None
        # These are the sums of the deviations from the mean, times `count` and the square of a unit.
        product = count * self._product_sum - self._own_sum * self._benchmark_sum
        benchmark = count * self._benchmark_square_sum - self._benchmark_sum**2
        if self.spec.kind == BETA:
            return product / benchmark if benchmark else None
        own = count * self._own_square_sum - self._own_sum**2
        return max(-1.0, min(product / isqrt(own * benchmark), 1.0)) if own and benchmark else None

    def update(self, end_ns: int, close: float, benchmark_close: float) -> None:
        """Add the closes of two bars that closed together. `end_ns` is the end of the feed's bar that closed them."""
        self.end_ns = end_ns
        closes, self._closes = self._closes, (close, benchmark_close)
        if closes is None:
            return
        own, benchmark = close / closes[0] - 1.0, benchmark_close / closes[1] - 1.0
        if own > RETURN_MAX or benchmark > RETURN_MAX:
            self._clear()
            return
        self._append(round(own / RETURN_UNIT), round(benchmark / RETURN_UNIT))

    def _append(self, own: int, benchmark: int) -> None:
        self._returns.append((own, benchmark))
        self._add(own, benchmark, 1)
        if len(self._returns) > self.spec.period:
            self._add(*self._returns.popleft(), -1)

    def _add(self, own: int, benchmark: int, sign: int) -> None:
        self._own_sum += sign * own
        self._benchmark_sum += sign * benchmark
        self._own_square_sum += sign * own * own
        self._benchmark_square_sum += sign * benchmark * benchmark
        self._product_sum += sign * own * benchmark

    def rescale(self, factor: float) -> None:
        """Convert the last close of the symbol after a split that multiplies prices by `factor`."""
        if self._closes is not None:
            self._closes = (new_share_price(self._closes[0], factor), self._closes[1])

    def rescale_benchmark(self, factor: float) -> None:
        """Convert the last close of the benchmark after its split."""
        if self._closes is not None:
            self._closes = (self._closes[0], new_share_price(self._closes[1], factor))

    def snapshot(self) -> Any:
        return (VERSION, self.end_ns, self._closes, list(self._returns))

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. The first version is (value, closes, windows of returns) without a version number."""
        if len(snapshot) == 3:
            _, closes, (own, benchmark, _) = snapshot
            returns = [
                (round(one / RETURN_UNIT), round(other / RETURN_UNIT))
                for one, other in zip(_oldest_first(own), _oldest_first(benchmark), strict=True)
            ]
        else:
            version, self.end_ns, closes, returns = snapshot
            assert version == VERSION, f"pair statistic snapshot: version {version}, expected {VERSION}"
        self._closes = None if closes is None else (closes[0], closes[1])
        self._clear()
        for own, benchmark in returns:
            self._append(own, benchmark)


def _oldest_first(moments: Any) -> tuple[float, ...]:
    """Return the numbers in the snapshot of a `RollingMoments`."""
    values, oldest, *_ = moments
    return (*values[oldest:], *values[:oldest])
