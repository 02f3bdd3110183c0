"""Records of analysis: features, sentiment, predictions, signals, and their outcomes."""

from __future__ import annotations

from typing import NamedTuple, final

from schemas.records.constants import SentimentMethod, SuspensionState, TimeMeasure


@final
class FeatureRow(NamedTuple):
    """Indicator values of one symbol as of one bar. An indicator that has not warmed up is absent from `values`."""

    symbol: str
    seq: int
    ts_ns: int
    bar_seq: int
    close: float
    values: dict[str, float]
    first_seq: int = 1  # seq of the first row of the company that trades under the symbol; above 1 for a reused symbol


@final
class HistoryRow(NamedTuple):
    """Indicator values as of one `HistoryBar`. It warms up the states of view strategies and causes no signal.

    `ts_ns` is the time slice, `end_ns` the end of the bar; the other fields are those of `FeatureRow`.
    """

    symbol: str
    seq: int
    ts_ns: int
    end_ns: int
    bar_seq: int
    close: float
    values: dict[str, float]
    first_seq: int

    def to_feature_row(self) -> FeatureRow:
        """Return the row with the time of its bar."""
        return FeatureRow(
            symbol=self.symbol,
            seq=self.seq,
            ts_ns=self.end_ns,
            bar_seq=self.bar_seq,
            close=self.close,
            values=self.values,
            first_seq=self.first_seq,
        )


@final
class LlmRequest(NamedTuple):
    """A request of the sentiment stage to a language model. The LLM requester sends each `request_id` once."""

    seq: int
    ts_ns: int
    request_id: str
    news_id: str
    model: str
    prompt: str


@final
class SentimentScore(NamedTuple):
    """The sentiment of a news item for one symbol: `score` in [-1, 1], `confidence` in [0, 1]."""

    seq: int
    ts_ns: int
    symbol: str
    news_id: str
    score: float
    confidence: float
    method: SentimentMethod
    model: str  # the lexicon's version, or the model's name
    answer_id: str  # the LlmAnswer behind the score, "" without one
    parts: dict[str, float]

    @property
    def kind(self) -> str:
        """The kind of the event for `on_event`."""
        return "SENTIMENT"


@final
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
    drift: float  # 0: inputs as in training; 1: inputs certainly drifted


@final
class Signal(NamedTuple):
    """A change of one strategy's view of one symbol.

    `direction` is -1, 0 or 1; `strength` and `confidence` are in [0, 1]. `source_sha256` are the hashes of the user's
    files that the process had loaded: the file of the strategy, then the indicator files of the settings. It is empty
    for code of the platform, and in records of earlier releases.
    """

    symbol: str
    seq: int
    ts_ns: int
    strategy: str
    direction: int
    strength: float
    confidence: float
    price: float  # the close on which the view is based
    feature_id: str
    parts: dict[str, float]  # the values on which the view is based
    cause_ids: list[str] = []  # noqa: RUF012  (a record field; causes other than the feature row)
    source_sha256: list[str] = []  # noqa: RUF012  (a record field)


@final
class StrategySuspension(NamedTuple):
    """A strategy raised an exception on `symbol`, so that every shard suspends it from the next time slice on; or a
    command resumed it. A strategy that fails on several symbols in one time slice has one record for each.
    """

    symbol: str
    seq: int
    ts_ns: int
    strategy: str
    state: SuspensionState
    cause_id: str  # the record that the strategy was evaluating, or the command that resumed it
    error_type: str  # class name of the exception, "" after a resume
    message: str  # text of the exception, or the reason of the resume
    file: str  # source file that raised, "" after a resume
    line: int


@final
class HandlerTimeout(NamedTuple):
    """A handler of a strategy did not return within its time limit.

    It depends on a clock, so it is an input record: it is written before anything acts on it. A restart and a replay
    read it, and do not call the handler in this time slice (`operators/handler_limit.py`).
    """

    ts_ns: int  # time slice of the call
    strategy: str
    symbol: str  # of a view strategy; "" for a trading strategy
    call: int  # counts the calls of the strategy's handlers (on the symbol) in the time slice, from 1
    handler: str
    measure: TimeMeasure
    limit_s: float
    file: str  # source file of the handler
    line: int  # line that ran when the limit was reached


@final
class StageTimer(NamedTuple):
    """The time at which the next timer of a service is due, such as the good-till date of an order. A later record of a
    service replaces an earlier one.

    Only the live feed reads it, to close a time slice at that time. No decision depends on it.
    """

    ts_ns: int  # time slice in which the time has changed
    service: str
    due_ns: int


@final
class StrategyWeights(NamedTuple):
    """The ensemble's weight of each strategy from the next time slice on. Each is in [0, 1]; they sum to 1."""

    seq: int
    ts_ns: int
    weights: dict[str, float]
    scores: dict[str, float]  # the score behind each weight
    reason: str


@final
class SignalOutcome(NamedTuple):
    """The outcome of a signal after `horizon_bars` bars. `gained` is the price change in the signal's direction.

    `cost` is the expected cost of a round trip, as a fraction of the entry price, and `market_return` the market's
    return over the same bars, in neither direction.
    """

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
    gained: float  # as a fraction of the entry price
    cost: float = 0.0
    market_return: float = 0.0

    @property
    def net(self) -> float:
        """What was gained over the market after costs, as a fraction of the entry price."""
        return self.gained - self.direction * self.market_return - self.cost


@final
class ModelScore(NamedTuple):
    """The accuracy of a registered model's predictions whose horizon has passed."""

    seq: int
    ts_ns: int
    model: str
    model_hash: str
    predictions: int
    hit_rate: float
    brier: float
    drift: float
