"""The feedback stage: signal outcomes, strategy weights, P&L by strategy and model scores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import log
from typing import Any

from operators.adjusted_prices import AdjustedPrices, ex_price, split_price
from operators.feedback.attribution import AttributionBook
from operators.feedback.market_move import MarketMove
from operators.feedback.outcomes import ModelScores, SignalOutcomes
from operators.feedback.settings import FeedbackSettings
from operators.feedback.trading_costs import TradingCosts
from operators.feedback.weights import StrategyWeighting
from operators.instruments import Instrument
from operators.ledger.events import distribution_prices, share_ratio
from operators.ledger.split_ratio import exact_ratio
from operators.money import ONE, divide, multiply
from operators.reference_data import ReferenceData
from operators.stage import Restorable
from schemas.records import (
    CASH_DIVIDEND,
    DELISTING,
    MERGER_CASH,
    RIGHTS,
    SPIN_OFF,
    SYMBOL_CHANGE,
    Bar,
    CashFlow,
    CorporateAction,
    ExchangeRate,
    Execution,
    InternalCross,
    OrderProposal,
    Position,
    Prediction,
    Record,
    Signal,
    SignalOutcome,
    StrategyAction,
    Valuation,
)

VERSION = 5
_SECOND_NS = 1_000_000_000


class FeedbackStage:
    """The logic of the feedback service.

    Inputs, in this order within a time slice: reference data, bars, predictions, signals, actions of trading
    strategies, executions, the ledger's records and proposals. Outputs: the due SignalOutcomes, then, at their
    intervals, ModelScores, Attribution rows of the time slice's Valuation, and StrategyWeights.

    `strategies` are the strategies to weight, `instruments` the listed instruments, `currency` the account currency.
    `slippage_bps` is the expected slippage of one trade, if the settings have none.
    """

    def __init__(
        self,
        settings: FeedbackSettings | None = None,
        strategies: Sequence[str] = (),
        instruments: Sequence[Instrument] = (),
        currency: str = "USD",
        slippage_bps: float = 0.0,
        trading: Collection[str] = (),
    ) -> None:
        self.settings = settings or FeedbackSettings()
        if self.settings.slippage_bps is not None:
            slippage_bps = self.settings.slippage_bps
        self._market, self._costs = MarketMove(self.settings.benchmark), TradingCosts(slippage_bps / 10_000)
        self._outcomes = SignalOutcomes(self.settings.horizon_bars, self._market, self._costs)
        self._models = ModelScores()
        self._weighting = StrategyWeighting(strategies, self.settings)
        self._book = AttributionBook(instruments, currency, trading)
        self._bars: dict[str, int] = {}  # symbol -> seq of its last bar
        self._closes: dict[str, float] = {}
        self._retired: dict[str, None] = {}  # symbols that were renamed or delisted, and have not traded since
        self._adjusted_prices = AdjustedPrices()
        self._reference = ReferenceData(currency=currency)
        self._seq = 0  # of the topic attribution
        self._last_intervals: dict[str, int] = {}  # output -> number of the interval in which it was last published

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        bars, closes, models, book = self._bars, self._closes, self._models, self._book
        valuation: Valuation | None = None
        self._apply_reference_data(self._reference.pop_due(records))
        if self._adjusted_prices.prices:
            records = self._adjusted_prices.adjust_bars(records)
        others: list[Record] = []
        due_outcomes = self._record_bars(ts_ns, records, others)
        for record in others:
            if type(record) is Signal:
                self._record_signal(record)
            elif type(record) is Prediction:
                models.add(record, bars.get(record.symbol, 0), closes.get(record.symbol, 0.0))
            elif type(record) is Execution:
                book.record_execution(record)
                self._costs.record_execution(record, book.unit_value(record.symbol))
            elif type(record) is Position:
                book.record_position(record)
            elif type(record) is Valuation:
                valuation = record
            elif type(record) is OrderProposal:
                book.allocation.record_proposal(record)
            elif type(record) is InternalCross:
                book.record_cross(record)
            elif type(record) is StrategyAction:
                book.allocation.record_action(record)
            elif type(record) is CashFlow:
                book.record_cash_flow(record)
        for outcome in due_outcomes:
            self._weighting.learn(outcome)
        out: list[Record] = [*due_outcomes]
        self._write_periodic(ts_ns, valuation, out)
        return out

    def _record_bars(self, ts_ns: int, records: Sequence[Record], others: list[Record]) -> list[SignalOutcome]:
        """Process the bars of a time slice: the market's move and the due predictions. Return the due outcomes.

        Adds all records except bars to `others`.
        """
        bars, closes, outcomes, models = self._bars, self._closes, self._outcomes, self._models
        pending_signals, pending_forecasts = outcomes.pending, models.pending
        due_bars: list[Bar] = []
        returns: dict[str, float] = {}  # log returns other than 0
        symbols = 0  # with a return
        for record in records:
            if type(record) is not Bar:
                others.append(record)
                continue
            symbol, seq, close = record.symbol, record.seq, record.close
            bars[symbol] = seq
            previous = closes.get(symbol, 0.0)
            if previous > 0.0 and not (self._retired and self._is_retired(record)):
                symbols += 1
                if close != previous and close > 0.0:
                    returns[symbol] = log(close / previous)
            closes[symbol] = close
            # The oldest open signal is due first, so that nearly every bar skips the evaluation.
            if (pending := pending_signals.get(symbol)) and pending[0][0] <= seq:
                due_bars.append(record)
            if (forecasts := pending_forecasts.get(symbol)) and forecasts[0][0] <= seq:
                models.evaluate(symbol, seq, close)
        if returns:
            self._market.record_slice(returns, symbols)
        due_outcomes: list[SignalOutcome] = []
        for bar in due_bars:
            evaluated = outcomes.evaluate(ts_ns, bar.symbol, bar.seq, bar.close, self._seq + 1)
            self._seq += len(evaluated)
            due_outcomes.extend(evaluated)
        return due_outcomes

    def _is_retired(self, bar: Bar) -> bool:
        """Whether a bar is the first one of another company, or from after the end of the symbol: it has no return."""
        if bar.symbol not in self._retired:
            return False
        if bar.traded:
            del self._retired[bar.symbol]
        return True

    def _record_signal(self, signal: Signal) -> None:
        self._book.allocation.record_signal(signal)
        if signal.direction:
            self._outcomes.add(signal, self._bars.get(signal.symbol, 0))

    def _write_periodic(self, ts_ns: int, valuation: Valuation | None, out: list[Record]) -> None:
        settings = self.settings
        if self._is_due("models", ts_ns, settings.models_interval_s):
            scores = self._models.scores(ts_ns, self._seq + 1)
            self._seq += len(scores)
            out.extend(scores)
        if valuation is not None and self._is_due("attribution", ts_ns, settings.attribution_interval_s):
            rows = self._book.rows(valuation, self._closes, self._seq + 1)
            self._seq += len(rows)
            out.extend(rows)
        if self._is_due("weights", ts_ns, settings.weights_interval_s):
            weights = self._weighting.weights(ts_ns)
            if weights is not None:
                out.append(weights)

    def _is_due(self, name: str, ts_ns: int, interval_s: int) -> bool:
        """Whether this is the first time slice at or after a boundary of the interval."""
        if not interval_s:
            return False
        interval_number = ts_ns // (interval_s * _SECOND_NS)
        if self._last_intervals.get(name) == interval_number:
            return False
        self._last_intervals[name] = interval_number
        return True

    def _apply_reference_data(self, due_records: Sequence[CorporateAction | ExchangeRate]) -> None:
        """Apply reference data, before the bars and the ledger's records of the time slice."""
        if due_records:
            self._book.begin_slice()
        for record in due_records:
            if isinstance(record, CorporateAction) and record.kind in (SYMBOL_CHANGE, DELISTING):
                self._adjusted_prices.prices.pop(record.symbol, None)  # it has no bars any more
                self._retired[record.symbol] = None
            if isinstance(record, CorporateAction):
                self._book.apply_between_strategies(record, self._reference.rate_of(record.currency))
            if isinstance(record, ExchangeRate):
                self._book.set_rate(record.base, self._reference.rate_of(record.base))
            elif record.kind == SYMBOL_CHANGE:
                for component in (self._outcomes, self._models, self._costs):
                    component.rename(record.symbol, record.new_symbol)
                self._book.rename(record)
                if record.symbol in self._closes:
                    self._set_first_close(record.new_symbol, self._closes[record.symbol])
            else:
                self._adjust_prices(record)

    def _set_first_close(self, symbol: str, price: float) -> None:
        """Set the close of a symbol that an action has begun, as the portfolio sets its mark."""
        if symbol in self._reference.ended.reused:
            self._set_close(symbol, price)
        else:
            self._closes.setdefault(symbol, price)

    def _adjust_prices(self, action: CorporateAction) -> None:
        """Adjust the last close, like the portfolio's mark, and the prices of open signals and predictions."""
        symbol, ratio = action.symbol, share_ratio(action)
        if ratio != ONE:
            self._outcomes.split(symbol, float(exact_ratio(ratio)))
            self._models.split(symbol, float(exact_ratio(ratio)))
            self._book.split(action)
        if action.kind in (SPIN_OFF, RIGHTS):
            self._book.spin_off(action)
        if symbol not in self._closes:
            return
        if action.kind in (SPIN_OFF, RIGHTS):
            after, distributed = distribution_prices(action, self._closes[symbol])
            self._set_close(symbol, after)
            self._set_first_close(action.new_symbol, distributed)
        elif ratio != ONE:
            self._set_close(symbol, split_price(self._closes[symbol], ratio))
        elif action.kind == MERGER_CASH and action.cash_per_share is not None:
            before = self._closes[symbol]
            self._set_close(symbol, ex_price(before, action.cash_per_share))
            self._outcomes.split(symbol, before / self._closes[symbol])
            self._models.split(symbol, before / self._closes[symbol])
        elif action.kind == CASH_DIVIDEND and action.amount is not None:
            amount = divide(
                multiply(action.amount, self._reference.rate_of(action.currency)), self._book.unit_value(symbol)
            )
            self._set_close(symbol, ex_price(self._closes[symbol], amount))

    def _set_close(self, symbol: str, close: float) -> None:
        self._closes[symbol] = self._adjusted_prices.prices[symbol] = close

    # -- state ---------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Any:
        components = (self._outcomes, self._models, self._weighting, self._book)
        intervals = (self._seq, dict(self._last_intervals))
        return (
            VERSION,
            dict(self._bars),
            dict(self._closes),
            self._reference.snapshot(),
            intervals,
            [component.snapshot() for component in components],
            self._adjusted_prices.snapshot(),
            (self._market.snapshot(), self._costs.snapshot(), list(self._retired)),
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot.

        Version 1 contains only outcomes, so the attribution starts with the current books. Version 2 contains no
        adjusted prices. Versions 1 to 3 contain no costs and no move of the market, which start with the next bars.
        Version 4 contains no names of the strategies of the ensemble and of removed strategies.
        """
        version, *rest = snapshot
        assert version in (1, 2, 3, 4, VERSION), f"feedback snapshot: version {version}, expected 1 to {VERSION}"
        if version == 1:
            self._seq, bars, pending = rest
            self._bars = dict(bars)
            price = Signal._fields.index("price")
            self._outcomes.restore(
                {
                    s: [(due_bar, signal_values[price], signal_values) for due_bar, signal_values in entries]
                    for s, entries in pending.items()
                }
            )
            return
        bars, closes, reference, (self._seq, intervals), component_states, *later = rest
        if later:
            self._adjusted_prices.restore(later[0])
        if len(later) > 1:
            market, costs, retired = later[1]
            self._market.restore(market)
            self._costs.restore(costs)
            self._retired = dict.fromkeys(retired)
        self._bars, self._closes, self._last_intervals = dict(bars), dict(closes), dict(intervals)
        self._reference.restore(reference)
        components: tuple[Restorable, ...] = (self._outcomes, self._models, self._weighting, self._book)
        for component, state in zip(components, component_states, strict=True):
            component.restore(state)
