/** How the portfolio did, and which strategy did it. */
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";

import { useResource } from "../net/api.ts";
import type { EquityPoint, Performance } from "../net/types.ts";
import { COLOURS } from "../parts/colours.ts";
import { Curve, type Line } from "../parts/curve.tsx";
import { Figures } from "../parts/figures.tsx";
import { Nothing, Panel } from "../parts/panel.tsx";
import { Strategies } from "../parts/strategies.tsx";
import { count, money, percent, ratio, signed, signedPercent, stamp, tone } from "../pure/format.ts";

const RANGES: readonly (readonly [string, number | null])[] = [
  ["1 h", 3600],
  ["1 day", 86_400],
  ["1 week", 604_800],
  ["All", null],
];
const EQUITY: readonly Line[] = [
  { label: "Equity", colour: COLOURS.accent, show: (value) => money(value, 0) },
];
const DRAWDOWN: readonly Line[] = [
  { label: "Drawdown", colour: COLOURS.down, fill: COLOURS.downFaint, show: (value) => percent(value) },
];
const EXPOSURE: readonly Line[] = [
  { label: "Gross", colour: COLOURS.warn, show: (value) => money(value, 0) },
  { label: "Net", colour: COLOURS.accent, show: (value) => money(value, 0) },
];

export function PerformanceView(): JSX.Element {
  const report = useResource<Performance>("/api/v1/portfolio/performance", 5000).value;
  const found = report.data;
  return (
    <div class="performance">
      <Figures
        label="Performance since the start"
        figures={[
          { name: "Return", value: signedPercent(found?.total_return, 3), tone: tone((found?.total_return ?? 0) * 1000), note: `of ${money(found?.initial_equity, 0)}` },
          { name: "Max drawdown", value: percent(found?.max_drawdown, 3) },
          { name: "Sharpe ratio", value: ratio(found?.sharpe), note: found?.sharpe == null ? "needs two trading days" : "yearly, daily returns" },
          { name: "Volatility", value: percent(found?.volatility), note: "yearly" },
          { name: "Closed lots", value: count(found?.trades), note: `${percent(found?.win_rate, 1)} won` },
          { name: "Profit factor", value: ratio(found?.profit_factor), note: `win ${money(found?.average_win)}, loss ${money(found?.average_loss)}` },
        ]}
      />
      <Equity capital={found?.initial_equity ?? null} />
      <Strategies />
      <Panel title="Since the start" known={report} class="report">
        {found === null ? (
          <Nothing known={report} empty="" />
        ) : (
          <dl class="pairs">
            {(
              [
                ["Initial equity", money(found.initial_equity)],
                ["Equity", money(found.final_equity)],
                ["Realized P&L", signed(found.realized_pnl)],
                ["Unrealized P&L", signed(found.unrealized_pnl)],
                ["Fees", money(found.fees)],
                ["Annualized return", signedPercent(found.annualized_return)],
                ["First valuation", stamp(found.first_valuation)],
                ["Last valuation", stamp(found.last_valuation)],
              ] as const
            ).map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
        )}
      </Panel>
    </div>
  );
}

function Equity(props: { capital: number | null }): JSX.Element {
  const [range, setRange] = useState<number | null>(null);
  const all = useResource<EquityPoint[]>("/api/v1/portfolio/equity?points=800", 10_000).value;
  const end = all.data?.[all.data.length - 1]?.timestamp;
  // By the portfolio's own clock, to the minute: a backfill or a replay has another time than the wall.
  const since = range === null || end === undefined ? null : sinceOf(end, range);
  const path = since === null ? "/api/v1/portfolio/equity?points=800" : `/api/v1/portfolio/equity?points=800&since=${since}`;
  const known = useResource<EquityPoint[]>(path, 10_000).value;
  const drawn = useMemo(() => curves(known.data ?? [], props.capital), [known.data, props.capital]);
  return (
    <Panel
      title="Equity"
      known={known}
      class="equity"
      aside={
        <div class="choices" role="group" aria-label="Range">
          {RANGES.map(([name, seconds]) => (
            <button key={name} type="button" aria-pressed={seconds === range} onClick={() => setRange(seconds)}>
              {name}
            </button>
          ))}
        </div>
      }
    >
      {drawn.x.length < 2 ? (
        <Nothing known={known} empty="No second valuation yet." />
      ) : (
        <>
          <Curve label="Equity over time" x={drawn.x} lines={EQUITY} values={drawn.equity} height={260} />
          <Curve label="Drawdown over time" x={drawn.x} lines={DRAWDOWN} values={drawn.drawdown} height={130} />
          <Curve label="Exposure over time" x={drawn.x} lines={EXPOSURE} values={drawn.exposure} height={150} />
        </>
      )}
    </Panel>
  );
}

function sinceOf(end: string, seconds: number): string {
  const at = Math.floor((Date.parse(end) - 1000 * seconds) / 60_000) * 60_000;
  return new Date(at).toISOString().slice(0, 19) + "Z";
}

interface Curves {
  readonly x: number[];
  readonly equity: number[][];
  readonly drawdown: number[][];
  readonly exposure: number[][];
}

function curves(points: readonly EquityPoint[], capital: number | null): Curves {
  let peak = capital ?? 0;
  const falls = points.map((point) => {
    peak = Math.max(peak, point.equity);
    return peak > 0 ? point.equity / peak - 1 : 0;
  });
  return {
    x: points.map((point) => Date.parse(point.timestamp) / 1000),
    equity: [points.map((point) => point.equity)],
    drawdown: [falls],
    exposure: [points.map((point) => point.gross_exposure), points.map((point) => point.net_exposure)],
  };
}
