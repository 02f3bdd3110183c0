/** Candles of one symbol, with the fills of our own orders on them. */
import {
  CandlestickSeries,
  createChart,
  createSeriesMarkers,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  type SeriesMarker,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { useResource } from "../net/api.ts";
import { onBar } from "../net/live.ts";
import type { ExecutionPage, History } from "../net/types.ts";
import { add, candlesOf, marks, type Candle, type Mark } from "../pure/candles.ts";
import { COLOURS } from "./colours.ts";
import { Nothing, Panel } from "./panel.tsx";

const LENGTHS: readonly (readonly [string, number])[] = [
  ["Bars", 0],
  ["1 min", 60],
  ["5 min", 300],
  ["15 min", 900],
  ["1 h", 3600],
];
const BARS = 5000;

interface Drawn {
  readonly chart: IChartApi;
  readonly prices: ISeriesApi<"Candlestick">;
  readonly volumes: ISeriesApi<"Histogram">;
  readonly marks: ISeriesMarkersPluginApi<Time>;
}

export function Candles(props: { symbol: string; symbols: readonly string[]; choose: (symbol: string) => void }): JSX.Element {
  const { symbol } = props;
  const [seconds, setSeconds] = useState(0);
  const place = useRef<HTMLDivElement>(null);
  const drawn = useRef<Drawn | null>(null);
  const candles = useRef<Candle[]>([]);
  const history = useResource<History>(`/api/v1/market/history/${encodeURIComponent(symbol)}?limit=${BARS}`).value;
  const filled = useResource<ExecutionPage>(
    `/api/v1/executions?type=TRADE&limit=500&symbol=${encodeURIComponent(symbol)}`,
    10_000,
  ).value;

  useEffect(() => {
    if (place.current === null) return;
    drawn.current = draw(place.current);
    return () => {
      drawn.current?.chart.remove();
      drawn.current = null;
    };
  }, []);

  useEffect(() => {
    if (drawn.current === null) return;
    const bars = (history.data?.bars ?? []).map((bar) => ({ ...bar, time: Date.parse(bar.open_time) / 1000 }));
    candles.current = candlesOf(bars, seconds);
    drawn.current.prices.setData(candles.current.map(asCandle));
    drawn.current.volumes.setData(candles.current.map(asVolume));
    const shown = Math.min(candles.current.length, 120);
    drawn.current.chart.timeScale().setVisibleLogicalRange({
      from: candles.current.length - shown,
      to: candles.current.length + 4,
    });
  }, [history.data, seconds]);

  useEffect(() => {
    const fills = (filled.data?.executions ?? []).map((one) => ({
      id: one.execution_id,
      time: Date.parse(one.filled_at ?? one.timestamp) / 1000,
      side: one.side,
      quantity: one.quantity,
      price: one.price,
    }));
    const times = candles.current.map((candle) => candle.time);
    // Where it is narrow the words would cover the candles.
    const words = (place.current?.clientWidth ?? 0) > 700;
    drawn.current?.marks.setMarkers(marks(fills, times).map((mark) => asMarker(mark, words)));
  }, [filled.data, history.data, seconds]);

  useEffect(
    () =>
      onBar((bar) => {
        if (bar.symbol !== symbol || candles.current.length === 0) return;
        const { open, high, low, volume, price } = bar;
        const time = Date.parse(bar.open_time) / 1000;
        const changed = add(candles.current, { time, open, high, low, close: price, volume }, seconds);
        if (changed === null) return;
        drawn.current?.prices.update(asCandle(changed));
        drawn.current?.volumes.update(asVolume(changed));
      }),
    [symbol, seconds],
  );

  const last = candles.current[candles.current.length - 1];
  const described = last === undefined ? "" : `, last close ${last.close}`;
  return (
    <Panel
      title="Chart"
      class="chart"
      known={history}
      aside={
        <>
          <label>
            <span class="unseen">Symbol of the chart</span>
            <select value={symbol} onChange={(event) => props.choose(event.currentTarget.value)}>
              {props.symbols.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
          <div class="choices" role="group" aria-label="Length of a candle">
            {LENGTHS.map(([name, length]) => (
              <button
                key={name}
                type="button"
                aria-pressed={length === seconds}
                onClick={() => setSeconds(length)}
              >
                {name}
              </button>
            ))}
          </div>
        </>
      }
    >
      <div
        ref={place}
        class="canvas"
        role="img"
        aria-label={`Candles of ${symbol}${described}, ${filled.data?.executions.length ?? 0} fills`}
        data-fills={filled.data?.executions.length ?? 0}
      />
      {history.data === null && <Nothing known={history} empty="" />}
    </Panel>
  );
}

function draw(place: HTMLDivElement): Drawn {
  const chart = createChart(place, {
    autoSize: true,
    layout: {
      background: { color: "transparent" },
      textColor: COLOURS.muted,
      fontSize: 11,
      // Its logo brings a style element that the page's policy forbids; the footer has the notice and the link.
      attributionLogo: false,
    },
    grid: { vertLines: { color: COLOURS.grid }, horzLines: { color: COLOURS.grid } },
    rightPriceScale: { borderColor: COLOURS.line },
    timeScale: { borderColor: COLOURS.line, timeVisible: true, secondsVisible: true },
    crosshair: { mode: 0 },
    localization: { locale: "en-GB" },
  });
  const prices = chart.addSeries(CandlestickSeries, {
    upColor: COLOURS.up,
    downColor: COLOURS.down,
    wickUpColor: COLOURS.up,
    wickDownColor: COLOURS.down,
    borderVisible: false,
  });
  const volumes = chart.addSeries(HistogramSeries, {
    priceScaleId: "volume",
    priceFormat: { type: "volume" },
    lastValueVisible: false,
    priceLineVisible: false,
  });
  chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.86, bottom: 0 } });
  prices.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.2 } });
  return { chart, prices, volumes, marks: createSeriesMarkers(prices, []) };
}

function asCandle(candle: Candle): Candle & { time: UTCTimestamp } {
  return { ...candle, time: candle.time as UTCTimestamp };
}

function asVolume(candle: Candle): { time: UTCTimestamp; value: number; color: string } {
  const color = candle.close >= candle.open ? COLOURS.upFaint : COLOURS.downFaint;
  return { time: candle.time as UTCTimestamp, value: candle.volume, color };
}

function asMarker(mark: Mark, words: boolean): SeriesMarker<Time> {
  const buy = mark.side === "BUY";
  return {
    time: mark.time as UTCTimestamp,
    position: buy ? "belowBar" : "aboveBar",
    shape: buy ? "arrowUp" : "arrowDown",
    color: buy ? COLOURS.accent : COLOURS.warn,
    ...(words ? { text: mark.text } : {}),
  };
}
