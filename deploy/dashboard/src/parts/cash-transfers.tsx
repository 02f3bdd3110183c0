/** The last deposits, withdrawals, fees, interest and adjustments. */
import type { JSX } from "preact";

import { useResource } from "../net/api.ts";
import type { CashTransfer, CashTransferPage } from "../net/types.ts";
import { dateTime, gainTone, sentenceCase, signedMoney } from "../pure/format.ts";
import { Panel } from "./panel.tsx";
import { Table, type Column } from "./table.tsx";

const COLUMNS: readonly Column<CashTransfer>[] = [
  { title: "Time (UTC)", cell: (transfer) => dateTime(transfer.timestamp) },
  { title: "Kind", cell: (transfer) => sentenceCase(transfer.kind.toLowerCase()) },
  {
    title: "Amount",
    numeric: true,
    cell: (transfer) => `${signedMoney(transfer.amount)} ${transfer.currency}`,
    tone: (transfer) => gainTone(transfer.amount),
  },
  { title: "By", cell: (transfer) => transfer.actor },
  { title: "Reason", cell: (transfer) => transfer.reason },
  { title: "Reference", cell: (transfer) => transfer.reference },
];

export function CashTransfers(): JSX.Element {
  const page = useResource<CashTransferPage>("/api/v1/portfolio/cash-transfers?limit=20", 10_000).value;
  return (
    <Panel title="Cash transfers" resource={page}>
      <Table
        caption="Cash transfers, newest first"
        columns={COLUMNS}
        rows={page.data?.transfers}
        rowKey={(transfer) => transfer.transfer_id}
        resource={page}
        empty="No cash transfers yet"
      />
    </Panel>
  );
}
