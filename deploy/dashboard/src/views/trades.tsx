/** Orders in, orders and executions listed, each with its why. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";

import { useResource } from "../net/api.ts";
import { now } from "../net/live.ts";
import { may } from "../net/session.ts";
import type { Execution, ExecutionPage, Order, OrderPage, Price, Refusal, RefusalPage } from "../net/types.ts";
import { AmendButton, CancelButton, OPEN, Status } from "../parts/orders.tsx";
import { Panel } from "../parts/panel.tsx";
import { followed } from "../parts/sent.tsx";
import { Table, type Column } from "../parts/table.tsx";
import { WhyButton } from "../parts/why.tsx";
import { brief, price, quantity, money } from "../pure/format.ts";
import { kind, prices, ties } from "../pure/orders.ts";
import { EntryForm } from "./entry.tsx";

const STATUSES = ["PENDING", "ACCEPTED", "PARTIALLY_FILLED", "FILLED", "CANCELLED", "REPLACED", "EXPIRED", "REJECTED"];
const TABS = ["Orders", "Executions", "Refused"] as const;

export function TradesView(): JSX.Element {
  const [tab, setTab] = useState<(typeof TABS)[number]>("Orders");
  const [symbol, setSymbol] = useState("");
  const [status, setStatus] = useState("");
  const prices = useResource<Price[]>("/api/v1/market/prices", 30_000).value;
  const symbols = (prices.data ?? []).map((one) => one.symbol);
  const filters = (
    <>
      <label>
        <span class="unseen">Symbol</span>
        <select value={symbol} onChange={(event) => setSymbol(event.currentTarget.value)}>
          <option value="">All symbols</option>
          {symbols.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      </label>
      {tab === "Orders" && (
        <label>
          <span class="unseen">Status</span>
          <select value={status} onChange={(event) => setStatus(event.currentTarget.value)}>
            <option value="">Every status</option>
            {STATUSES.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
      )}
    </>
  );
  const tabs = (
    <>
      {filters}
      <div class="choices" role="group" aria-label="List">
        {TABS.map((one) => (
          <button key={one} type="button" aria-pressed={one === tab} onClick={() => setTab(one)}>
            {one}
          </button>
        ))}
      </div>
    </>
  );
  return (
    <div class="trades">
      {may("TRADE") && <EntryForm symbols={symbols} />}
      {tab === "Orders" && <Listed list={ORDERS} key={`${symbol} ${status}`} given={{ symbol, status }} aside={tabs} />}
      {tab === "Executions" && <Listed list={EXECUTIONS} key={symbol} given={{ symbol }} aside={tabs} />}
      {tab === "Refused" && <Listed list={REFUSALS} key={symbol} given={{ symbol }} aside={tabs} />}
    </div>
  );
}

function query(path: string, given: Readonly<Record<string, string | number>>): string {
  const wanted = Object.entries(given).filter(([, value]) => value !== "");
  return `${path}?${new URLSearchParams(wanted.map(([name, value]) => [name, String(value)])).toString()}`;
}

/** Pages of a list that goes back in time. */
function usePages(): { before: number | ""; older: (next: number | null) => JSX.Element | null } {
  const [befores, setBefores] = useState<readonly number[]>([]);
  const before = befores[befores.length - 1] ?? "";
  return {
    before,
    older: (next) =>
      next === null && befores.length === 0 ? null : (
        <p class="pages">
          {befores.length > 0 && (
            <button type="button" class="small" onClick={() => setBefores(befores.slice(0, -1))}>
              Newer
            </button>
          )}
          {next !== null && (
            <button type="button" class="small" onClick={() => setBefores([...befores, next])}>
              Older
            </button>
          )}
        </p>
      ),
  };
}

/** One of the lists: where its pages come from and what a row shows. */
interface List<Page, Row> {
  readonly title: string;
  readonly path: string;
  readonly caption: string;
  readonly empty: string;
  readonly rows: (page: Page) => readonly Row[];
  readonly rowKey: (row: Row) => string;
  readonly columns: readonly Column<Row>[];
}

function Listed<Page extends { next: number | null }, Row>(props: {
  list: List<Page, Row>;
  given: Readonly<Record<string, string>>;
  aside: JSX.Element;
}): JSX.Element {
  const { list, given } = props;
  const { before, older } = usePages();
  const known = useResource<Page>(query(list.path, { limit: 100, ...given, before }), 2000).value;
  return (
    <Panel title={list.title} known={known} class="list" aside={props.aside}>
      <Table
        caption={list.caption}
        known={known}
        empty={list.empty}
        rows={known.data === null ? null : list.rows(known.data)}
        rowKey={list.rowKey}
        columns={list.columns}
      />
      {older(known.data?.next ?? null)}
    </Panel>
  );
}

function side(one: { side: string }): string {
  return one.side === "BUY" ? "buy" : "sell";
}

function Kind(props: { order: Order }): JSX.Element {
  const { order } = props;
  const rest = ties(order);
  return (
    <>
      {kind(order.order_type)} {order.time_in_force}
      {rest.length > 0 && (
        <span class="muted ties" title={rest.join(", ")}>
          {rest.join(", ")}
        </span>
      )}
    </>
  );
}

const ORDER_COLUMNS: readonly Column<Order>[] = [
  { title: "Time", cell: (one) => brief(one.submitted_at, now.value), class: "muted" },
  { title: "Symbol", cell: (one) => one.symbol },
  { title: "Side", cell: (one) => one.side, tone: side },
  { title: "Quantity", number: true, cell: (one) => quantity(one.quantity) },
  { title: "Status", cell: (one) => <Status order={one} /> },
  { title: "Type", cell: (one) => <Kind order={one} /> },
  { title: "Price", number: true, cell: (one) => prices(one) },
  { title: "Filled", number: true, cell: (one) => quantity(one.filled_quantity) },
  { title: "Avg fill", number: true, cell: (one) => price(one.avg_fill_price) },
  { title: "Fees", number: true, cell: (one) => money(one.fees) },
  { title: "Order", cell: (one) => <code title={one.order_id}>{one.order_id}</code>, class: "id" },
  {
    title: "",
    class: "actions",
    cell: (one) => (
      <>
        <AmendButton order={one} follow={followed} />
        {OPEN.has(one.status) && may("CANCEL") && <CancelButton id={one.order_id} />}
        <WhyButton id={one.order_id} />
      </>
    ),
  },
];

const ORDERS: List<OrderPage, Order> = {
  title: "Orders",
  path: "/api/v1/orders",
  caption: "Orders, newest first",
  empty: "There is no such order.",
  rows: (page) => page.orders,
  rowKey: (one) => one.order_id,
  columns: ORDER_COLUMNS,
};

const EXECUTION_COLUMNS: readonly Column<Execution>[] = [
  { title: "Time", cell: (one) => brief(one.filled_at ?? one.timestamp, now.value), class: "muted" },
  { title: "Report", cell: (one) => (one.type === "TRADE" ? "Fill" : one.type) },
  { title: "Symbol", cell: (one) => one.symbol },
  { title: "Side", cell: (one) => one.side, tone: side },
  { title: "Quantity", number: true, cell: (one) => quantity(one.quantity) },
  { title: "Price", number: true, cell: (one) => (one.type === "TRADE" ? price(one.price) : "–") },
  { title: "Fee", number: true, cell: (one) => money(one.fee) },
  { title: "Leaves", number: true, cell: (one) => quantity(one.leaves_quantity) },
  { title: "Execution", cell: (one) => <code>{one.execution_id}</code>, class: "id" },
  { title: "Order", cell: (one) => <code title={one.order_id}>{one.order_id}</code>, class: "id" },
  { title: "Text", cell: (one) => one.text, class: "text" },
  { title: "", cell: (one) => <WhyButton id={one.execution_id} />, class: "actions" },
];

const EXECUTIONS: List<ExecutionPage, Execution> = {
  title: "Executions",
  path: "/api/v1/executions",
  caption: "What the venue reported, newest first",
  empty: "The venue has reported nothing.",
  rows: (page) => page.executions,
  rowKey: (one) => one.execution_id,
  columns: EXECUTION_COLUMNS,
};

const REFUSAL_COLUMNS: readonly Column<Refusal>[] = [
  { title: "Time", cell: (one) => brief(one.timestamp, now.value), class: "muted" },
  { title: "Asked by", cell: (one) => <code title={one.cause_id}>{one.cause_id}</code>, class: "id" },
  { title: "Symbol", cell: (one) => one.symbol },
  { title: "Side", cell: (one) => one.side, tone: side },
  { title: "Quantity", number: true, cell: (one) => quantity(one.quantity) },
  { title: "Check", cell: (one) => one.check },
  { title: "Found", number: true, cell: (one) => one.found },
  { title: "Limit", number: true, cell: (one) => one.limit },
  { title: "Reason", cell: (one) => one.message, class: "text" },
  { title: "", cell: (one) => <WhyButton id={`refusal-${one.seq}`} />, class: "actions" },
];

const REFUSALS: List<RefusalPage, Refusal> = {
  title: "Refused",
  path: "/api/v1/risk/refusals",
  caption: "Orders that risk refused, newest first",
  empty: "Risk has refused nothing.",
  rows: (page) => page.refusals,
  rowKey: (one) => String(one.seq),
  columns: REFUSAL_COLUMNS,
};
