/** All strategies with their state and P&L, and the equity, positions, orders and actions of the selected one. */
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";

import { call, refresh, useResource } from "../net/api.ts";
import { now } from "../net/live.ts";
import { hasPermission } from "../net/session.ts";
import type {
  InternalCross,
  InternalCrossPage,
  Order,
  OrderPage,
  StrategyAction,
  StrategyActionPage,
  StrategyDetail,
  StrategyEquityPoint,
  StrategyOverview,
  StrategyPosition,
  SuspendedStrategy,
} from "../net/types.ts";
import { COLOURS } from "../parts/colours.ts";
import { ConfirmDialog } from "../parts/dialog.tsx";
import { LineChart, type Line } from "../parts/line-chart.tsx";
import { ExplainButton } from "../parts/lineage.tsx";
import { CancelButton, OPEN_STATUSES, OrderStatus } from "../parts/order-actions.tsx";
import { EmptyState, Panel } from "../parts/panel.tsx";
import { selectedStrategy } from "../parts/strategy-link.tsx";
import { Table, type Column } from "../parts/table.tsx";
import { showToast } from "../parts/toasts.tsx";
import { count, dateTime, gainTone, money, price, quantity, shortTime, signedMoney, withZone } from "../pure/format.ts";
import { orderTypeLabel, priceTerms } from "../pure/orders.ts";
import { actionLabel, actionText, explainedId, sourcePosition, stateLabel, universeText } from "../pure/trading-strategies.ts";

const EQUITY: readonly Line[] = [
  { label: "Equity", colour: COLOURS.accent, format: (value) => money(value, 0) },
  { label: "Capital", colour: COLOURS.muted, format: (value) => money(value, 0) },
];

export function StrategiesView(): JSX.Element {
  const [resumed, setResumed] = useState<string | null>(null);
  const [flattened, setFlattened] = useState<string | null>(null);
  const strategies = useResource<StrategyOverview[]>("/api/v1/strategies", 3000).value;
  const all = strategies.data ?? [];
  const selected = all.find((one) => one.strategy === selectedStrategy.value) ?? all.find((one) => one.form === "trading") ?? all[0];
  return (
    <div class="strategies-view">
      <Panel title="Strategies" resource={strategies}>
        <Table
          caption="Table of strategies"
          resource={strategies}
          empty="No strategy has run yet. Set signals.strategies."
          rows={strategies.data}
          rowKey={(row) => row.strategy}
          selected={selected?.strategy ?? null}
          columns={[...STRATEGY_COLUMNS, { title: "Actions", class: "actions", drop: 1, cell: (row) => <StrategyButtons strategy={row} onResume={setResumed} onFlatten={setFlattened} /> }]}
        />
      </Panel>
      {selected !== undefined && (
        <>
          {selected.suspension !== null && <Suspension strategy={selected.strategy} suspension={selected.suspension} />}
          {selected.form === "trading" ? <TradingStrategy key={selected.strategy} name={selected.strategy} /> : <ViewStrategy name={selected.strategy} />}
        </>
      )}
      {flattened !== null && <FlattenDialog name={flattened} onClose={() => setFlattened(null)} />}
      {resumed !== null && <ResumeDialog name={resumed} onClose={() => setResumed(null)} />}
    </div>
  );
}

const STRATEGY_COLUMNS: readonly Column<StrategyOverview>[] = [
  {
    title: "Strategy",
    cell: (row) => (
      <button type="button" class="plain link" aria-label={`Show ${row.strategy}`} onClick={() => (selectedStrategy.value = row.strategy)}>
        {row.strategy}
      </button>
    ),
  },
  { title: "State", cell: (row) => <StateBadge state={row.state} /> },
  { title: "Form", cell: (row) => (row.form === "trading" ? "Trading" : "View"), drop: 8 },
  { title: "Symbols", cell: (row) => <span title={row.symbols.join(", ")}>{universeText(row.symbols)}</span>, drop: 9 },
  { title: "Capital", numeric: true, cell: (row) => money(row.capital, 0), drop: 7 },
  { title: "Equity", numeric: true, cell: (row) => money(row.equity), drop: 2 },
  { title: "Cash", numeric: true, cell: (row) => money(row.cash), drop: 6 },
  { title: "Realized P&L", numeric: true, cell: (row) => signedMoney(row.realized_pnl), tone: (row) => gainTone(row.realized_pnl), drop: 4 },
  { title: "Unrealized P&L", numeric: true, cell: (row) => signedMoney(row.unrealized_pnl), tone: (row) => gainTone(row.unrealized_pnl), drop: 3 },
  { title: "Fees", numeric: true, cell: (row) => money(row.fees), drop: 5 },
  { title: "Total P&L", numeric: true, cell: (row) => signedMoney(row.total_pnl), tone: (row) => gainTone(row.total_pnl), class: "strong" },
  { title: "Positions", numeric: true, cell: (row) => count(row.open_positions), drop: 10 },
  {
    title: "Last action",
    cell: (row) => (row.last_action === null ? "" : `${actionLabel(row.last_action.kind)} ${row.last_action.symbol}`),
    drop: 11,
  },
];

function StateBadge(props: { state: StrategyOverview["state"] }): JSX.Element {
  const [text, tone] = stateLabel(props.state);
  return <b class={`badge ${tone}`}>{text}</b>;
}

/** Hidden for strategies that run, and for users who may not release what risk has stopped. */
function StrategyButtons(props: {
  strategy: StrategyOverview;
  onResume: (name: string) => void;
  onFlatten: (name: string) => void;
}): JSX.Element | null {
  const { strategy, suspension, state, form, open_positions } = props.strategy;
  if (!hasPermission("BREAKER")) return null;
  const isStopped = form === "trading" && (state === "REMOVED" || state === "SUSPENDED");
  return (
    <>
      {suspension !== null && state !== "REMOVED" && (
        <button type="button" class="small" aria-label={`Resume ${strategy}`} onClick={() => props.onResume(strategy)}>
          Resume…
        </button>
      )}
      {isStopped && (open_positions ?? 0) > 0 && (
        <button type="button" class="small" aria-label={`Flatten ${strategy}`} onClick={() => props.onFlatten(strategy)}>
          Flatten…
        </button>
      )}
    </>
  );
}

function FlattenDialog(props: { name: string; onClose: () => void }): JSX.Element {
  const flatten = async (reason: string): Promise<void> => {
    await call("POST", `/api/v1/strategies/${encodeURIComponent(props.name)}/flatten`, { reason });
    showToast(`Flatten request sent for ${props.name}.`);
    refresh("/api/v1/strateg");
  };
  return (
    <ConfirmDialog
      title={`Flatten ${props.name}`}
      text={`The orders of ${props.name} are cancelled and its positions are closed from the next time slice on. Positions of other strategies are unchanged.`}
      action="Flatten strategy"
      onConfirm={flatten}
      onClose={props.onClose}
    />
  );
}

function ResumeDialog(props: { name: string; onClose: () => void }): JSX.Element {
  const resume = async (reason: string): Promise<void> => {
    await call("POST", `/api/v1/strategies/${encodeURIComponent(props.name)}/resume`, { reason });
    showToast(`Resume request sent for ${props.name}.`);
    refresh("/api/v1/strateg");
  };
  return (
    <ConfirmDialog
      title={`Resume ${props.name}`}
      text={`${props.name} runs again from the next time slice on. It starts with an empty state; its positions and orders are unchanged.`}
      action="Resume strategy"
      onConfirm={resume}
      onClose={props.onClose}
    />
  );
}

function Suspension(props: { strategy: string; suspension: SuspendedStrategy }): JSX.Element {
  const { strategy, suspension } = props;
  return (
    <p class="warning" role="status">
      {strategy} has been suspended since {withZone(dateTime(suspension.since))}: {suspension.error}: {suspension.message} <code>{sourcePosition(suspension)}</code>
    </p>
  );
}

function ViewStrategy(props: { name: string }): JSX.Element {
  return (
    <p class="note footnote">
      {props.name} is a view strategy: it states views, and the portfolio trades them. It has no sub-account; its P&L is that of the last attribution.
    </p>
  );
}

function TradingStrategy(props: { name: string }): JSX.Element {
  const name = encodeURIComponent(props.name);
  const equity = useResource<StrategyEquityPoint[]>(`/api/v1/strategies/${name}/equity?points=500`, 10_000).value;
  const detail = useResource<StrategyDetail>(`/api/v1/strategies/${name}`, 3000).value;
  const orders = useResource<OrderPage>(`/api/v1/orders?limit=100&strategy=${name}`, 3000).value;
  const actions = useResource<StrategyActionPage>(`/api/v1/strategy-actions?limit=100&strategy=${name}`, 3000).value;
  const crosses = useResource<InternalCrossPage>(`/api/v1/internal-crosses?limit=100&strategy=${name}`, 10_000).value;
  const points = equity.data ?? [];
  const x = useMemo(() => points.map((point) => Date.parse(point.timestamp) / 1000), [equity.data]);
  const values = useMemo(() => [points.map((point) => point.equity), points.map((point) => point.capital)], [equity.data]);
  return (
    <>
      <Panel title={`Equity of ${props.name}`} resource={equity}>
        {x.length < 2 ? (
          <EmptyState resource={equity} text="Waiting for the second valuation" />
        ) : (
          <LineChart label={`Equity of ${props.name} over time`} x={x} lines={EQUITY} values={values} height={220} />
        )}
      </Panel>
      <Panel title="Positions of the strategy" resource={detail}>
        <Table
          caption="Symbols that the strategy holds or has traded"
          resource={detail}
          empty="No trades yet"
          rows={detail.data?.positions}
          rowKey={(row) => row.symbol}
          columns={POSITION_COLUMNS}
        />
      </Panel>
      <Panel title="Orders of the strategy" resource={orders} class="list">
        <Table
          caption="Orders of the strategy, newest first"
          resource={orders}
          empty="No orders yet"
          rows={orders.data?.orders}
          rowKey={(row) => row.order_id}
          columns={ORDER_COLUMNS}
        />
      </Panel>
      <Panel title="Internal crosses" resource={crosses} class="list">
        <Table
          caption="Trades with other strategies of the account, newest first"
          resource={crosses}
          empty="No internal crosses yet"
          rows={crosses.data?.crosses}
          rowKey={(row) => row.cross_id}
          columns={crossColumns(props.name)}
        />
      </Panel>
      <Panel title="Actions" resource={actions} class="list">
        <Table
          caption="Actions of the strategy, newest first"
          resource={actions}
          empty="No actions yet"
          rows={actions.data?.actions}
          rowKey={(row) => row.action_id}
          columns={ACTION_COLUMNS}
        />
      </Panel>
    </>
  );
}

const POSITION_COLUMNS: readonly Column<StrategyPosition>[] = [
  { title: "Symbol", cell: (row) => row.symbol },
  { title: "Quantity", numeric: true, cell: (row) => quantity(row.quantity) },
  { title: "Avg price", numeric: true, cell: (row) => (row.quantity === 0 ? "" : price(row.avg_price)), drop: 3 },
  { title: "Market value", numeric: true, cell: (row) => money(row.market_value), drop: 2 },
  { title: "Unrealized P&L", numeric: true, cell: (row) => signedMoney(row.unrealized_pnl), tone: (row) => gainTone(row.unrealized_pnl) },
  { title: "Realized P&L", numeric: true, cell: (row) => signedMoney(row.realized_pnl), tone: (row) => gainTone(row.realized_pnl), drop: 1 },
  { title: "Fees", numeric: true, cell: (row) => money(row.fees), drop: 4 },
];

const ORDER_COLUMNS: readonly Column<Order>[] = [
  { title: "Time", cell: (row) => shortTime(row.submitted_at, now.value), class: "muted time", drop: 3 },
  { title: "Symbol", cell: (row) => row.symbol },
  { title: "Side", cell: (row) => row.side, tone: (row) => (row.side === "BUY" ? "buy" : "sell") },
  { title: "Quantity", numeric: true, cell: (row) => quantity(row.quantity) },
  { title: "Status", cell: (row) => <OrderStatus order={row} /> },
  { title: "Type", cell: (row) => `${orderTypeLabel(row.order_type)} ${row.time_in_force}`, drop: 4 },
  { title: "Price", numeric: true, cell: (row) => priceTerms(row), class: "price-terms", drop: 2 },
  { title: "Filled", numeric: true, cell: (row) => quantity(row.filled_quantity), drop: 5 },
  { title: "Order ID", cell: (row) => <code title={row.order_id}>{row.order_id}</code>, class: "id", drop: 6 },
  {
    title: "Actions",
    class: "actions",
    drop: 1,
    cell: (row) => (
      <>
        {OPEN_STATUSES.has(row.status) && hasPermission("CANCEL") && <CancelButton id={row.order_id} />}
        <ExplainButton id={row.order_id} />
      </>
    ),
  },
];

/** The columns of the crosses of one strategy: its own side, and the strategy on the other side. */
function crossColumns(name: string): readonly Column<InternalCross>[] {
  const side = (row: InternalCross): "BUY" | "SELL" => (row.buyer === name ? "BUY" : "SELL");
  return [
    { title: "Time", cell: (row) => shortTime(row.timestamp, now.value), class: "muted time", drop: 2 },
    { title: "Symbol", cell: (row) => row.symbol },
    { title: "Side", cell: side, tone: (row) => (side(row) === "BUY" ? "buy" : "sell") },
    { title: "Quantity", numeric: true, cell: (row) => quantity(row.quantity) },
    { title: "Price", numeric: true, cell: (row) => price(row.price) },
    { title: "Counterparty", cell: (row) => (row.buyer === name ? row.seller : row.buyer) },
    { title: "Explain", cell: (row) => <ExplainButton id={row.cross_id} />, class: "actions", drop: 1 },
  ];
}

const ACTION_COLUMNS: readonly Column<StrategyAction>[] = [
  { title: "Time", cell: (row) => shortTime(row.timestamp, now.value), class: "muted time", drop: 2 },
  { title: "Action", cell: (row) => actionLabel(row.kind), tone: (row) => (row.kind === "SUSPENDED" ? "down" : "") },
  { title: "Symbol", cell: (row) => row.symbol },
  { title: "Terms", cell: (row) => actionText(row), class: "text", drop: 3 },
  { title: "Tag", cell: (row) => row.reason, drop: 4 },
  { title: "Explain", cell: (row) => <ExplainButton id={explainedId(row)} />, class: "actions", drop: 1 },
];
