/** Data from the two WebSocket streams: the last bar of each symbol, the portfolio valuation, and fill notifications. */
import { signal } from "@preact/signals";

import { refresh } from "./api.ts";
import { Stream } from "./streams.ts";
import type { BarUpdate, PortfolioUpdate } from "./types.ts";

export type Valuation = Extract<PortfolioUpdate, { type: "valuation_update" }>;

/** The last bar by symbol. The map is replaced once per burst of bars, not once per bar. */
export const bars = signal<ReadonlyMap<string, BarUpdate>>(new Map());
export const valuation = signal<Valuation | null>(null);
/** The current time, updated every second so that displayed ages grow. */
export const now = signal(Date.now());

type BarListener = (bar: BarUpdate) => void;
const barListeners = new Set<BarListener>();

/** Calls `listener` for every bar, for charts. Returns a function that unsubscribes it. */
export function onBar(listener: BarListener): () => void {
  barListeners.add(listener);
  return () => barListeners.delete(listener);
}

let pendingBars = new Map<string, BarUpdate>();
let flushScheduled = false;

function flushBars(): void {
  flushScheduled = false;
  bars.value = new Map([...bars.peek(), ...pendingBars]);
  pendingBars = new Map();
}

export const marketStream = new Stream<BarUpdate>(
  "/api/v1/market/stream",
  (bar) => {
    pendingBars.set(bar.symbol, bar);
    if (!flushScheduled) {
      flushScheduled = true;
      setTimeout(flushBars, 50);
    }
    for (const listener of barListeners) listener(bar);
  },
  () => refresh("/api/v1/market"),
);

let fillRefresh: ReturnType<typeof setTimeout> | null = null;

export const portfolioStream = new Stream<PortfolioUpdate>(
  "/api/v1/portfolio/stream",
  (update) => {
    if (update.type === "valuation_update") {
      valuation.value = update;
      return;
    }
    // After a fill, the stream is slightly ahead of the database: wait, then reload.
    if (fillRefresh !== null) return;
    fillRefresh = setTimeout(() => {
      fillRefresh = null;
      for (const prefix of ["/api/v1/portfolio", "/api/v1/orders", "/api/v1/executions"]) refresh(prefix);
    }, 300);
  },
  () => refresh(),
);

setInterval(() => {
  now.value = Date.now();
}, 1000);
