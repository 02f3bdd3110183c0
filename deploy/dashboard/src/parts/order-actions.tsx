/** The status of an order, and the buttons that change and cancel it. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";

import { call, refresh } from "../net/api.ts";
import { ApiError, hasPermission } from "../net/session.ts";
import type { Order, OrderDetail, OrderReceipt } from "../net/types.ts";
import { quantity } from "../pure/format.ts";
import { EDITABLE_FIELDS, editableTerms, parseChanges, type EditableField } from "../pure/order-ticket.ts";
import { orderText } from "../pure/orders.ts";
import { rejectionText } from "../pure/risk.ts";
import { Dialog } from "./dialog.tsx";
import { ErrorText } from "./form.tsx";
import { showToast } from "./toasts.tsx";

/** Statuses of orders that can still trade. */
export const OPEN_STATUSES = new Set(["PENDING", "ACCEPTED", "PARTIALLY_FILLED"]);

/** Causes that end only when somebody acts. */
const BLOCKED = new Set(["feed_finished", "service_down", "service_behind", "halted", "reconciling"]);

/** The displayed text of a status. REFUSED means rejected by risk, REJECTED means rejected by the broker. */
export function statusLabel(status: string): string {
  return status === "REFUSED" ? "REJECTED BY RISK" : status.replaceAll("_", " ");
}

export function OrderStatus(props: { order: Pick<Order, "status" | "symbol" | "reason" | "waiting_for"> }): JSX.Element {
  const { status, symbol, reason, waiting_for: waitingFor } = props.order;
  const rejected = status === "REFUSED" || status === "REJECTED";
  const tone = status === "FILLED" ? "good" : rejected ? "bad" : OPEN_STATUSES.has(status) ? "warn" : "";
  return (
    <>
      <b class={`badge ${tone}`}>{statusLabel(status)}</b>
      {reason !== null && reason !== "" && <span class={`reason ${rejected ? "bad" : "muted"}`}> {rejectionText(reason, symbol)}</span>}
      {waitingFor != null && <span class={`reason ${BLOCKED.has(waitingFor.cause) ? "bad" : "muted"}`}> {waitingFor.text}</span>}
    </>
  );
}

export function CancelButton(props: { id: string }): JSX.Element {
  const [busy, setBusy] = useState(false);
  const cancel = async (): Promise<void> => {
    setBusy(true);
    try {
      await call("DELETE", `/api/v1/orders/${encodeURIComponent(props.id)}`);
      showToast(`Cancel request sent for ${props.id}.`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      showToast(error.message, true);
      setBusy(false);
    }
    refresh("/api/v1/orders");
  };
  return (
    <button type="button" class="small danger" aria-label={`Cancel ${props.id}`} disabled={busy} onClick={() => void cancel()}>
      Cancel
    </button>
  );
}

/** Hidden for orders that are closed and for users who may not trade. `onReplace` receives the replacement order. */
export function ChangeButton(props: { order: Order; onReplace: (replacement: OrderDetail) => void }): JSX.Element | null {
  const { order, onReplace } = props;
  const [open, setOpen] = useState(false);
  if (!open && (!OPEN_STATUSES.has(order.status) || !hasPermission("TRADE"))) return null;
  return (
    <>
      <button type="button" class="small" aria-label={`Change ${order.order_id}`} onClick={() => setOpen(true)}>
        Change
      </button>
      {open && <ChangeDialog order={order} onReplace={onReplace} onClose={() => setOpen(false)} />}
    </>
  );
}

function ChangeDialog(props: { order: Order; onReplace: (replacement: OrderDetail) => void; onClose: () => void }): JSX.Element {
  // The order as it was when the dialog opened: later updates must not overwrite the user's input.
  const [order] = useState(props.order);
  const [input, setInput] = useState(() => editableTerms(order));
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const changes = parseChanges(order, input);
    if (typeof changes === "string") {
      setError(changes);
      return;
    }
    setBusy(true);
    try {
      const receipt = await call<OrderReceipt>("PATCH", `/api/v1/orders/${encodeURIComponent(order.order_id)}`, changes);
      props.onReplace(replacementOrder(order, changes, receipt));
      props.onClose();
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure.message);
      setBusy(false);
    }
    refresh("/api/v1/orders");
  };
  return (
    <Dialog title="Change order" onClose={props.onClose} class="narrow">
      <form onSubmit={(event) => void submit(event)} noValidate>
        <p>
          {order.side} {quantity(order.quantity)} {order.symbol} {orderText(order)}
          <br />
          <code class="muted">{order.order_id}</code>
        </p>
        {EDITABLE_FIELDS.filter(([name]) => input[name] !== undefined).map(([name, label]) => (
          <label key={name}>
            {label}
            <input
              name={name}
              inputMode="decimal"
              autoComplete="off"
              value={input[name]}
              onInput={(event) => setInput({ ...input, [name]: event.currentTarget.value })}
            />
          </label>
        ))}
        <p class="note">
          A new order with its own ID replaces this one. Risk checks it first. This order keeps working until the broker
          accepts the replacement.
        </p>
        <ErrorText text={error} />
        <div class="buttons">
          <button type="button" onClick={props.onClose}>
            Close
          </button>
          <button type="submit" class="primary" disabled={busy}>
            Change order
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** The replacement order as known before risk has checked it. */
function replacementOrder(order: Order, changes: Partial<Record<EditableField, string>>, receipt: OrderReceipt): OrderDetail {
  const numbers = Object.fromEntries(Object.entries(changes).map(([name, text]) => [name, Number(text)]));
  return {
    ...order,
    ...numbers,
    order_id: receipt.order_id,
    status: receipt.status,
    submitted_at: receipt.submitted_at,
    replaces: order.order_id,
    filled_quantity: 0,
    avg_fill_price: null,
    filled_at: null,
    reason: null,
    waiting_for: null,
    checks: [],
  };
}
