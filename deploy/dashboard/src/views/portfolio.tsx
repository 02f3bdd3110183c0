/** Value, positions and prices of the portfolio, with a chart and the signals of one symbol. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";

import { useResource } from "../net/api.ts";
import { bars, now, valuation } from "../net/live.ts";
import type { EquityPoint, LastPrice, PortfolioState, PositionDetail } from "../net/types.ts";
import { COLOURS } from "../parts/colours.ts";
import { ExitButton } from "../parts/exits.tsx";
import { KeyFigures, type KeyFigure } from "../parts/key-figures.tsx";
import { LineChart } from "../parts/line-chart.tsx";
import { EmptyState, Panel } from "../parts/panel.tsx";
import { PriceChart } from "../parts/price-chart.tsx";
import { SymbolSignals } from "../parts/symbol-signals.tsx";
import { Table, type Column } from "../parts/table.tsx";
import { gainTone, money, percent, price, quantity, shortTime, signedMoney, signedPercent, withZone } from "../pure/format.ts";

/** The symbol of the chart and the signals. It stays selected when the view changes. */
const selectedSymbol = signal<string | null>(null);

interface PositionRow extends PositionDetail {
  /** Part of the portfolio's value, as a fraction. */
  share: number | null;
}

export function PortfolioView(): JSX.Element {
  const state = useResource<PortfolioState>("/api/v1/portfolio/state", 5000).value;
  const positions = useResource<PositionDetail[]>("/api/v1/portfolio/positions", 3000).value;
  const prices = useResource<LastPrice[]>("/api/v1/market/prices", 60_000).value;
  const symbols = (prices.data ?? []).map((entry) => entry.symbol);
  const symbol = selectedSymbol.value ?? positions.data?.[0]?.symbol ?? symbols[0] ?? null;
  const current = latestState(state.data);
  return (
    <div class="portfolio">
      <KeyFigures label="Portfolio" figures={portfolioFigures(current)} />
      <Panel title="Watchlist" resource={prices} class="watchlist">
        <Table
          caption="Last prices; select a symbol for the chart"
          resource={prices}
          empty="No prices yet"
          rows={prices.data}
          rowKey={(row) => row.symbol}
          selected={symbol}
          columns={[
            { title: "Symbol", cell: (row) => <SymbolButton symbol={row.symbol} /> },
            { title: "Last price", numeric: true, cell: (row) => price(bars.value.get(row.symbol)?.price ?? row.price) },
            {
              title: "Change",
              numeric: true,
              cell: (row) => signedPercent(dayChange(row)),
              tone: (row) => gainTone((dayChange(row) ?? 0) * 100),
            },
            { title: "Time", numeric: true, cell: (row) => shortTime(bars.value.get(row.symbol)?.timestamp ?? row.timestamp, now.value), class: "muted time", drop: 1 },
          ]}
        />
      </Panel>
      {symbol === null ? (
        <Panel title="Chart" class="chart">
          <EmptyState resource={prices} text="No prices yet" />
        </Panel>
      ) : (
        <PriceChart key={symbol} symbol={symbol} symbols={symbols} onSelect={(name) => (selectedSymbol.value = name)} />
      )}
      {symbol !== null && <SymbolSignals key={symbol} symbol={symbol} />}
      <Panel
        title="Positions"
        resource={positions}
        class="positions"
        actions={<ExitButton action="FLATTEN_ALL" label="Flatten all" disabled={(positions.data ?? []).length === 0} />}
      >
        <Table
          caption="Open positions"
          resource={positions}
          empty="No open positions"
          rows={positions.data?.map((position) => positionRow(position, current?.total_value ?? null))}
          rowKey={(row) => row.symbol}
          selected={symbol}
          columns={POSITION_COLUMNS}
        />
      </Panel>
      <EquityHistory />
    </div>
  );
}

function SymbolButton(props: { symbol: string }): JSX.Element {
  return (
    <button type="button" class="link symbol" onClick={() => (selectedSymbol.value = props.symbol)}>
      {props.symbol}
    </button>
  );
}

const POSITION_COLUMNS: readonly Column<PositionRow>[] = [
  { title: "Symbol", cell: (row) => <SymbolButton symbol={row.symbol} /> },
  { title: "Quantity", numeric: true, cell: (row) => quantity(row.quantity) },
  { title: "Avg price", numeric: true, cell: (row) => price(row.avg_price), drop: 4 },
  { title: "Last price", numeric: true, cell: (row) => price(row.current_price), drop: 5 },
  { title: "Market value", numeric: true, cell: (row) => money(row.market_value), drop: 2 },
  { title: "% of value", numeric: true, cell: (row) => percent(row.share, 1), drop: 6 },
  { title: "Unrealized P&L", numeric: true, cell: (row) => signedMoney(row.unrealized_pnl), tone: (row) => gainTone(row.unrealized_pnl), drop: 1 },
  { title: "Realized P&L", numeric: true, cell: (row) => signedMoney(row.realized_pnl), tone: (row) => gainTone(row.realized_pnl), drop: 3 },
  { title: "Fees", numeric: true, cell: (row) => money(row.fees), drop: 8 },
  { title: "Updated", numeric: true, cell: (row) => shortTime(row.last_updated, now.value), class: "muted time", drop: 9 },
  { title: "Actions", cell: (row) => <ExitButton action="CLOSE" symbol={row.symbol} label="Close" />, class: "actions", drop: 7 },
];

/** The newer of the API's state and the stream's valuation. */
function latestState(state: PortfolioState | null): Omit<PortfolioState, "positions"> | null {
  const update = valuation.value;
  if (update === null) return state;
  if (state?.last_updated != null && state.last_updated > update.timestamp) return state;
  return { ...update, last_updated: update.timestamp };
}

/** Values the position at the last streamed price, which is newer than the API's response. */
function positionRow(position: PositionDetail, total: number | null): PositionRow {
  const last = bars.value.get(position.symbol)?.price ?? position.current_price;
  const value = last === null ? position.market_value : position.quantity * last;
  return {
    ...position,
    current_price: last,
    market_value: value,
    unrealized_pnl: value - position.cost_basis,
    share: total ? value / total : null,
  };
}

/** The price change since the open of the trading day, as a fraction. */
function dayChange(row: LastPrice): number | null {
  const last = bars.value.get(row.symbol)?.price ?? row.price;
  return row.day_open === 0 ? null : last / row.day_open - 1;
}

function portfolioFigures(state: Omit<PortfolioState, "positions"> | null): readonly KeyFigure[] {
  const pnl = state === null ? null : state.realized_pnl + state.unrealized_pnl - state.fees;
  return [
    { name: "Total value", value: money(state?.total_value), note: `as of ${withZone(shortTime(state?.last_updated, now.value))}` },
    { name: "Total P&L", value: signedMoney(pnl), tone: gainTone(pnl), note: "since start, after fees" },
    { name: "Unrealized P&L", value: signedMoney(state?.unrealized_pnl), tone: gainTone(state?.unrealized_pnl), note: "open positions" },
    { name: "Realized P&L", value: signedMoney(state?.realized_pnl), tone: gainTone(state?.realized_pnl), note: `before fees of ${money(state?.fees)}` },
    { name: "Cash", value: money(state?.cash_balance) },
    {
      name: "Gross exposure",
      value: money(state?.gross_exposure),
      note: `${percent(state === null ? null : state.gross_exposure / state.total_value, 1)} of value, net ${money(state?.net_exposure)}`,
    },
  ];
}

const VALUE_LINE = [{ label: "Portfolio value", colour: COLOURS.accent, format: (value: number | null) => money(value, 0) }];

/** A small chart of the portfolio's value. */
function EquityHistory(): JSX.Element {
  const equity = useResource<EquityPoint[]>("/api/v1/portfolio/equity?points=240", 10_000).value;
  const points = equity.data ?? [];
  const x = useMemo(() => points.map((point) => Date.parse(point.timestamp) / 1000), [equity.data]);
  const values = useMemo(() => [points.map((point) => point.equity)], [equity.data]);
  return (
    <Panel title="Portfolio value" resource={equity} class="equity-history">
      {points.length < 2 ? (
        <EmptyState resource={equity} text="Waiting for the second valuation" />
      ) : (
        <LineChart label="Portfolio value over time" x={x} lines={VALUE_LINE} values={values} height={190} />
      )}
    </Panel>
  );
}
