/** The order form, and the lists of orders, executions, closed lots and risk rejections. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";

import { useResource } from "../net/api.ts";
import { now } from "../net/live.ts";
import { hasPermission } from "../net/session.ts";
import type {
  ClosedLot,
  ClosedLotPage,
  Execution,
  ExecutionPage,
  LastPrice,
  Order,
  OrderPage,
  RiskRejection,
  RiskRejectionPage,
} from "../net/types.ts";
import { ExitButton } from "../parts/exits.tsx";
import { ExplainButton } from "../parts/lineage.tsx";
import { CancelButton, ChangeButton, OPEN_STATUSES, OrderStatus, statusLabel } from "../parts/order-actions.tsx";
import { Panel } from "../parts/panel.tsx";
import { trackOrder } from "../parts/recent-orders.tsx";
import { StrategyLink } from "../parts/strategy-link.tsx";
import { Table, type Column } from "../parts/table.tsx";
import { gainTone, money, NO_VALUE, price, quantity, shortTime, signedMoney, signedPercent } from "../pure/format.ts";
import { conditions, executionLabel, orderTypeLabel, priceTerms } from "../pure/orders.ts";
import { checkLabel, rejectionText } from "../pure/risk.ts";
import { OrderEntry } from "./order-entry.tsx";

const STATUSES = ["PENDING", "ACCEPTED", "PARTIALLY_FILLED", "FILLED", "CANCELLED", "REPLACED", "EXPIRED", "REJECTED"];
const TABS = ["Orders", "Executions", "Closed lots", "Risk rejections"] as const;

export function TradesView(): JSX.Element {
  const [tab, setTab] = useState<(typeof TABS)[number]>("Orders");
  const [symbol, setSymbol] = useState("");
  const [status, setStatus] = useState("");
  const prices = useResource<LastPrice[]>("/api/v1/market/prices", 30_000).value;
  const symbols = (prices.data ?? []).map((entry) => entry.symbol);
  const filters = (
    <>
      <label>
        <span class="visually-hidden">Symbol</span>
        <select value={symbol} onChange={(event) => setSymbol(event.currentTarget.value)}>
          <option value="">All symbols</option>
          {symbols.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      {tab === "Orders" && (
        <label>
          <span class="visually-hidden">Status</span>
          <select value={status} onChange={(event) => setStatus(event.currentTarget.value)}>
            <option value="">All statuses</option>
            {STATUSES.map((name) => (
              <option key={name} value={name}>
                {statusLabel(name)}
              </option>
            ))}
          </select>
        </label>
      )}
    </>
  );
  const actions = (
    <>
      {filters}
      <div class="button-group" role="group" aria-label="List">
        {TABS.map((name) => (
          <button key={name} type="button" aria-pressed={name === tab} onClick={() => setTab(name)}>
            {name}
          </button>
        ))}
      </div>
      {tab === "Orders" && <ExitButton key={symbol} action="CANCEL_ALL" {...(symbol === "" ? {} : { symbol })} label="Cancel all" />}
    </>
  );
  return (
    <div class="trades">
      {hasPermission("TRADE") && <OrderEntry symbols={symbols} />}
      {tab === "Orders" && <PagedList list={ORDERS} key={`${symbol} ${status}`} filters={{ symbol, status }} actions={actions} />}
      {tab === "Executions" && <PagedList list={EXECUTIONS} key={symbol} filters={{ symbol }} actions={actions} />}
      {tab === "Closed lots" && <PagedList list={CLOSED_LOTS} key={symbol} filters={{ symbol }} actions={actions} />}
      {tab === "Risk rejections" && <PagedList list={REJECTIONS} key={symbol} filters={{ symbol }} actions={actions} />}
    </div>
  );
}

function withQuery(path: string, parameters: Readonly<Record<string, string | number>>): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== "");
  return `${path}?${new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString()}`;
}

/** The page cursor of a list, and its Newer and Older buttons. */
function usePages(): { before: number | ""; pageButtons: (next: number | null) => JSX.Element | null } {
  const [cursors, setCursors] = useState<readonly number[]>([]);
  const before = cursors[cursors.length - 1] ?? "";
  return {
    before,
    pageButtons: (next) =>
      next === null && cursors.length === 0 ? null : (
        <p class="pages">
          {cursors.length > 0 && (
            <button type="button" class="small" onClick={() => setCursors(cursors.slice(0, -1))}>
              Newer
            </button>
          )}
          {next !== null && (
            <button type="button" class="small" onClick={() => setCursors([...cursors, next])}>
              Older
            </button>
          )}
        </p>
      ),
  };
}

/** Defines a list: its API path and its columns. */
interface List<Page, Row> {
  readonly title: string;
  readonly path: string;
  /** How often the list reloads. */
  readonly intervalMs: number;
  readonly caption: string;
  readonly empty: string;
  readonly rows: (page: Page) => readonly Row[];
  readonly rowKey: (row: Row) => string;
  readonly columns: readonly Column<Row>[];
}

function PagedList<Page extends { next: number | null }, Row>(props: {
  list: List<Page, Row>;
  filters: Readonly<Record<string, string>>;
  actions: JSX.Element;
}): JSX.Element {
  const { list, filters } = props;
  const { before, pageButtons } = usePages();
  const isFiltered = Object.values(filters).some((value) => value !== "");
  const page = useResource<Page>(withQuery(list.path, { limit: 100, ...filters, before }), list.intervalMs).value;
  return (
    <Panel title={list.title} resource={page} class="list" actions={props.actions}>
      <Table
        caption={list.caption}
        resource={page}
        empty={isFiltered ? "No matching entries" : list.empty}
        rows={page.data === null ? null : list.rows(page.data)}
        rowKey={list.rowKey}
        columns={list.columns}
      />
      {pageButtons(page.data?.next ?? null)}
    </Panel>
  );
}

function sideTone(row: { side: string }): string {
  return row.side === "BUY" ? "buy" : "sell";
}

function OrderType(props: { order: Order }): JSX.Element {
  const { order } = props;
  const special = conditions(order);
  return (
    <>
      {orderTypeLabel(order.order_type)} {order.time_in_force}
      {special.length > 0 && (
        <span class="muted conditions" title={special.join(", ")}>
          {special.join(", ")}
        </span>
      )}
    </>
  );
}

const ORDER_COLUMNS: readonly Column<Order>[] = [
  { title: "Time", cell: (row) => shortTime(row.submitted_at, now.value), class: "muted time", drop: 3 },
  { title: "Symbol", cell: (row) => row.symbol },
  { title: "Side", cell: (row) => row.side, tone: sideTone },
  { title: "Quantity", numeric: true, cell: (row) => quantity(row.quantity) },
  { title: "Status", cell: (row) => <OrderStatus order={row} /> },
  { title: "Type", cell: (row) => <OrderType order={row} />, drop: 4 },
  { title: "Price", numeric: true, cell: (row) => priceTerms(row), class: "price-terms", drop: 2 },
  { title: "Filled", numeric: true, cell: (row) => quantity(row.filled_quantity), drop: 6 },
  { title: "Avg fill", numeric: true, cell: (row) => price(row.avg_fill_price), drop: 5 },
  { title: "Strategy", cell: (row) => (row.strategy == null ? "" : <StrategyLink name={row.strategy} />), drop: 7 },
  { title: "Fees", numeric: true, cell: (row) => money(row.fees), drop: 8 },
  { title: "Order ID", cell: (row) => <code title={row.order_id}>{row.order_id}</code>, class: "id", drop: 9 },
  {
    title: "Actions",
    class: "actions",
    drop: 1,
    cell: (row) => (
      <>
        <ChangeButton order={row} onReplace={trackOrder} />
        {OPEN_STATUSES.has(row.status) && hasPermission("CANCEL") && <CancelButton id={row.order_id} />}
        <ExplainButton id={row.order_id} />
      </>
    ),
  },
];

const ORDERS: List<OrderPage, Order> = {
  title: "Orders",
  path: "/api/v1/orders",
  intervalMs: 2000,
  caption: "Orders, newest first",
  empty: "No orders yet",
  rows: (page) => page.orders,
  rowKey: (row) => row.order_id,
  columns: ORDER_COLUMNS,
};

const EXECUTION_COLUMNS: readonly Column<Execution>[] = [
  { title: "Time", cell: (row) => shortTime(row.filled_at ?? row.timestamp, now.value), class: "muted time", drop: 1 },
  { title: "Report", cell: (row) => executionLabel(row.type) },
  { title: "Symbol", cell: (row) => row.symbol },
  { title: "Side", cell: (row) => row.side, tone: sideTone },
  { title: "Quantity", numeric: true, cell: (row) => quantity(row.quantity) },
  { title: "Price", numeric: true, cell: (row) => (row.type === "TRADE" ? price(row.price) : NO_VALUE), drop: 2 },
  { title: "Fee", numeric: true, cell: (row) => money(row.fee), drop: 5 },
  { title: "Remaining", numeric: true, cell: (row) => quantity(row.leaves_quantity), drop: 6 },
  { title: "Execution ID", cell: (row) => <code>{row.execution_id}</code>, class: "id", drop: 9 },
  { title: "Order ID", cell: (row) => <code title={row.order_id}>{row.order_id}</code>, class: "id", drop: 8 },
  { title: "Message", cell: (row) => row.text, class: "text", drop: 3 },
  { title: "Actions", cell: (row) => <ExplainButton id={row.execution_id} />, class: "actions", drop: 4 },
];

const EXECUTIONS: List<ExecutionPage, Execution> = {
  title: "Executions",
  path: "/api/v1/executions",
  intervalMs: 2000,
  caption: "Execution reports, newest first",
  empty: "No executions yet",
  rows: (page) => page.executions,
  rowKey: (row) => row.execution_id,
  columns: EXECUTION_COLUMNS,
};

const CLOSED_LOT_COLUMNS: readonly Column<ClosedLot>[] = [
  { title: "Closed", cell: (row) => shortTime(row.closed_at, now.value), class: "muted time", drop: 2 },
  { title: "Symbol", cell: (row) => row.symbol },
  { title: "Direction", cell: (row) => row.direction, drop: 4 },
  { title: "Strategy", cell: (row) => (row.strategy === null ? "" : <StrategyLink name={row.strategy} />), drop: 5 },
  { title: "Quantity", numeric: true, cell: (row) => quantity(row.quantity) },
  { title: "Entry", numeric: true, cell: (row) => price(row.entry_price), drop: 5 },
  { title: "Exit", numeric: true, cell: (row) => price(row.exit_price), drop: 6 },
  { title: "P&L", numeric: true, cell: (row) => signedMoney(row.pnl), tone: (row) => gainTone(row.pnl) },
  { title: "Fees", numeric: true, cell: (row) => money(row.fees), drop: 8 },
  { title: "MAE", numeric: true, cell: (row) => signedPercent(row.mae), drop: 7 },
  { title: "MFE", numeric: true, cell: (row) => signedPercent(row.mfe), drop: 7 },
  { title: "Opened", cell: (row) => shortTime(row.opened_at, now.value), class: "muted time", drop: 9 },
  { title: "Actions", cell: (row) => <ExplainButton id={row.close_execution_id} />, class: "actions", drop: 3 },
];

const CLOSED_LOTS: List<ClosedLotPage, ClosedLot> = {
  title: "Closed lots",
  path: "/api/v1/portfolio/closed-lots",
  intervalMs: 30_000, // and after each fill, like all of the portfolio
  caption: "Closed lots, newest first",
  empty: "No closed lots yet",
  rows: (page) => page.lots,
  rowKey: (row) => row.match_id,
  columns: CLOSED_LOT_COLUMNS,
};

const REJECTION_COLUMNS: readonly Column<RiskRejection>[] = [
  { title: "Time", cell: (row) => shortTime(row.timestamp, now.value), class: "muted time", drop: 1 },
  { title: "Request ID", cell: (row) => <code title={row.cause_id}>{row.cause_id}</code>, class: "id", drop: 9 },
  { title: "Symbol", cell: (row) => row.symbol },
  { title: "Side", cell: (row) => row.side, tone: sideTone },
  { title: "Quantity", numeric: true, cell: (row) => quantity(row.quantity), drop: 3 },
  { title: "Check", cell: (row) => checkLabel(row.check), drop: 6 },
  { title: "Value", numeric: true, cell: (row) => row.found, drop: 5 },
  { title: "Limit", numeric: true, cell: (row) => row.limit, drop: 4 },
  { title: "Reason", cell: (row) => rejectionText(row.message, row.symbol), class: "text" },
  { title: "Actions", cell: (row) => <ExplainButton id={`refusal-${row.seq}`} />, class: "actions", drop: 2 },
];

const REJECTIONS: List<RiskRejectionPage, RiskRejection> = {
  title: "Risk rejections",
  path: "/api/v1/risk/refusals",
  intervalMs: 2000,
  caption: "Orders rejected by risk, newest first",
  empty: "No rejected orders yet",
  rows: (page) => page.refusals,
  rowKey: (row) => String(row.seq),
  columns: REJECTION_COLUMNS,
};
