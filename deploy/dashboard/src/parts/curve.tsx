/** A line over time: equity, and how far it stands below its peak. */
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { COLOURS } from "./colours.ts";

export interface Line {
  readonly label: string;
  readonly colour: string;
  readonly fill?: string;
  readonly show: (value: number | null) => string;
}

/** `x` in seconds since 1970; `values` one row per line. */
export function Curve(props: {
  label: string;
  x: readonly number[];
  lines: readonly Line[];
  values: readonly (readonly number[])[];
  height: number;
}): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const { x, values } = props;

  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const made = new uPlot(options(props.lines, element.clientWidth, props.height), [[], ...props.lines.map(() => [])], element);
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: props.height }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, []);

  useEffect(() => {
    plot.current?.setData([[...x], ...values.map((row) => [...row])]);
  }, [x, values]);

  return <div ref={place} class="curve" role="img" aria-label={props.label} />;
}

function options(lines: readonly Line[], width: number, height: number): uPlot.Options {
  const axis: uPlot.Axis = {
    stroke: COLOURS.muted,
    font: "11px system-ui, sans-serif",
    grid: { stroke: COLOURS.grid, width: 1 },
    ticks: { stroke: COLOURS.line, width: 1, size: 4 },
  };
  const show = lines[0]?.show ?? String;
  return {
    width,
    height,
    tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
    cursor: { points: { size: 6 } },
    scales: { y: { range: around } },
    hooks: {
      // Away from the plot the legend shows the last values.
      setCursor: [(plot) => (plot.cursor.idx == null ? showLast(plot) : undefined)],
      setData: [showLast],
    },
    axes: [
      { ...axis, size: 28, space: 76, values: axisTimes },
      { ...axis, size: 86, values: (_, splits) => splits.map((split) => show(split)) },
    ],
    series: [
      { label: "UTC", value: (_, ts) => (ts == null ? "–" : new Date(ts * 1000).toISOString().slice(0, 19).replace("T", " ")) },
      ...lines.map((line) => ({
        label: line.label,
        stroke: line.colour,
        width: 1.5,
        points: { show: false },
        value: (_: uPlot, value: number | null) => line.show(value),
        ...(line.fill === undefined ? {} : { fill: line.fill }),
      })),
    ],
  };
}

/** A little room above and below; a line that never moved stands in the middle of a narrow band. */
function around(_: uPlot, least: number | null, most: number | null): uPlot.Range.MinMax {
  if (least === null || most === null) return [0, 1];
  const room = most > least ? 0.05 * (most - least) : 0.001 * Math.abs(most) || 0.001;
  return [least - room, most + room];
}

function showLast(plot: uPlot): void {
  const last = plot.data[0].length - 1;
  if (last >= 0) plot.setLegend({ idx: last }, false);
}

/** The time of day, with the date where a new one begins; only dates where a step is a day. */
function axisTimes(_: uPlot, splits: number[], __: number, ___: number, step: number): string[] {
  let before = "";
  return splits.map((split) => {
    const text = new Date(split * 1000).toISOString();
    const day = text.slice(5, 10);
    const shown = step >= 86_400 ? day : text.slice(11, step < 60 ? 19 : 16);
    const first = day !== before && step < 86_400 && before !== "";
    before = day;
    return first ? day : shown;
  });
}
