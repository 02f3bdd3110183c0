/** What the streams brought, for every screen: last bars by symbol, the portfolio's value, and a word when a fill came. */
import { signal } from "@preact/signals";

import { refresh } from "./api.ts";
import { Stream } from "./streams.ts";
import type { BarUpdate, PortfolioUpdate } from "./types.ts";

export type Valuation = Extract<PortfolioUpdate, { type: "valuation_update" }>;

/** By symbol. A new map for each burst of bars, not for each bar. */
export const bars = signal<ReadonlyMap<string, BarUpdate>>(new Map());
export const valuation = signal<Valuation | null>(null);
/** Ticks every second: ages on the screen grow without a message. */
export const now = signal(Date.now());

type Listener = (bar: BarUpdate) => void;
const listeners = new Set<Listener>();

/** Every bar as it comes, for charts. Returns what ends it. */
export function onBar(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

let waiting = new Map<string, BarUpdate>();
let planned = false;

function flush(): void {
  planned = false;
  bars.value = new Map([...bars.peek(), ...waiting]);
  waiting = new Map();
}

export const market = new Stream<BarUpdate>(
  "/api/v1/market/stream",
  (bar) => {
    waiting.set(bar.symbol, bar);
    if (!planned) {
      planned = true;
      setTimeout(flush, 50);
    }
    for (const listener of listeners) listener(bar);
  },
  () => refresh("/api/v1/market"),
);

let filled: ReturnType<typeof setTimeout> | null = null;

export const portfolio = new Stream<PortfolioUpdate>(
  "/api/v1/portfolio/stream",
  (update) => {
    if (update.type === "valuation_update") {
      valuation.value = update;
      return;
    }
    // A fill. Redis is a moment ahead of Postgres: ask soon, and once more for what comes late.
    if (filled !== null) return;
    filled = setTimeout(() => {
      filled = null;
      for (const prefix of ["/api/v1/portfolio", "/api/v1/orders", "/api/v1/executions"]) refresh(prefix);
    }, 300);
  },
  () => refresh(),
);

setInterval(() => {
  now.value = Date.now();
}, 1000);
