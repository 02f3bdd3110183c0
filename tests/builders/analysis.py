"""Builders of features, scores, predictions, signals and their outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas import records
from schemas.records import (
    BY_LEXICON,
    FeatureRow,
    ModelScore,
    Prediction,
    SentimentMethod,
    SentimentScore,
    Signal,
    SignalOutcome,
)


def feature_row(
    symbol: str,
    seq: int,
    ts_ns: int,
    close: float = 100.0,
    *,
    values: Mapping[str, float] | None = None,
    bar_seq: int | None = None,
    first_seq: int = 1,
) -> FeatureRow:
    return FeatureRow(
        symbol=symbol,
        seq=seq,
        ts_ns=ts_ns,
        bar_seq=seq if bar_seq is None else bar_seq,
        close=close,
        values=dict(values or {}),
        first_seq=first_seq,
    )


def sentiment_score(
    seq: int,
    ts_ns: int,
    symbol: str,
    score: float = 0.5,
    *,
    confidence: float = 1.0,
    news_id: str | None = None,
    method: SentimentMethod = BY_LEXICON,
    model: str = "v",
    answer_id: str = "",
    parts: Mapping[str, float] | None = None,
) -> SentimentScore:
    return SentimentScore(
        seq=seq,
        ts_ns=ts_ns,
        symbol=symbol,
        news_id=news_id or f"news-{seq}",
        score=score,
        confidence=confidence,
        method=method,
        model=model,
        answer_id=answer_id,
        parts=dict(parts or {}),
    )


def prediction(
    symbol: str,
    seq: int,
    ts_ns: int,
    expected_return: float = 0.01,
    *,
    probability_up: float = 0.6,
    drift: float = 0.0,
    horizon_bars: int = 5,
    model: str = "gradient_boosting",
    model_hash: str = "hash",
    feature_id: str | None = None,
) -> Prediction:
    return Prediction(
        symbol=symbol,
        seq=seq,
        ts_ns=ts_ns,
        model=model,
        model_hash=model_hash,
        feature_id=feature_id or records.feature_id(symbol, seq),
        horizon_bars=horizon_bars,
        expected_return=expected_return,
        probability_up=probability_up,
        drift=drift,
    )


def signal(
    symbol: str,
    seq: int,
    ts_ns: int,
    strength: float = 1.0,
    direction: int = 1,
    *,
    strategy: str = "test",
    confidence: float = 1.0,
    price: float = 100.0,
    feature_id: str | None = None,
    parts: Mapping[str, float] | None = None,
    cause_ids: Sequence[str] = (),
) -> Signal:
    return Signal(
        symbol=symbol,
        seq=seq,
        ts_ns=ts_ns,
        strategy=strategy,
        direction=direction,
        strength=strength,
        confidence=confidence,
        price=price,
        feature_id=feature_id or records.feature_id(symbol, seq),
        parts=dict(parts or {}),
        cause_ids=list(cause_ids),
    )


def signal_outcome(
    seq: int, ts_ns: int, strategy: str, gained: float, *, signal_id: str | None = None, symbol: str = "AAPL"
) -> SignalOutcome:
    """Build the outcome of a buy signal at 100 after 30 bars."""
    return SignalOutcome(
        seq=seq,
        ts_ns=ts_ns,
        signal_id=signal_id or records.signal_id(symbol, seq),
        symbol=symbol,
        strategy=strategy,
        direction=1,
        confidence=0.5,
        horizon_bars=30,
        entry_price=100.0,
        exit_price=100.0 * (1 + gained),
        gained=gained,
    )


def model_score(
    seq: int, ts_ns: int, model: str, model_hash: str, *, predictions: int = 30, hit_rate: float = 0.5, drift: float
) -> ModelScore:
    return ModelScore(
        seq=seq,
        ts_ns=ts_ns,
        model=model,
        model_hash=model_hash,
        predictions=predictions,
        hit_rate=hit_rate,
        brier=0.24,
        drift=drift,
    )
