/** What was ordered and changed from this tab, newest first, followed until it is decided. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { call, refresh } from "../net/api.ts";
import { ApiError } from "../net/session.ts";
import type { OrderDetail } from "../net/types.ts";
import { price, quantity } from "../pure/format.ts";
import { kind, prices } from "../pure/orders.ts";
import { AmendButton, CancelButton, OPEN, Status } from "./orders.tsx";
import { WhyButton } from "./why.tsx";

const ASK_EVERY_MS = 400;
const SHOWN = 8;

const sent = signal<readonly OrderDetail[]>([]);

/** From its submission on: what is known of it then is what was asked for. */
export function followed(order: OrderDetail): void {
  sent.value = [order, ...sent.peek()].slice(0, SHOWN);
}

export function Sent(): JSX.Element | null {
  const orders = sent.value;
  useEffect(() => {
    const timer = setInterval(() => void look(), ASK_EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  if (orders.length === 0) return null;
  return (
    <div class="sent" aria-live="polite">
      <h3>Sent from here</h3>
      <ul>
        {orders.map((one) => (
          <li key={one.order_id} data-order={one.order_id} data-status={one.status}>
            <span class={one.side === "BUY" ? "buy" : "sell"}>
              {one.side} {quantity(one.quantity)} {one.symbol}
            </span>{" "}
            {one.order_type !== "MARKET" && `${kind(one.order_type)} ${prices(one)} `}
            <Status order={one} />
            {one.avg_fill_price !== null && ` at ${price(one.avg_fill_price)}`}
            <span class="buttons">
              <AmendButton order={one} follow={followed} />
              {OPEN.has(one.status) && <CancelButton id={one.order_id} />}
              <WhyButton id={one.order_id} />
            </span>
          </li>
        ))}
      </ul>
    </div>
  );
}

let looking = false;

/** Ask about the newest that is not decided; one request at a time. */
async function look(): Promise<void> {
  const open = sent.peek().filter((one) => OPEN.has(one.status));
  if (looking || open.length === 0) return;
  looking = true;
  try {
    for (const one of open) await update(one.order_id);
  } finally {
    looking = false;
  }
}

async function update(id: string): Promise<void> {
  try {
    const found = await call<OrderDetail>("GET", `/api/v1/orders/${encodeURIComponent(id)}`);
    const before = sent.peek().find((one) => one.order_id === id);
    sent.value = sent.peek().map((one) => (one.order_id === id ? found : one));
    if (before?.status !== found.status) refresh("/api/v1/orders");
  } catch (error) {
    // Not in Postgres yet, or the API is away: the order stays as it was shown, and is asked about again.
    if (!(error instanceof ApiError)) throw error;
  }
}
