/** Returns, drawdown and exposure of the portfolio, and the results of each strategy. */
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";

import { useResource } from "../net/api.ts";
import type { EquityPoint, Performance } from "../net/types.ts";
import { CashTransfers } from "../parts/cash-transfers.tsx";
import { COLOURS } from "../parts/colours.ts";
import { KeyFigures } from "../parts/key-figures.tsx";
import { LineChart, type Line } from "../parts/line-chart.tsx";
import { EmptyState, Panel } from "../parts/panel.tsx";
import { StrategyResults } from "../parts/strategy-results.tsx";
import { count, dateTime, gainTone, money, percent, ratio, signedMoney, signedPercent, withZone } from "../pure/format.ts";

const RANGES: readonly (readonly [string, number | null])[] = [
  ["1 hour", 3600],
  ["1 day", 86_400],
  ["1 week", 604_800],
  ["All", null],
];
const EQUITY: readonly Line[] = [
  { label: "Equity", colour: COLOURS.accent, format: (value) => money(value, 0) },
];
const EQUITY_WITH_FLOWS: readonly Line[] = [
  ...EQUITY,
  { label: "Net of deposits and withdrawals", colour: COLOURS.warn, format: (value) => money(value, 0) },
];
const DRAWDOWN: readonly Line[] = [
  { label: "Drawdown", colour: COLOURS.down, fill: COLOURS.downFaint, format: (value) => percent(value, 3) },
];
const EXPOSURE: readonly Line[] = [
  { label: "Gross exposure", colour: COLOURS.warn, format: (value) => money(value, 0) },
  { label: "Net exposure", colour: COLOURS.accent, format: (value) => money(value, 0) },
];

export function PerformanceView(): JSX.Element {
  const report = useResource<Performance>("/api/v1/portfolio/performance", 5000).value;
  const data = report.data;
  return (
    <div class="performance">
      <KeyFigures
        label="Performance since start"
        figures={[
          { name: "Total return", value: signedPercent(data?.total_return, 3), tone: gainTone((data?.total_return ?? 0) * 1000), note: returnNote(data) },
          { name: "Max drawdown", value: percent(data?.max_drawdown, 3), note: "from the highest equity" },
          { name: "Sharpe ratio", value: ratio(data?.sharpe), note: data?.sharpe == null ? annualizedFrom(data) : "annualized, daily returns" },
          { name: "Volatility", value: percent(data?.volatility), note: data?.volatility == null ? annualizedFrom(data) : "annualized" },
          { name: "Closed lots", value: count(data?.trades), note: `win rate ${percent(data?.win_rate, 1)}` },
          { name: "Profit factor", value: ratio(data?.profit_factor), note: `avg win ${money(data?.average_win)}, avg loss ${money(data?.average_loss)}` },
        ]}
      />
      <EquityPanel initialEquity={data?.initial_equity ?? null} />
      <StrategyResults />
      <CashTransfers />
      <Panel title="Summary since start" resource={report} class="summary">
        {data === null ? (
          <EmptyState resource={report} text="" />
        ) : (
          <dl class="pairs">
            {(
              [
                ["Initial equity", money(data.initial_equity)],
                ["Current equity", money(data.final_equity)],
                ["Deposits minus withdrawals", signedMoney(data.net_flows)],
                ["Profit", signedMoney(data.profit)],
                ["Time-weighted return", signedPercent(data.total_return, 3)],
                ["Money-weighted return", signedPercent(data.money_weighted_return, 3)],
                ["Realized P&L", signedMoney(data.realized_pnl)],
                ["Unrealized P&L", signedMoney(data.unrealized_pnl)],
                ["Fees", money(data.fees)],
                ["Annualized return", data.annualized_return === null ? `– (${annualizedFrom(data)})` : signedPercent(data.annualized_return)],
                ["Sortino ratio", ratio(data.sortino)],
                ["Calmar ratio", ratio(data.calmar)],
                ["Max drawdown from", withZone(dateTime(data.max_drawdown_start))],
                ["Max drawdown lowest", withZone(dateTime(data.max_drawdown_trough))],
                ["Max drawdown recovered", withZone(dateTime(data.max_drawdown_recovered))],
                ["Value at risk (daily, 95 %)", signedPercent(data.value_at_risk, 3)],
                ["Expected shortfall (daily, 95 %)", signedPercent(data.expected_shortfall, 3)],
                ["Tail ratio", ratio(data.tail_ratio)],
                ["Expectancy per closed lot", signedMoney(data.expectancy)],
                ["Exposure", percent(data.exposure, 1)],
                ["Turnover", ratio(data.turnover)],
                ["First valuation", withZone(dateTime(data.first_valuation))],
                ["Last valuation", withZone(dateTime(data.last_valuation))],
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

function returnNote(data: Performance | null): string {
  const base = `on ${money(data?.initial_equity, 0)} initial equity`;
  return data !== null && data.net_flows !== 0 ? `time-weighted, ${base}` : base;
}

function annualizedFrom(data: Performance | null): string {
  return data === null ? "" : `from ${data.annualized_from_days} trading days on, now ${data.days}`;
}

function EquityPanel(props: { initialEquity: number | null }): JSX.Element {
  const [range, setRange] = useState<number | null>(null);
  const full = useResource<EquityPoint[]>("/api/v1/portfolio/equity?points=800", 10_000).value;
  const end = full.data?.[full.data.length - 1]?.timestamp;
  // The range ends at the last valuation, because a backfill or replay does not run at the current time.
  const since = range === null || end === undefined ? null : rangeStart(end, range);
  const path = since === null ? "/api/v1/portfolio/equity?points=800" : `/api/v1/portfolio/equity?points=800&since=${since}`;
  const equity = useResource<EquityPoint[]>(path, 10_000).value;
  const series = useMemo(() => chartSeries(equity.data ?? [], props.initialEquity), [equity.data, props.initialEquity]);
  return (
    <Panel
      title="Equity, drawdown and exposure"
      resource={equity}
      class="equity"
      actions={
        <div class="button-group" role="group" aria-label="Time range">
          {RANGES.map(([name, seconds]) => (
            <button key={name} type="button" aria-pressed={seconds === range} onClick={() => setRange(seconds)}>
              {name}
            </button>
          ))}
        </div>
      }
    >
      {series.x.length < 2 ? (
        <EmptyState resource={equity} text="Waiting for the second valuation" />
      ) : (
        <>
          <LineChart key={series.equity.length} label="Equity over time" x={series.x} lines={series.equity.length > 1 ? EQUITY_WITH_FLOWS : EQUITY} values={series.equity} height={260} />
          <LineChart label="Drawdown over time" x={series.x} lines={DRAWDOWN} values={series.drawdown} height={130} />
          <LineChart label="Exposure over time" x={series.x} lines={EXPOSURE} values={series.exposure} height={150} />
        </>
      )}
    </Panel>
  );
}

/** The start of the range, rounded down to the minute. */
function rangeStart(end: string, seconds: number): string {
  const start = Math.floor((Date.parse(end) - 1000 * seconds) / 60_000) * 60_000;
  return new Date(start).toISOString().slice(0, 19) + "Z";
}

interface ChartSeries {
  readonly x: number[];
  readonly equity: number[][];
  readonly drawdown: number[][];
  readonly exposure: number[][];
}

function chartSeries(points: readonly EquityPoint[], initialEquity: number | null): ChartSeries {
  let peak = initialEquity ?? 0;
  const drawdown = points.map((point) => {
    // A deposit or withdrawal is neither profit nor loss.
    peak = Math.max(peak, point.equity_net_of_flows);
    return peak > 0 ? point.equity_net_of_flows / peak - 1 : 0;
  });
  const equity = [points.map((point) => point.equity)];
  if (points.some((point) => point.net_flows !== 0)) equity.push(points.map((point) => point.equity_net_of_flows));
  return {
    x: points.map((point) => Date.parse(point.timestamp) / 1000),
    equity,
    drawdown: [drawdown],
    exposure: [points.map((point) => point.gross_exposure), points.map((point) => point.net_exposure)],
  };
}
