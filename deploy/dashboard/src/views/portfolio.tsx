/** What is held and what it is worth, now. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";

import { useResource } from "../net/api.ts";
import { bars, now, valuation } from "../net/live.ts";
import type { EquityPoint, PortfolioState, PositionDetail, Price } from "../net/types.ts";
import { Candles } from "../parts/candles.tsx";
import { COLOURS } from "../parts/colours.ts";
import { Curve } from "../parts/curve.tsx";
import { Figures } from "../parts/figures.tsx";
import { Nothing, Panel } from "../parts/panel.tsx";
import { Table, type Column } from "../parts/table.tsx";
import { Views } from "../parts/views.tsx";
import { brief, clock, money, percent, price, quantity, signed, signedPercent, tone } from "../pure/format.ts";

/** The symbol that is looked at; stays while the view changes. */
const chosen = signal<string | null>(null);

interface Valued extends PositionDetail {
  share: number | null;
}

export function PortfolioView(): JSX.Element {
  const state = useResource<PortfolioState>("/api/v1/portfolio/state", 5000).value;
  const positions = useResource<PositionDetail[]>("/api/v1/portfolio/positions", 3000).value;
  const prices = useResource<Price[]>("/api/v1/market/prices", 60_000).value;
  const symbols = (prices.data ?? []).map((one) => one.symbol);
  const symbol = chosen.value ?? positions.data?.[0]?.symbol ?? symbols[0] ?? null;
  const total = latest(state.data);
  return (
    <div class="portfolio">
      <Figures label="Portfolio" figures={figures(total)} />
      <Panel title="Market" known={prices} class="watch">
        <Table
          caption="Last prices by symbol; choose one for the chart"
          known={prices}
          empty="No bar has come yet."
          rows={prices.data}
          rowKey={(one) => one.symbol}
          chosen={symbol}
          columns={[
            { title: "Symbol", cell: (one) => <Choose symbol={one.symbol} /> },
            { title: "Last", number: true, cell: (one) => price(bars.value.get(one.symbol)?.price ?? one.price) },
            {
              title: "Day",
              number: true,
              cell: (one) => signedPercent(move(one)),
              tone: (one) => tone((move(one) ?? 0) * 100),
            },
            { title: "At", number: true, cell: (one) => clock(bars.value.get(one.symbol)?.timestamp ?? one.timestamp), class: "muted" },
          ]}
        />
      </Panel>
      {symbol === null ? (
        <Panel title="Chart" class="chart">
          <Nothing known={prices} empty="No bar has come yet." />
        </Panel>
      ) : (
        <Candles key={symbol} symbol={symbol} symbols={symbols} choose={(one) => (chosen.value = one)} />
      )}
      {symbol !== null && <Views key={symbol} symbol={symbol} />}
      <Panel title="Positions" known={positions} class="positions">
        <Table
          caption="Open positions"
          known={positions}
          empty="Nothing is held."
          rows={positions.data?.map((one) => revalued(one, total?.total_value ?? null))}
          rowKey={(one) => one.symbol}
          chosen={symbol}
          columns={COLUMNS}
        />
      </Panel>
      <Today />
    </div>
  );
}

function Choose(props: { symbol: string }): JSX.Element {
  return (
    <button type="button" class="link symbol" onClick={() => (chosen.value = props.symbol)}>
      {props.symbol}
    </button>
  );
}

const COLUMNS: readonly Column<Valued>[] = [
  { title: "Symbol", cell: (one) => <Choose symbol={one.symbol} /> },
  { title: "Quantity", number: true, cell: (one) => quantity(one.quantity) },
  { title: "Avg price", number: true, cell: (one) => price(one.avg_price) },
  { title: "Last", number: true, cell: (one) => price(one.current_price) },
  { title: "Value", number: true, cell: (one) => money(one.market_value) },
  { title: "Share", number: true, cell: (one) => percent(one.share, 1) },
  { title: "Unrealized", number: true, cell: (one) => signed(one.unrealized_pnl), tone: (one) => tone(one.unrealized_pnl) },
  { title: "Realized", number: true, cell: (one) => signed(one.realized_pnl), tone: (one) => tone(one.realized_pnl) },
  { title: "Fees", number: true, cell: (one) => money(one.fees) },
  { title: "Updated", number: true, cell: (one) => brief(one.last_updated, now.value), class: "muted" },
];

/** The state that the API told last, or the valuation that the stream brought since. */
function latest(state: PortfolioState | null): Omit<PortfolioState, "positions"> | null {
  const update = valuation.value;
  if (update === null) return state;
  if (state?.last_updated != null && state.last_updated > update.timestamp) return state;
  return { ...update, last_updated: update.timestamp };
}

/** At the last price of the stream, which is ahead of the last answer. */
function revalued(position: PositionDetail, total: number | null): Valued {
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

/** Since the trading day's open. */
function move(one: Price): number | null {
  const last = bars.value.get(one.symbol)?.price ?? one.price;
  return one.day_open === 0 ? null : last / one.day_open - 1;
}

function figures(state: Omit<PortfolioState, "positions"> | null): Parameters<typeof Figures>[0]["figures"] {
  const gain = state === null ? null : state.realized_pnl + state.unrealized_pnl - state.fees;
  return [
    { name: "Total value", value: money(state?.total_value), note: `as of ${clock(state?.last_updated)} UTC` },
    { name: "P&L", value: signed(gain), tone: tone(gain), note: "since the start, after fees" },
    { name: "Unrealized", value: signed(state?.unrealized_pnl), tone: tone(state?.unrealized_pnl) },
    { name: "Realized", value: signed(state?.realized_pnl), tone: tone(state?.realized_pnl), note: `fees ${money(state?.fees)}` },
    { name: "Cash", value: money(state?.cash_balance) },
    {
      name: "Exposure",
      value: money(state?.gross_exposure),
      note: `net ${money(state?.net_exposure)}, ${percent(state === null ? null : state.gross_exposure / state.total_value, 1)} of value`,
    },
  ];
}

const VALUE = [{ label: "Value", colour: COLOURS.accent, show: (value: number | null) => money(value, 0) }];

/** The last hours of the whole portfolio, small. */
function Today(): JSX.Element {
  const known = useResource<EquityPoint[]>("/api/v1/portfolio/equity?points=240", 10_000).value;
  const points = known.data ?? [];
  const x = useMemo(() => points.map((point) => Date.parse(point.timestamp) / 1000), [known.data]);
  const values = useMemo(() => [points.map((point) => point.equity)], [known.data]);
  return (
    <Panel title="Value" known={known} class="today">
      {points.length < 2 ? (
        <Nothing known={known} empty="No second valuation yet." />
      ) : (
        <Curve label="Portfolio value over time" x={x} lines={VALUE} values={values} height={190} />
      )}
    </Panel>
  );
}
