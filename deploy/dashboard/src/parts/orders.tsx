/** How an order stands, and the ways to change and to cancel it. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";

import { call, refresh } from "../net/api.ts";
import { ApiError, may } from "../net/session.ts";
import type { Order, OrderDetail, Submitted } from "../net/types.ts";
import { quantity } from "../pure/format.ts";
import { kind, prices } from "../pure/orders.ts";
import { changeable, changesOf, CHANGEABLE, type Changeable } from "../pure/tickets.ts";
import { Dialog } from "./dialog.tsx";
import { say } from "./toasts.tsx";

export const OPEN = new Set(["PENDING", "ACCEPTED", "PARTIALLY_FILLED"]);

export function Status(props: { order: { status: string; reason: string | null } }): JSX.Element {
  const { status, reason } = props.order;
  const kind = status === "FILLED" ? "good" : status === "REFUSED" || status === "REJECTED" ? "bad" : OPEN.has(status) ? "warn" : "";
  return (
    <>
      <b class={`badge ${kind}`}>{status.replaceAll("_", " ")}</b>
      {reason !== null && reason !== "" && <span class="reason"> {reason}</span>}
    </>
  );
}

export function CancelButton(props: { id: string }): JSX.Element {
  const [busy, setBusy] = useState(false);
  const cancel = async (): Promise<void> => {
    setBusy(true);
    try {
      await call("DELETE", `/api/v1/orders/${encodeURIComponent(props.id)}`);
      say(`The venue is asked to cancel ${props.id}.`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      say(error.message, true);
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

/** Nothing where the order has ended or the role may not. `follow` is told the order that shall take its place. */
export function AmendButton(props: { order: Order; follow: (changed: OrderDetail) => void }): JSX.Element | null {
  const { order, follow } = props;
  const [open, setOpen] = useState(false);
  if (!open && (!OPEN.has(order.status) || !may("TRADE"))) return null;
  return (
    <>
      <button type="button" class="small" aria-label={`Change ${order.order_id}`} onClick={() => setOpen(true)}>
        Change
      </button>
      {open && <Amend order={order} follow={follow} close={() => setOpen(false)} />}
    </>
  );
}

function Amend(props: { order: Order; follow: (changed: OrderDetail) => void; close: () => void }): JSX.Element {
  // As it was when the dialog opened: a later answer does not type over what a person typed.
  const [order] = useState(props.order);
  const [typed, setTyped] = useState(() => changeable(order));
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    const changes = changesOf(order, typed);
    if (typeof changes === "string") {
      setError(changes);
      return;
    }
    setBusy(true);
    try {
      const answer = await call<Submitted>("PATCH", `/api/v1/orders/${encodeURIComponent(order.order_id)}`, changes);
      props.follow(asked(order, changes, answer));
      props.close();
    } catch (found) {
      if (!(found instanceof ApiError)) throw found;
      setError(found.message);
      setBusy(false);
    }
    refresh("/api/v1/orders");
  };
  return (
    <Dialog title={`Change ${order.order_id}`} close={props.close} class="narrow">
      <form onSubmit={(event) => void send(event)} noValidate>
        <p>
          {order.side} {quantity(order.quantity)} {order.symbol} {kind(order.order_type)} {order.order_type !== "MARKET" && prices(order)}
        </p>
        {CHANGEABLE.filter(([name]) => typed[name] !== undefined).map(([name, label]) => (
          <label key={name}>
            {label}
            <input
              name={name}
              inputMode="decimal"
              autoComplete="off"
              value={typed[name]}
              onInput={(event) => setTyped({ ...typed, [name]: event.currentTarget.value })}
            />
          </label>
        ))}
        <p class="note">Risk judges the changed order as a new one. It has an id of its own, and until the venue agrees this one goes on working.</p>
        {error !== "" && (
          <p class="failing" role="alert">
            {error}
          </p>
        )}
        <div class="buttons">
          <button type="button" onClick={props.close}>
            Leave it
          </button>
          <button type="submit" class="primary" disabled={busy}>
            Change the order
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** The changed order as far as it is known before risk has decided. */
function asked(order: Order, changes: Partial<Record<Changeable, string>>, answer: Submitted): OrderDetail {
  const numbers = Object.fromEntries(Object.entries(changes).map(([name, text]) => [name, Number(text)]));
  return {
    ...order,
    ...numbers,
    order_id: answer.order_id,
    status: answer.status,
    submitted_at: answer.submitted_at,
    replaces: order.order_id,
    filled_quantity: 0,
    avg_fill_price: null,
    filled_at: null,
    reason: null,
    checks: [],
  };
}
