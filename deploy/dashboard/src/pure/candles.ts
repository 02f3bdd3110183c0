/** Bars into candles of a chosen length, and fills onto them. Times are seconds since 1970, UTC. */

export interface Candle {
  /** When it opens. */
  readonly time: number;
  readonly open: number;
  readonly high: number;
  readonly low: number;
  readonly close: number;
  readonly volume: number;
}

export interface Fill {
  readonly id: string;
  readonly time: number;
  readonly side: string;
  readonly quantity: number;
  readonly price: number;
}

export interface Mark {
  readonly time: number;
  readonly side: string;
  readonly text: string;
}

/** The candle that a bar belongs to, `seconds` long; 0 leaves bars as they are. */
export function opens(time: number, seconds: number): number {
  return seconds > 0 ? Math.floor(time / seconds) * seconds : time;
}

/** One more bar, in place: it goes into the last candle or opens the next. What is older than that is dropped. */
export function add(candles: Candle[], bar: Candle, seconds: number): Candle | null {
  const time = opens(bar.time, seconds);
  const last = candles[candles.length - 1];
  if (last === undefined || time > last.time) {
    const candle = { ...bar, time };
    candles.push(candle);
    return candle;
  }
  if (time < last.time) return null;
  const merged =
    seconds > 0
      ? {
          time,
          open: last.open,
          high: Math.max(last.high, bar.high),
          low: Math.min(last.low, bar.low),
          close: bar.close,
          volume: last.volume + bar.volume,
        }
      : { ...bar, time };
  candles[candles.length - 1] = merged;
  return merged;
}

/** Bars, oldest first, as candles. */
export function candlesOf(bars: readonly Candle[], seconds: number): Candle[] {
  const candles: Candle[] = [];
  for (const bar of bars) add(candles, bar, seconds);
  return candles;
}

/**
 * Where fills go: each to the last candle that opened at or before it; those before the first candle are left out. Fills
 * of one side in one candle are one mark, with the sum of their quantities at their average price.
 */
export function marks(fills: readonly Fill[], times: readonly number[]): Mark[] {
  const found = new Map<string, { time: number; side: string; quantity: number; paid: number }>();
  for (const fill of [...fills].sort((a, b) => a.time - b.time)) {
    const time = lastAtOrBefore(times, fill.time);
    if (time === null) continue;
    const key = `${time} ${fill.side}`;
    const mark = found.get(key) ?? { time, side: fill.side, quantity: 0, paid: 0 };
    mark.quantity += fill.quantity;
    mark.paid += fill.quantity * fill.price;
    found.set(key, mark);
  }
  return [...found.values()]
    .sort((a, b) => a.time - b.time)
    .map(({ time, side, quantity, paid }) => ({
      time,
      side,
      text: `${side === "BUY" ? "B" : "S"} ${trimmed(quantity)} @ ${(paid / quantity).toFixed(2)}`,
    }));
}

function trimmed(value: number): string {
  return String(Math.round(value * 1e6) / 1e6);
}

function lastAtOrBefore(times: readonly number[], time: number): number | null {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] as number) <= time) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? null : (times[low - 1] as number);
}
