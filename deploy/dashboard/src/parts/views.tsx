/** What is thought of a symbol: the model's forecast, the last headline's score, each strategy's view. */
import type { JSX } from "preact";

import { useResource, type Known } from "../net/api.ts";
import { now } from "../net/live.ts";
import type { Model, Prediction, Score, View } from "../net/types.ts";
import { brief, percent, signed, signedPercent, tone } from "../pure/format.ts";
import { nameOf } from "../pure/strategies.ts";
import { held, partsOf } from "../pure/views.ts";
import { Panel } from "./panel.tsx";

const EVERY_MS = 5000;

export function Views(props: { symbol: string }): JSX.Element {
  const symbol = encodeURIComponent(props.symbol);
  const models = useResource<Model[]>("/api/v1/models", 30_000).value;
  const scores = useResource<Score[]>(`/api/v1/sentiment/${symbol}?limit=1`, EVERY_MS).value;
  const views = useResource<View[]>(`/api/v1/signals/${symbol}`, EVERY_MS).value;
  const active = models.data?.some((one) => one.status === "active") ?? false;
  return (
    <Panel title={`Views on ${props.symbol}`} known={views} class="views">
      <div class="columns">
        <section aria-label="Forecast">
          <h3>Forecast</h3>
          {active ? <Forecast symbol={symbol} /> : <p class="note">{waiting(models) ?? noModel(models.data ?? [])}</p>}
        </section>
        <section aria-label="Sentiment">
          <h3>Sentiment</h3>
          {scores.data?.[0] === undefined ? (
            <p class="note">{waiting(scores) ?? "No news of it has come, so there is nothing to score."}</p>
          ) : (
            <Sentiment score={scores.data[0]} />
          )}
        </section>
        <section aria-label="Strategies">
          <h3>Strategies</h3>
          {views.data === null || views.data.length === 0 ? (
            <p class="note">{waiting(views) ?? "No strategy has spoken of it yet."}</p>
          ) : (
            <ul>
              {views.data.map((one) => (
                <Opinion key={one.strategy} view={one} />
              ))}
            </ul>
          )}
        </section>
      </div>
    </Panel>
  );
}

/** Null once there is an answer. */
function waiting(known: Known<unknown>): string | null {
  return known.data !== null ? null : (known.error ?? "Loading…");
}

function noModel(models: readonly Model[]): string {
  return models.length === 0
    ? "No model is registered: python cli.py train makes one."
    : `None of ${models.length} registered models is active: python cli.py models activate chooses one.`;
}

/** Only asked for where a model is active: else the API has none to tell. */
function Forecast(props: { symbol: string }): JSX.Element {
  const known = useResource<Prediction[]>(`/api/v1/predictions/${props.symbol}?limit=1`, EVERY_MS).value;
  const last = known.data?.[0];
  if (last === undefined) {
    return <p class="note">{known.error === null ? "Loading…" : `The active model has not spoken of it: ${known.error}.`}</p>;
  }
  return (
    <>
      <p>
        <b class={tone(10_000 * last.expected_return)}>{signedPercent(last.expected_return, 3)}</b> over {last.horizon_bars} bars, up with{" "}
        {percent(last.probability_up, 0)}
      </p>
      <p class="note">
        {last.model} <code title={last.model_hash}>{last.model_hash.slice(0, 12)}</code> at {brief(last.timestamp, now.value)}
      </p>
    </>
  );
}

function Sentiment(props: { score: Score }): JSX.Element {
  const { score } = props;
  return (
    <>
      <p>
        <b class={tone(score.score)}>{signed(score.score)}</b> {score.headline ?? "of a headline that is not kept"}
      </p>
      <p class="note">
        {score.method} {score.model}, confidence {percent(score.confidence, 0)}, at {brief(score.timestamp, now.value)}
      </p>
    </>
  );
}

function Opinion(props: { view: View }): JSX.Element {
  const { view } = props;
  const parts = partsOf(view);
  return (
    <li>
      <b class={tone(view.direction)}>{held(view)}</b> {nameOf(view.strategy)}{" "}
      <span class="note" title={parts.join(", ")}>
        confidence {percent(view.confidence, 0)} at {brief(view.timestamp, now.value)}
        {parts.length > 0 && `: ${parts.join(", ")}`}
      </span>
    </li>
  );
}
