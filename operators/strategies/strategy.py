"""The interface of a strategy (see docs/howto/strategy.md)."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from schemas.records import FeatureRow, Fundamentals, Prediction, SentimentScore, prediction_id, sentiment_id

READABLE: tuple[type, ...] = (FeatureRow, Prediction, Fundamentals, SentimentScore)
"""Record types that a strategy can read, in the order of the records of one time slice."""


class TargetView(NamedTuple):
    """A strategy's view of one symbol from this record on.

    `direction` is 1 (long), 0 (no position) or -1 (short). `strength` in [0, 1] is the fraction of the full position
    size. `confidence` is in [0, 1]. `parts` are the values that the view is based on. `causes` are the ids of its input
    records (`id_of`) in addition to the feature row; if empty, the cause is the current record.
    """

    direction: int
    strength: float
    confidence: float
    parts: dict[str, float]
    causes: tuple[str, ...] = ()


class Strategy(Protocol):
    """A rule that produces a view per symbol. The object contains only parameters; its memory is `state`.

    `decide` must be a pure function of its arguments: no clock, no randomness, no file, no network, and no changes of
    `self`. A replay then makes the same decisions, and a snapshot contains the complete state.

    A strategy that reads records other than feature rows defines `reads`, a tuple of types from `READABLE`.
    """

    @property
    def name(self) -> str:
        """Name of the strategy in its signals. It must be unique in a run."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Specs of the indicators that the strategy reads, such as `("ema_12", "rsi_14")`."""
        ...

    def decide(self, record: Any, state: Any) -> tuple[Any, TargetView | None]:
        """Return the next state, and the new view or None if the view does not change.

        Called for each record of the types in `reads`, in the order of the time slice. `state` is None at a symbol's
        first record, and then the state that the previous call returned. A state consists of numbers, strings, tuples
        and None, and must not be changed in place. An indicator that has not warmed up is absent from a row's
        `values`. `record.ts_ns` is event time, including for fundamentals.
        """
        ...


def reads_of(strategy: Any) -> tuple[type, ...]:
    """Return the record types that a strategy reads. The default is feature rows.

    >>> reads_of(object())
    (<class 'schemas.records.analysis.FeatureRow'>,)
    """
    reads: tuple[type, ...] = getattr(strategy, "reads", (FeatureRow,))
    return reads


def id_of(record: Prediction | Fundamentals | SentimentScore) -> str:
    """Return the id with which `explain` finds the record."""
    if type(record) is Prediction:
        return prediction_id(record.symbol, record.seq)
    return sentiment_id(record.seq) if type(record) is SentimentScore else record.fundamentals_id
