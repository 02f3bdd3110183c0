"""The predictions stage: forecast returns from feature rows. Without a registered model, it publishes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from operators.handler_limit import HandlerCalls, HandlerLimit, HandlerTimedOut, timeout_error
from operators.predictions.drift import DriftReference, DriftWindow, drift_score
from operators.predictions.inputs import inputs_of
from operators.raised_error import RaisedError, describe_error, source_file
from operators.suspended_analysis import checked_forecast, invalid_forecast, suspension_letter
from schemas.records import DeadLetter, FeatureRow, Prediction, Record, feature_id

VERSION = 4


class Model(Protocol):
    """A loaded model. `inputs` are the values of a feature row that it reads, in order."""

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def inputs(self) -> tuple[str, ...]: ...

    @property
    def horizon_bars(self) -> int: ...

    @property
    def reference(self) -> DriftReference: ...

    def forecast(self, rows: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
        """Return, for each row of inputs, the expected return as a fraction and the probability of a return above 0.

        A forecast must not depend on the other rows, because shards and restarts group the rows differently.
        """
        ...


class PredictionStage:
    """Publish one Prediction for each feature row with all the model's inputs, in the order of the rows.

    All rows of a time slice are forecast in one call, because the overhead of a call is about the cost of its rows.
    A model that raises on a row, or returns an invalid forecast for it, is suspended for the row's
    symbol, as if it had no inputs, until another model serves. One that exceeds `limit` is suspended for the symbols of
    all rows of its call. A dead letter records it. HandlerTimeouts are the first records of a time slice.

    `drift` uses only the symbol's own recent rows, so that it does not depend on the other symbols of the shard. If
    another company begins to trade under a symbol (`FeatureRow.first_seq`), the symbol's drift is measured afresh, and
    its suspension ends.
    """

    def __init__(self, model: Model | None, limit: HandlerLimit | None = None) -> None:
        self._model = model
        self._calls, self._is_guarded = HandlerCalls(limit), False
        self._seqs: dict[str, int] = {}
        self._windows: dict[str, DriftWindow] = {}
        self._suspended: dict[str, None] = {}  # symbols
        self._first_seqs: dict[str, int] = {}  # symbol -> first row of the present company, for reused symbols only

    def on_slice(self, ts_ns: int, records: Sequence[Record]) -> list[Record]:
        model = self._model
        if model is None:
            return []
        self._is_guarded = self._calls.begin(ts_ns, records)
        rows: list[FeatureRow] = []
        model_inputs: list[list[float]] = []
        for row in records:
            if type(row) is not FeatureRow:
                continue
            if row.first_seq != 1 and row.first_seq != self._first_seqs.get(row.symbol):
                self._begin_company(row)
            if row.symbol not in self._suspended:
                inputs = inputs_of(row, model.inputs)
                if inputs is not None:
                    rows.append(row)
                    model_inputs.append(inputs)
        if not rows:
            return []
        letters: list[DeadLetter] = []
        predictions: list[Record] = [
            self._prediction(model, row, inputs, *forecast)
            for row, inputs, forecast in self._forecasts(model, rows, model_inputs, letters)
        ]
        return [*predictions, *letters]

    def _begin_company(self, row: FeatureRow) -> None:
        """Drop what refers to the company that traded under the symbol before."""
        self._first_seqs[row.symbol] = row.first_seq
        self._windows.pop(row.symbol, None)
        self._suspended.pop(row.symbol, None)

    def _forecasts(
        self, model: Model, rows: list[FeatureRow], model_inputs: list[list[float]], letters: list[DeadLetter]
    ) -> list[tuple[FeatureRow, list[float], tuple[float, float]]]:
        """Forecast all rows. If that raises, forecast each row alone, so that only its own symbol is suspended."""
        out: list[tuple[FeatureRow, list[float], tuple[float, float]]] = []
        forecasts = self._forecast_all(model, rows, model_inputs)
        for row, inputs, forecast in zip(rows, model_inputs, forecasts, strict=True):
            checked = checked_forecast(forecast)
            if checked is not None:
                out.append((row, inputs, checked))
                continue
            error = forecast if type(forecast) is RaisedError else invalid_forecast(forecast, model.forecast)
            self._suspended[row.symbol] = None
            letters.append(suspension_letter("predictions", "model", model.name, row, error))
        return out

    def _forecast_all(self, model: Model, rows: list[FeatureRow], model_inputs: list[list[float]]) -> list[Any]:
        """Return the forecast of each row, or the RaisedError because of which it has none."""
        timeouts = [self._recorded_timeout(model, row.symbol) for row in rows] if self._is_guarded else []
        if any(timeouts):
            rest = [index for index, timeout in enumerate(timeouts) if timeout is None]
            others = self._forecast_all_in_time(model, [rows[i] for i in rest], [model_inputs[i] for i in rest])
            by_index = dict(zip(rest, others, strict=True))
            return [by_index.get(index, timeout) for index, timeout in enumerate(timeouts)]
        return self._forecast_all_in_time(model, rows, model_inputs)

    def _recorded_timeout(self, model: Model, symbol: str) -> RaisedError | None:
        timeout = self._calls.recorded(_name_of(model), symbol, 1)
        return None if timeout is None else timeout_error(timeout)

    def _forecast_all_in_time(self, model: Model, rows: list[FeatureRow], model_inputs: list[list[float]]) -> list[Any]:
        if not rows:
            return []
        try:
            forecasts = self._forecast(model, rows[0].symbol, model_inputs)
        except HandlerTimedOut as timed_out:
            return [timeout_error(timed_out.timeout)] * len(rows)
        except Exception:  # noqa: BLE001  (a registered model may raise anything)
            forecasts = []
        if len(forecasts) == len(rows):
            return forecasts
        return [self._forecast_alone(model, row.symbol, one) for row, one in zip(rows, model_inputs, strict=True)]

    def _forecast_alone(self, model: Model, symbol: str, inputs: list[float]) -> Any:
        try:
            [forecast] = self._forecast(model, symbol, [inputs])
        except HandlerTimedOut as timed_out:
            return timeout_error(timed_out.timeout)
        except Exception as error:  # noqa: BLE001  (as above)
            return describe_error(error, source_file(model))
        return forecast

    def _forecast(self, model: Model, symbol: str, model_inputs: list[list[float]]) -> list[Any]:
        """Call the model, under the time limit. A call for several rows counts for the `symbol` of the first."""
        if not self._is_guarded:
            return list(model.forecast(model_inputs))
        return list(self._calls.run(_name_of(model), symbol, model.forecast, source_file(model), model_inputs))

    def _prediction(
        self, model: Model, row: FeatureRow, inputs: list[float], expected_return: float, probability_up: float
    ) -> Prediction:
        symbol, reference = row.symbol, model.reference
        seq = self._seqs[symbol] = self._seqs.get(symbol, 0) + 1
        window = self._windows.get(symbol)
        if window is None:
            window = self._windows[symbol] = DriftWindow(reference)
        window.add(reference, inputs)
        drift_value = drift_score(window.index, reference.index_p95)
        row_id = feature_id(symbol, row.seq)
        return Prediction(
            symbol=symbol,
            seq=seq,
            ts_ns=row.ts_ns,
            model=model.name,
            model_hash=model.sha256,
            feature_id=row_id,
            horizon_bars=model.horizon_bars,
            expected_return=expected_return,
            probability_up=probability_up,
            drift=drift_value,
        )

    def snapshot(self) -> Any:
        """Return (version, {symbol: number of predictions}, model hash, {symbol: drift window}, suspended symbols,
        {reused symbol: first row of its company}).
        """
        sha256 = "" if self._model is None else self._model.sha256
        return (
            VERSION,
            dict(self._seqs),
            sha256,
            {symbol: window.as_tuple() for symbol, window in self._windows.items()},
            list(self._suspended),
            dict(self._first_seqs),
        )

    def restore(self, snapshot: Any) -> None:
        """Restore a snapshot. Drift windows and suspensions are kept only for the same model.

        Version 1 contains no windows, version 2 no suspensions, version 3 no first rows.
        """
        version, seqs, *rest = snapshot
        assert version in (1, 2, 3, VERSION), f"predictions snapshot: version {version}, expected 1 to {VERSION}"
        sha256, windows, *later = rest if rest else ("", {})
        self._seqs = dict(seqs)
        self._windows = {}
        self._first_seqs = dict(later[1]) if len(later) > 1 else {}
        if self._model is not None and self._model.sha256 == sha256:
            reference = self._model.reference
            self._suspended = dict.fromkeys(later[0] if later else ())
            self._windows = {symbol: DriftWindow.from_tuple(reference, state) for symbol, state in windows.items()}


def _name_of(model: Model) -> str:
    """Return the name of a model in `HandlerTimeout.strategy`."""
    return f"model:{model.name}"
