"""What a strategy is, for whoever writes one (see docs/howto/strategy.md)."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from schemas.records import FeatureRow


class View(NamedTuple):
    """What a strategy holds of one symbol from now on.

    `direction` is 1 (own it), 0 (be out of it) or -1 (be short of it); `strength` is how much of the usual size to
    hold and `confidence` how sure the strategy is, both in [0, 1]; `parts` are the values that it rests on.
    """

    direction: int
    strength: float
    confidence: float
    parts: dict[str, float]


class Strategy(Protocol):
    """A rule that forms views, symbol by symbol. The object holds parameters only: what it remembers is `state`.

    `decide` must be a function of its arguments: no clock, no randomness, no file, no network, nothing kept on
    `self`. Then a replay takes the same decisions, and a snapshot holds all there is.
    """

    @property
    def name(self) -> str:
        """Unique among the strategies of a run; signals carry it."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Specs of the indicators it reads, such as `("ema_12", "rsi_14")`."""
        ...

    def decide(self, row: FeatureRow, state: Any) -> tuple[Any, View | None]:
        """The next state and the view as of this row, or None while the opinion stays as it was.

        `state` is None at a symbol's first row, afterwards what the call before returned: numbers, strings, tuples and
        None, never something that is changed in place. An indicator that has not warmed up is absent from
        `row.values`.
        """
        ...
