/** Line chart of values over time, for example equity or drawdown. */
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { dateTime, NO_VALUE, timeZoneLabel } from "../pure/format.ts";
import { COLOURS } from "./colours.ts";
import { timeZone } from "./time-zone.tsx";

export interface Line {
  readonly label: string;
  readonly colour: string;
  readonly fill?: string;
  readonly format: (value: number | null) => string;
}

/** `x` is in seconds since 1970. `values` has one row per line. */
export function LineChart(props: {
  label: string;
  x: readonly number[];
  lines: readonly Line[];
  values: readonly (readonly number[])[];
  height: number;
}): JSX.Element {
  const container = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const { x, values } = props;

  useEffect(() => {
    const element = container.current;
    if (element === null) return;
    const created = new uPlot(plotOptions(props.lines, element.clientWidth, props.height), [[], ...props.lines.map(() => [])], element);
    plot.current = created;
    const observer = new ResizeObserver(() => created.setSize({ width: element.clientWidth, height: props.height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      created.destroy();
      plot.current = null;
    };
  }, []);

  useEffect(() => {
    plot.current?.setData([[...x], ...values.map((row) => [...row])]);
  }, [x, values]);

  return <div ref={container} class="line-chart" role="img" aria-label={props.label} />;
}

function plotOptions(lines: readonly Line[], width: number, height: number): uPlot.Options {
  const axis: uPlot.Axis = {
    stroke: COLOURS.muted,
    font: "11px system-ui, sans-serif",
    grid: { stroke: COLOURS.grid, width: 1 },
    ticks: { stroke: COLOURS.line, width: 1, size: 4 },
  };
  const format = lines[0]?.format ?? String;
  return {
    width,
    height,
    tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), timeZone.peek() === "UTC" ? "Etc/UTC" : timeZone.peek()),
    cursor: { points: { size: 6 } },
    scales: { y: { range: paddedRange } },
    hooks: {
      // Without a cursor the legend shows the last values.
      setCursor: [(plot) => (plot.cursor.idx == null ? showLastValues(plot) : undefined)],
      setData: [showLastValues],
    },
    axes: [
      { ...axis, size: 28, space: 76, values: timeLabels },
      { ...axis, size: 86, values: (_, splits) => splits.map((split) => format(split)) },
    ],
    series: [
      { label: `Time (${timeZoneLabel()})`, value: (_, ts) => (ts == null ? NO_VALUE : dateTime(ts * 1000)) },
      ...lines.map((line) => ({
        label: line.label,
        stroke: line.colour,
        width: 1.5,
        points: { show: false },
        value: (_: uPlot, value: number | null) => line.format(value),
        ...(line.fill === undefined ? {} : { fill: line.fill }),
      })),
    ],
  };
}

/** The value range with a margin. A constant line is centred in a narrow range. */
function paddedRange(_: uPlot, min: number | null, max: number | null): uPlot.Range.MinMax {
  if (min === null || max === null) return [0, 1];
  const margin = max > min ? 0.05 * (max - min) : 0.001 * Math.abs(max) || 0.001;
  return [min - margin, max + margin];
}

function showLastValues(plot: uPlot): void {
  const last = plot.data[0].length - 1;
  if (last >= 0) plot.setLegend({ idx: last }, false);
}

/** Labels show the time of day, and the date at the start of each day. With steps of a day they show only dates. */
function timeLabels(_: uPlot, splits: number[], __: number, ___: number, step: number): string[] {
  let previousDay = "";
  return splits.map((split) => {
    const text = dateTime(split * 1000);
    const day = text.slice(0, 10);
    const label = step >= 86_400 ? day : text.slice(11, step < 60 ? 19 : 16);
    const dayStarts = day !== previousDay && step < 86_400 && previousDay !== "";
    previousDay = day;
    return dayStarts ? day : label;
  });
}
