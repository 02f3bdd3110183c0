"""What a strategy is, for whoever writes one (see docs/howto/strategy.md)."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from schemas.records import FeatureRow, Fundamentals, Prediction, SentimentScore, prediction_id, sentiment_id

READABLE: tuple[type, ...] = (FeatureRow, Prediction, Fundamentals, SentimentScore)
"""What a strategy may read, in the order in which the records of one tick come."""


class TargetView(NamedTuple):
    """What a strategy holds of one symbol from now on.

    `direction` is 1 (own it), 0 (be out of it) or -1 (be short of it); `strength` is how much of the usual size to
    hold and `confidence` how sure the strategy is, both in [0, 1]; `parts` are the values that it rests on, `causes`
    the ids of the records (`id_of`) beside the feature row. Without `causes` it is the record just read.
    """

    direction: int
    strength: float
    confidence: float
    parts: dict[str, float]
    causes: tuple[str, ...] = ()


class Strategy(Protocol):
    """A rule that forms views, symbol by symbol. The object holds parameters only: what it remembers is `state`.

    `decide` must be a function of its arguments: no clock, no randomness, no file, no network, nothing kept on
    `self`. Then a replay takes the same decisions, and a snapshot holds all there is.

    A strategy that reads more than feature rows has `reads`, a tuple of types out of `READABLE`.
    """

    @property
    def name(self) -> str:
        """Unique among the strategies of a run; signals carry it."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Specs of the indicators it reads, such as `("ema_12", "rsi_14")`."""
        ...

    def decide(self, record: Any, state: Any) -> tuple[Any, TargetView | None]:
        """The next state and the view as of this record, or None while the opinion stays as it was.

        Called for each record of the types in `reads`, in the order of the tick. `state` is None at a symbol's first
        record, afterwards what the call before returned: numbers, strings, tuples and None, never something that is
        changed in place. An indicator that has not warmed up is absent from a row's `values`. `record.ts_ns` is event
        time, also that of fundamentals.
        """
        ...


def reads_of(strategy: Any) -> tuple[type, ...]:
    """The record types that a strategy is called for: feature rows where it says nothing.

    >>> reads_of(object())
    (<class 'schemas.records.analysis.FeatureRow'>,)
    """
    reads: tuple[type, ...] = getattr(strategy, "reads", (FeatureRow,))
    return reads


def id_of(record: Prediction | Fundamentals | SentimentScore) -> str:
    """The id under which `explain` finds the record again."""
    if type(record) is Prediction:
        return prediction_id(record.symbol, record.seq)
    return sentiment_id(record.seq) if type(record) is SentimentScore else record[0]  # type: ignore[return-value]
