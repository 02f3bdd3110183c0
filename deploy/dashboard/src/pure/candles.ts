/** Aggregates bars into candles and places fills on them. Times are seconds since 1970, UTC. */

export interface Candle {
  /** Open time. */
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

export interface FillMarker {
  readonly time: number;
  readonly side: string;
  readonly text: string;
}

/** The width of a character of a marker's text, with the space between two texts, in px: generous for 11 px. */
const CHARACTER_WIDTH = 7;

/** Returns the open time of the candle that contains `time`. With `seconds` 0 each bar is its own candle. */
export function candleStart(time: number, seconds: number): number {
  return seconds > 0 ? Math.floor(time / seconds) * seconds : time;
}

/** Adds a bar in place: updates the last candle or appends a new one. Returns null for a bar older than the last candle. */
export function addBar(candles: Candle[], bar: Candle, seconds: number): Candle | null {
  const time = candleStart(bar.time, seconds);
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

/** Builds candles from bars, which must be in order of time. */
export function buildCandles(bars: readonly Candle[], seconds: number): Candle[] {
  const candles: Candle[] = [];
  for (const bar of bars) addBar(candles, bar, seconds);
  return candles;
}

/**
 * Places each fill on the last candle that opened at or before it. Fills before the first candle are left out. Fills of
 * one side in one candle share one marker, with their total quantity and average price.
 */
export function fillMarkers(fills: readonly Fill[], candleTimes: readonly number[]): FillMarker[] {
  const groups = new Map<string, { time: number; side: string; quantity: number; notional: number }>();
  for (const fill of [...fills].sort((a, b) => a.time - b.time)) {
    const time = lastAtOrBefore(candleTimes, fill.time);
    if (time === null) continue;
    const key = `${time} ${fill.side}`;
    const group = groups.get(key) ?? { time, side: fill.side, quantity: 0, notional: 0 };
    group.quantity += fill.quantity;
    group.notional += fill.quantity * fill.price;
    groups.set(key, group);
  }
  return [...groups.values()]
    .sort((a, b) => a.time - b.time)
    .map(({ time, side, quantity, notional }) => ({
      time,
      side,
      text: `${side === "BUY" ? "B" : "S"} ${roundQuantity(quantity)} @ ${(notional / quantity).toFixed(2)}`,
    }));
}

/**
 * Removes the texts that would overlap the text of a later fill of the same side. `candleWidth` is the distance of two
 * candles in px. Buys and sells are below and above the candles, so that their texts do not meet.
 */
export function withoutOverlap(markers: readonly FillMarker[], candleTimes: readonly number[], candleWidth: number): FillMarker[] {
  const position = new Map(candleTimes.map((time, index) => [time, index * candleWidth]));
  const leftmost = new Map<string, number>();
  return [...markers]
    .reverse()
    .map((marker) => {
      const centre = position.get(marker.time) ?? 0;
      const half = (marker.text.length * CHARACTER_WIDTH) / 2;
      if (centre + half > (leftmost.get(marker.side) ?? Infinity)) return { ...marker, text: "" };
      leftmost.set(marker.side, centre - half);
      return marker;
    })
    .reverse();
}

function roundQuantity(value: number): string {
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
