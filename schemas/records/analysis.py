"""What is made of the market and the news, up to signals, and how that turned out."""

from __future__ import annotations

from typing import NamedTuple


class FeatureRow(NamedTuple):
    """Indicator values of one symbol as of one bar. An indicator that has not warmed up is absent from `values`."""

    symbol: str
    seq: int
    ts_ns: int
    bar_seq: int
    close: float
    values: dict[str, float]


class LlmRequest(NamedTuple):
    """What the sentiment stage wants a language model to judge; the edge behind it asks, once for each `request_id`."""

    seq: int
    ts_ns: int
    request_id: str
    news_id: str
    model: str
    prompt: str


class SentimentScore(NamedTuple):
    """How good a news item is for one symbol: `score` in [-1, 1], `confidence` in [0, 1]."""

    seq: int
    ts_ns: int
    symbol: str
    news_id: str
    score: float
    confidence: float
    method: str  # "lexicon" or "llm"
    model: str  # the lexicon's version, or the model's name
    answer_id: str  # the LlmAnswer it rests on, "" without one
    parts: dict[str, float]


class Prediction(NamedTuple):
    """A registered model's forecast for one symbol: the return over `horizon_bars` bars, as a fraction."""

    symbol: str
    seq: int
    ts_ns: int
    model: str
    model_hash: str  # sha256 of the registered model file
    feature_id: str
    horizon_bars: int
    expected_return: float
    probability_up: float  # calibrated, in [0, 1]
    drift: float  # 0 as in training, 1 certainly drifted


class Signal(NamedTuple):
    """A change of one strategy's view of one symbol. `direction` is -1, 0 or 1; `strength` and `confidence` in [0,
    1].
    """

    symbol: str
    seq: int
    ts_ns: int
    strategy: str
    direction: int
    strength: float
    confidence: float
    price: float  # the close that the view was formed on
    feature_id: str
    parts: dict[str, float]  # the values that the view rests on
    cause_ids: list[str] = []  # noqa: RUF012  (a record's field; beside the feature row: what else it rests on)


class StrategyWeights(NamedTuple):
    """How much the ensemble listens to each strategy from the next tick on. Each in [0, 1]; they sum to 1."""

    seq: int
    ts_ns: int
    weights: dict[str, float]
    scores: dict[str, float]  # what each weight rests on
    reason: str


class SignalOutcome(NamedTuple):
    """What became of a signal `horizon_bars` bars later. `gained` is the price change in the signal's direction."""

    seq: int
    ts_ns: int
    signal_id: str
    symbol: str
    strategy: str
    direction: int
    confidence: float
    horizon_bars: int
    entry_price: float
    exit_price: float
    gained: float  # fraction of the entry price


class ModelScore(NamedTuple):
    """How a registered model's predictions did once their horizon had passed."""

    seq: int
    ts_ns: int
    model: str
    model_hash: str
    predictions: int
    hit_rate: float
    brier: float
    drift: float
