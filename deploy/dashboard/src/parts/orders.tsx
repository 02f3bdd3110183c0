/** How an order stands, and the way to cancel it. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";

import { call, refresh } from "../net/api.ts";
import { ApiError } from "../net/session.ts";
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
