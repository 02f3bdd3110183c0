/** Close, flatten all and cancel all: a button, and a dialog that lists what will happen before it is confirmed. */
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";

import { call, refresh } from "../net/api.ts";
import { ApiError, hasPermission, newKey } from "../net/session.ts";
import { exitCounts, exitNotes, exitTitle, type ExitAction, type ExitPlan, type PlannedCancel, type PlannedOrder } from "../pure/exits.ts";
import { countOf, money, NO_VALUE, price, quantity } from "../pure/format.ts";
import { orderTypeLabel } from "../pure/orders.ts";
import { rejectionText } from "../pure/risk.ts";
import { Dialog } from "./dialog.tsx";
import { ErrorText } from "./form.tsx";
import { Table, type Column } from "./table.tsx";
import { showToast } from "./toasts.tsx";

interface ExitReceipt {
  readonly orders: readonly string[];
  readonly cancels: readonly string[];
  readonly already_closed: Readonly<Record<string, string>>;
}

/** Hidden for users who may not do it. */
export function ExitButton(props: { action: ExitAction; symbol?: string; label: string; disabled?: boolean }): JSX.Element | null {
  const [open, setOpen] = useState(false);
  const symbol = props.symbol ?? null;
  if (!open && !hasPermission(props.action === "CANCEL_ALL" ? "CANCEL" : "TRADE")) return null;
  return (
    <>
      <button
        type="button"
        class="small danger"
        aria-haspopup="dialog"
        aria-label={exitTitle(props.action, symbol)}
        disabled={props.disabled ?? false}
        onClick={() => setOpen(true)}
      >
        {props.label}…
      </button>
      {open && <ExitDialog action={props.action} symbol={symbol} onClose={() => setOpen(false)} />}
    </>
  );
}

function ExitDialog(props: { action: ExitAction; symbol: string | null; onClose: () => void }): JSX.Element {
  const { action, symbol, onClose } = props;
  const title = exitTitle(action, symbol);
  const [plan, setPlan] = useState<ExitPlan | null>(null);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  // One key for all attempts of this dialog: a retry sends no order twice.
  const [key] = useState(newKey);
  const run = async (request: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setError("");
    try {
      await request();
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure.message);
    } finally {
      setBusy(false);
    }
  };
  const load = async (): Promise<void> => setPlan(await call<ExitPlan>("POST", "/api/v1/exits/plan", { action, ...(symbol === null ? {} : { symbol }) }));
  useEffect(() => void run(load), []);
  const confirm = async (): Promise<void> => {
    if (plan === null) return;
    const body = {
      action,
      cancels: plan.cancels.map((one) => one.order_id),
      orders: plan.orders.map((one) => ({ symbol: one.symbol, side: one.side, quantity: one.quantity_text })),
    };
    const receipt = await call<ExitReceipt>("POST", "/api/v1/exits", body, { "Idempotency-Key": key });
    showToast(`${title}: ${countOf(receipt.orders.length, "order")} and ${countOf(receipt.cancels.length, "cancel")} sent. They take effect at the next time slice.`);
    for (const prefix of ["/api/v1/orders", "/api/v1/portfolio"]) refresh(prefix);
    onClose();
  };
  const isEmpty = plan !== null && plan.orders.length + plan.cancels.length === 0;
  return (
    <Dialog title={title} onClose={onClose} class="exit">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run(confirm);
        }}
      >
        {plan === null && error === "" && <p role="status">Loading what will happen…</p>}
        {isEmpty && <p>No open positions or orders. Nothing to do.</p>}
        {plan !== null && <Plan plan={plan} />}
        <ErrorText text={error} />
        <div class="buttons">
          <button type="button" autoFocus onClick={onClose}>
            Back
          </button>
          {plan === null && error !== "" && (
            <button type="button" disabled={busy} onClick={() => void run(load)}>
              Retry
            </button>
          )}
          {plan !== null && !isEmpty && (
            <button type="submit" class="danger" disabled={busy}>
              {title}: {exitCounts(plan).toLowerCase()}
            </button>
          )}
        </div>
      </form>
    </Dialog>
  );
}

function Plan(props: { plan: ExitPlan }): JSX.Element {
  const { plan } = props;
  const resource = { data: plan, error: null, loadedAt: null };
  return (
    <>
      {plan.orders.length > 0 && (
        <section aria-label="Orders to send">
          <h3>Reduce-only market orders to send, about {money(plan.order_notional)}</h3>
          <Table caption="Orders to send" resource={resource} empty="" rows={plan.orders} rowKey={(row) => row.symbol} columns={ORDER_COLUMNS} />
        </section>
      )}
      {plan.cancels.length > 0 && (
        <section aria-label="Orders to cancel">
          <h3>Orders to cancel, about {money(plan.cancel_notional)}</h3>
          <Table caption="Orders to cancel" resource={resource} empty="" rows={plan.cancels} rowKey={(row) => row.order_id} columns={CANCEL_COLUMNS} />
        </section>
      )}
      {plan.orders.length + plan.cancels.length > 0 && (
        <ul class="notes">
          {exitNotes(plan).map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
    </>
  );
}

function sideTone(row: { side: string }): string {
  return row.side === "BUY" ? "buy" : "sell";
}

const ORDER_COLUMNS: readonly Column<PlannedOrder>[] = [
  { title: "Symbol", cell: (row) => row.symbol },
  { title: "Side", cell: (row) => row.side, tone: sideTone },
  { title: "Quantity", numeric: true, cell: (row) => quantity(row.quantity) },
  { title: "Last price", numeric: true, cell: (row) => price(row.reference_price), drop: 3 },
  { title: "Value", numeric: true, cell: (row) => money(row.notional), drop: 1 },
  {
    title: "Risk checks",
    cell: (row) => (row.approved ? <span class="up">pass</span> : <span class="down">{rejectionText(row.message ?? "", row.symbol)}</span>),
    class: "text",
  },
];

const CANCEL_COLUMNS: readonly Column<PlannedCancel>[] = [
  { title: "Symbol", cell: (row) => row.symbol },
  { title: "Side", cell: (row) => row.side, tone: sideTone },
  { title: "Remaining", numeric: true, cell: (row) => quantity(row.remaining) },
  { title: "Type", cell: (row) => orderTypeLabel(row.order_type), drop: 2 },
  { title: "Price", numeric: true, cell: (row) => (row.price === null ? NO_VALUE : price(row.price)), drop: 3 },
  { title: "Value", numeric: true, cell: (row) => money(row.notional), drop: 1 },
  { title: "Order ID", cell: (row) => <code title={row.order_id}>{row.order_id}</code>, class: "id", drop: 4 },
];
