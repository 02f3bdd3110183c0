/** The P&L and activity of each strategy. The rows add up to the ledger's P&L. */
import type { JSX } from "preact";

import { useResource } from "../net/api.ts";
import { now } from "../net/live.ts";
import type { PnlAttribution, StrategyActivity } from "../net/types.ts";
import { count, countOf, gainTone, money, NO_VALUE, percent, ratio, shortTime, signedMoney, withZone } from "../pure/format.ts";
import { matchesLedger, strategyLabel, strategyRows, totalRow, type StrategyRow } from "../pure/strategies.ts";
import { Panel } from "./panel.tsx";
import { Table, type Column } from "./table.tsx";

export function StrategyResults(): JSX.Element {
  const attribution = useResource<PnlAttribution>("/api/v1/portfolio/attribution", 5000).value;
  const activity = useResource<StrategyActivity[]>("/api/v1/portfolio/strategies", 5000).value;
  const rows = activity.data === null ? null : strategyRows(attribution.data?.strategies ?? [], activity.data);
  const total = rows === null ? null : totalRow(rows);
  return (
    <Panel title="Results by strategy" resource={attribution.error === null ? activity : attribution} class="strategies">
      <Table
        caption="Table of results by strategy"
        resource={activity}
        empty="No trades yet"
        rows={rows}
        rowKey={(row) => row.strategy}
        columns={COLUMNS}
        total={total}
      />
      {total !== null && attribution.data !== null && <LedgerTotal attribution={attribution.data} total={total} />}
    </Panel>
  );
}

const COLUMNS: readonly Column<StrategyRow>[] = [
  { title: "Strategy", cell: (row) => strategyLabel(row.strategy) },
  { title: "Realized P&L", numeric: true, cell: (row) => signedMoney(row.pnl?.realized_pnl), tone: (row) => gainTone(row.pnl?.realized_pnl), drop: 1 },
  { title: "Unrealized P&L", numeric: true, cell: (row) => signedMoney(row.pnl?.unrealized_pnl), tone: (row) => gainTone(row.pnl?.unrealized_pnl), drop: 2 },
  { title: "Fees", numeric: true, cell: (row) => money(row.pnl?.fees), drop: 5 },
  { title: "Cash flows", numeric: true, cell: (row) => signedMoney(row.pnl?.cash_flows), tone: (row) => gainTone(row.pnl?.cash_flows), drop: 8 },
  { title: "Total P&L", numeric: true, cell: (row) => signedMoney(row.pnl?.total_pnl), tone: (row) => gainTone(row.pnl?.total_pnl), class: "strong" },
  { title: "Weight", numeric: true, cell: (row) => ratio(row.weight), drop: 6 },
  { title: "Hit rate", numeric: true, cell: (row) => (row.hitRate === null ? NO_VALUE : `${percent(row.hitRate, 1)} (${countOf(row.outcomes, "signal")})`), drop: 3 },
  { title: "Fills", numeric: true, cell: (row) => count(row.activity?.fills), drop: 7 },
  { title: "Traded value", numeric: true, cell: (row) => money(row.activity?.traded_notional, 0), drop: 9 },
  { title: "Closed lots", numeric: true, cell: (row) => count(row.activity?.closed_lots), drop: 8 },
  { title: "Win rate", numeric: true, cell: (row) => percent(row.activity?.closed_lots ? row.activity.won / row.activity.closed_lots : null, 1), drop: 4 },
];

/** The ledger's own P&L at the time of the last attribution, to compare with the total of the rows. */
function LedgerTotal(props: { attribution: PnlAttribution; total: StrategyRow }): JSX.Element {
  const { last_updated, ledger_pnl } = props.attribution;
  if (last_updated === null) {
    return <p class="note footnote">P&L by strategy is calculated every few minutes. Waiting for the first calculation.</p>;
  }
  return (
    <p class="note footnote" id="ledger-pnl">
      Ledger P&L at the last calculation ({withZone(shortTime(last_updated, now.value))}): <b>{signedMoney(ledger_pnl)}</b>.
      {matchesLedger(props.total, ledger_pnl) === false && <span class="error"> The rows do not add up to this amount.</span>} Fills, traded value and
      lots are current.
    </p>
  );
}
