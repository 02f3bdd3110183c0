/** The model forecast, news sentiment and strategy signals of one symbol. */
import type { JSX } from "preact";

import { useResource, type ResourceState } from "../net/api.ts";
import { now } from "../net/live.ts";
import type { Model, Prediction, SentimentScore, StrategySignal } from "../net/types.ts";
import { countOf, gainTone, percent, shortTime, signedMoney, signedPercent } from "../pure/format.ts";
import { directionText, signalInputs } from "../pure/signals.ts";
import { strategyLabel } from "../pure/strategies.ts";
import { Panel } from "./panel.tsx";

const POLL_INTERVAL_MS = 5000;

export function SymbolSignals(props: { symbol: string }): JSX.Element {
  const symbol = encodeURIComponent(props.symbol);
  const models = useResource<Model[]>("/api/v1/models", 30_000).value;
  const scores = useResource<SentimentScore[]>(`/api/v1/sentiment/${symbol}?limit=1`, POLL_INTERVAL_MS).value;
  const signals = useResource<StrategySignal[]>(`/api/v1/signals/${symbol}`, POLL_INTERVAL_MS).value;
  const hasActiveModel = models.data?.some((model) => model.status === "active") ?? false;
  return (
    <Panel title={`Signals for ${props.symbol}`} resource={signals} class="signals">
      <div class="columns">
        <section aria-label="Model forecast">
          <h3>Model forecast</h3>
          {hasActiveModel ? <ModelForecast symbol={symbol} /> : <p class="note">{loadingText(models) ?? noModelText(models.data ?? [])}</p>}
        </section>
        <section aria-label="News sentiment">
          <h3>News sentiment</h3>
          {scores.data?.[0] === undefined ? (
            <p class="note">{loadingText(scores) ?? "No news yet"}</p>
          ) : (
            <Sentiment score={scores.data[0]} />
          )}
        </section>
        <section aria-label="Strategy signals">
          <h3>Strategy signals</h3>
          {signals.data === null || signals.data.length === 0 ? (
            <p class="note">{loadingText(signals) ?? "No signals yet"}</p>
          ) : (
            <ul>
              {signals.data.map((signal) => (
                <SignalItem key={signal.strategy} signal={signal} />
              ))}
            </ul>
          )}
        </section>
      </div>
    </Panel>
  );
}

/** The loading or error text, or null once data has arrived. */
function loadingText(resource: ResourceState<unknown>): string | null {
  return resource.data !== null ? null : (resource.error ?? "Loading…");
}

function noModelText(models: readonly Model[]): string {
  return models.length === 0
    ? "No model is registered. Train one with python cli.py train."
    : `No model is active (${countOf(models.length, "model")} registered). Activate one with python cli.py models activate.`;
}

/** Mounted only with an active model, because the API has no predictions otherwise. */
function ModelForecast(props: { symbol: string }): JSX.Element {
  const predictions = useResource<Prediction[]>(`/api/v1/predictions/${props.symbol}?limit=1`, POLL_INTERVAL_MS).value;
  const last = predictions.data?.[0];
  if (last === undefined) {
    return <p class="note">{predictions.error === null ? "Loading…" : `No forecast from the active model. ${predictions.error}`}</p>;
  }
  return (
    <>
      <p>
        <b class={gainTone(10_000 * last.expected_return)}>{signedPercent(last.expected_return, 3)}</b> expected return over{" "}
        {countOf(last.horizon_bars, "bar")}, {percent(last.probability_up, 0)} probability of a rise
      </p>
      <p class="note">
        {last.model} <code title={last.model_hash}>{last.model_hash.slice(0, 12)}</code> at {shortTime(last.timestamp, now.value)}
      </p>
    </>
  );
}

function Sentiment(props: { score: SentimentScore }): JSX.Element {
  const { score } = props;
  return (
    <>
      <p>
        <b class={gainTone(score.score)}>{signedMoney(score.score)}</b> {score.headline ?? "(headline not stored)"}
      </p>
      <p class="note">
        {score.method} {score.model}, confidence {percent(score.confidence, 0)}, {shortTime(score.timestamp, now.value)}
      </p>
    </>
  );
}

function SignalItem(props: { signal: StrategySignal }): JSX.Element {
  const { signal } = props;
  const inputs = signalInputs(signal);
  return (
    <li>
      <b class={gainTone(signal.direction)}>{directionText(signal)}</b> {strategyLabel(signal.strategy)}{" "}
      <span class="note" title={inputs.join(", ")}>
        confidence {percent(signal.confidence, 0)}, {shortTime(signal.timestamp, now.value)}
        {inputs.length > 0 && `: ${inputs.join(", ")}`}
      </span>
    </li>
  );
}
