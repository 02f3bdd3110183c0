/** Each strategy's part of the P&L: the rows sum to what the ledger says. */
import type { JSX } from "preact";

import { useResource } from "../net/api.ts";
import { now } from "../net/live.ts";
import type { Attribution, StrategyResult } from "../net/types.ts";
import { brief, count, money, percent, ratio, signed, tone } from "../pure/format.ts";
import { agrees, nameOf, rowsOf, sumOf, type Row } from "../pure/strategies.ts";
import { Panel } from "./panel.tsx";
import { Table, type Column } from "./table.tsx";

export function Strategies(): JSX.Element {
  const attribution = useResource<Attribution>("/api/v1/portfolio/attribution", 5000).value;
  const doings = useResource<StrategyResult[]>("/api/v1/portfolio/strategies", 5000).value;
  const rows = doings.data === null ? null : rowsOf(attribution.data?.strategies ?? [], doings.data);
  const all = rows === null ? null : sumOf(rows);
  return (
    <Panel title="By strategy" known={attribution.error === null ? doings : attribution} class="strategies">
      <Table
        caption="Results by strategy"
        known={doings}
        empty="No order has traded yet."
        rows={rows}
        rowKey={(one) => one.strategy}
        columns={COLUMNS}
        total={all}
      />
      {all !== null && attribution.data !== null && <Ledger known={attribution.data} all={all} />}
    </Panel>
  );
}

const COLUMNS: readonly Column<Row>[] = [
  { title: "Strategy", cell: (one) => nameOf(one.strategy) },
  { title: "Realized", number: true, cell: (one) => signed(one.share?.realized_pnl), tone: (one) => tone(one.share?.realized_pnl) },
  { title: "Unrealized", number: true, cell: (one) => signed(one.share?.unrealized_pnl), tone: (one) => tone(one.share?.unrealized_pnl) },
  { title: "Fees", number: true, cell: (one) => money(one.share?.fees) },
  { title: "Cash flows", number: true, cell: (one) => signed(one.share?.cash_flows), tone: (one) => tone(one.share?.cash_flows) },
  { title: "Total", number: true, cell: (one) => signed(one.share?.total_pnl), tone: (one) => tone(one.share?.total_pnl), class: "strong" },
  { title: "Weight", number: true, cell: (one) => ratio(one.weight) },
  { title: "Signals right", number: true, cell: (one) => (one.hitRate === null ? "–" : `${percent(one.hitRate, 1)} of ${count(one.outcomes)}`) },
  { title: "Fills", number: true, cell: (one) => count(one.doings?.fills) },
  { title: "Traded", number: true, cell: (one) => money(one.doings?.traded_notional, 0) },
  { title: "Lots closed", number: true, cell: (one) => count(one.doings?.closed_lots) },
  { title: "Won", number: true, cell: (one) => percent(one.doings?.closed_lots ? one.doings.won / one.doings.closed_lots : null, 1) },
];

/** What stands beside the sum: the ledger's own figure of the same time. */
function Ledger(props: { known: Attribution; all: Row }): JSX.Element {
  const { last_updated, ledger_pnl } = props.known;
  if (last_updated === null) {
    return <p class="note rest">The P&L is split by strategy every few minutes of event time; it has not been split yet.</p>;
  }
  return (
    <p class="note rest" id="ledger-pnl">
      The ledger's total P&L at {brief(last_updated, now.value)} UTC, when it was last split: <b>{signed(ledger_pnl)}</b>
      {agrees(props.all, ledger_pnl) === false && <span class="failing">, which is not the sum of the rows</span>}. Fills and lots are counted up to
      now.
    </p>
  );
}
