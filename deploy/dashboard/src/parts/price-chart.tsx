/** Candlestick chart of one symbol with markers for the portfolio's own fills. */
import {
  CandlestickSeries,
  createChart,
  createSeriesMarkers,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  type SeriesMarker,
  TickMarkType,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { useResource } from "../net/api.ts";
import { onBar } from "../net/live.ts";
import type { BarHistory, ExecutionPage } from "../net/types.ts";
import { addBar, buildCandles, fillMarkers, withoutOverlap, type Candle, type FillMarker } from "../pure/candles.ts";
import { countOf, dateTime, price, timeOfDay } from "../pure/format.ts";
import { COLOURS } from "./colours.ts";
import { EmptyState, Panel } from "./panel.tsx";

const INTERVALS: readonly (readonly [string, number])[] = [
  ["Bars", 0],
  ["1 min", 60],
  ["5 min", 300],
  ["15 min", 900],
  ["1 h", 3600],
];
const BARS_MAX = 5000;
const VISIBLE_CANDLES = 120;
/** On a narrower chart the marker texts would cover the candles. */
const MARKER_TEXT_WIDTH_MIN = 700;

interface Chart {
  readonly chart: IChartApi;
  readonly prices: ISeriesApi<"Candlestick">;
  readonly volumes: ISeriesApi<"Histogram">;
  readonly markers: ISeriesMarkersPluginApi<Time>;
}

export function PriceChart(props: { symbol: string; symbols: readonly string[]; onSelect: (symbol: string) => void }): JSX.Element {
  const { symbol } = props;
  const [seconds, setSeconds] = useState(0);
  const container = useRef<HTMLDivElement>(null);
  const drawn = useRef<Chart | null>(null);
  const candles = useRef<Candle[]>([]);
  const fillsDrawn = useRef<FillMarker[]>([]);
  const history = useResource<BarHistory>(`/api/v1/market/history/${encodeURIComponent(symbol)}?limit=${BARS_MAX}`).value;
  const executions = useResource<ExecutionPage>(
    `/api/v1/executions?type=TRADE&limit=500&symbol=${encodeURIComponent(symbol)}`,
    10_000,
  ).value;

  const drawMarkers = (): void => {
    if (drawn.current === null) return;
    const { chart, markers } = drawn.current;
    const withText = (container.current?.clientWidth ?? 0) > MARKER_TEXT_WIDTH_MIN;
    const times = candles.current.map((candle) => candle.time);
    const shown = withoutOverlap(fillsDrawn.current, times, chart.timeScale().options().barSpacing);
    markers.setMarkers(shown.map((marker) => seriesMarker(marker, withText)));
  };

  useEffect(() => {
    if (container.current === null) return;
    drawn.current = createPriceChart(container.current);
    // The distance of the candles decides which texts have room.
    drawn.current.chart.timeScale().subscribeVisibleLogicalRangeChange(drawMarkers);
    return () => {
      drawn.current?.chart.remove();
      drawn.current = null;
    };
  }, []);

  useEffect(() => {
    if (drawn.current === null) return;
    const bars = (history.data?.bars ?? []).map((bar) => ({ ...bar, time: Date.parse(bar.open_time) / 1000 }));
    candles.current = buildCandles(bars, seconds);
    drawn.current.prices.setData(candles.current.map(candlePoint));
    drawn.current.volumes.setData(candles.current.map(volumePoint));
    const visible = Math.min(candles.current.length, VISIBLE_CANDLES);
    drawn.current.chart.timeScale().setVisibleLogicalRange({
      from: candles.current.length - visible,
      to: candles.current.length + 4,
    });
  }, [history.data, seconds]);

  useEffect(() => {
    const fills = (executions.data?.executions ?? []).map((execution) => ({
      id: execution.execution_id,
      time: Date.parse(execution.filled_at ?? execution.timestamp) / 1000,
      side: execution.side,
      quantity: execution.quantity,
      price: execution.price,
    }));
    const times = candles.current.map((candle) => candle.time);
    fillsDrawn.current = fillMarkers(fills, times);
    drawMarkers();
  }, [executions.data, history.data, seconds]);

  useEffect(
    () =>
      onBar((bar) => {
        if (bar.symbol !== symbol || candles.current.length === 0) return;
        const { open, high, low, volume, price: close } = bar;
        const time = Date.parse(bar.open_time) / 1000;
        const changed = addBar(candles.current, { time, open, high, low, close, volume }, seconds);
        if (changed === null) return;
        drawn.current?.prices.update(candlePoint(changed));
        drawn.current?.volumes.update(volumePoint(changed));
      }),
    [symbol, seconds],
  );

  const last = candles.current[candles.current.length - 1];
  const fills = executions.data?.executions.length ?? 0;
  return (
    <Panel
      title="Chart"
      class="chart"
      resource={history}
      actions={
        <>
          <label>
            <span class="visually-hidden">Chart symbol</span>
            <select value={symbol} onChange={(event) => props.onSelect(event.currentTarget.value)}>
              {props.symbols.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
          <div class="button-group" role="group" aria-label="Candle interval">
            {INTERVALS.map(([name, length]) => (
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
        ref={container}
        class="canvas"
        role="img"
        aria-label={`Price chart of ${symbol}${last === undefined ? "" : `, last price ${price(last.close)}`}, ${countOf(fills, "fill")}`}
        data-fills={fills}
      />
      {history.data?.archived_note != null && <p class="note">{history.data.archived_note}</p>}
      {history.data === null && <EmptyState resource={history} text="" />}
    </Panel>
  );
}

function createPriceChart(container: HTMLDivElement): Chart {
  const chart = createChart(container, {
    autoSize: true,
    layout: {
      background: { color: "transparent" },
      textColor: COLOURS.muted,
      fontSize: 11,
      // The logo adds a style element, which the Content-Security-Policy blocks. The footer has the notice and link.
      attributionLogo: false,
    },
    grid: { vertLines: { color: COLOURS.grid }, horzLines: { color: COLOURS.grid } },
    rightPriceScale: { borderColor: COLOURS.line },
    timeScale: { borderColor: COLOURS.line, timeVisible: true, secondsVisible: true, tickMarkFormatter: tickLabel },
    crosshair: { mode: 0 },
    localization: { locale: "en-GB", timeFormatter: (time: Time) => dateTime(Number(time) * 1000) },
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
  return { chart, prices, volumes, markers: createSeriesMarkers(prices, []) };
}

/** The label of a mark of the time axis, in the selected zone. */
function tickLabel(time: Time, type: TickMarkType): string {
  const text = dateTime(Number(time) * 1000);
  if (type === TickMarkType.Year || type === TickMarkType.Month) return text.slice(0, 7);
  if (type === TickMarkType.DayOfMonth) return text.slice(0, 10);
  return type === TickMarkType.TimeWithSeconds ? timeOfDay(Number(time) * 1000) : text.slice(11, 16);
}

function candlePoint(candle: Candle): Candle & { time: UTCTimestamp } {
  return { ...candle, time: candle.time as UTCTimestamp };
}

function volumePoint(candle: Candle): { time: UTCTimestamp; value: number; color: string } {
  const color = candle.close >= candle.open ? COLOURS.upFaint : COLOURS.downFaint;
  return { time: candle.time as UTCTimestamp, value: candle.volume, color };
}

function seriesMarker(marker: FillMarker, withText: boolean): SeriesMarker<Time> {
  const buy = marker.side === "BUY";
  return {
    time: marker.time as UTCTimestamp,
    position: buy ? "belowBar" : "aboveBar",
    shape: buy ? "arrowUp" : "arrowDown",
    color: buy ? COLOURS.accent : COLOURS.warn,
    ...(withText && marker.text !== "" ? { text: marker.text } : {}),
  };
}
