/** Orders sent from this tab, newest first. Open orders are polled until they close. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { call, refresh } from "../net/api.ts";
import { ApiError } from "../net/session.ts";
import type { OrderDetail } from "../net/types.ts";
import { price, quantity } from "../pure/format.ts";
import { orderText } from "../pure/orders.ts";
import { ExplainButton } from "./lineage.tsx";
import { CancelButton, ChangeButton, OPEN_STATUSES, OrderStatus } from "./order-actions.tsx";

const POLL_INTERVAL_MS = 400;
const ORDERS_MAX = 8;

const recentOrders = signal<readonly OrderDetail[]>([]);

/** Adds an order to the list. Until the first response it shows the submitted terms. */
export function trackOrder(order: OrderDetail): void {
  recentOrders.value = [order, ...recentOrders.peek()].slice(0, ORDERS_MAX);
}

export function RecentOrders(): JSX.Element | null {
  const orders = recentOrders.value;
  useEffect(() => {
    const timer = setInterval(() => void pollOpenOrders(), POLL_INTERVAL_MS);
    return () => clearInterval(timer);
  }, []);
  if (orders.length === 0) return null;
  return (
    <div class="recent-orders" aria-live="polite">
      <h3>Sent from this tab</h3>
      <ul>
        {orders.map((order) => (
          <li key={order.order_id} data-order={order.order_id} data-status={order.status}>
            <span class={order.side === "BUY" ? "buy" : "sell"}>
              {order.side} {quantity(order.quantity)} {order.symbol}
            </span>{" "}
            {order.order_type !== "MARKET" && `${orderText(order)} `}
            <OrderStatus order={order} />
            {order.avg_fill_price !== null && ` at ${price(order.avg_fill_price)}`}
            <span class="buttons">
              <ChangeButton order={order} onReplace={trackOrder} />
              {OPEN_STATUSES.has(order.status) && <CancelButton id={order.order_id} />}
              <ExplainButton id={order.order_id} />
            </span>
          </li>
        ))}
      </ul>
    </div>
  );
}

let polling = false;

/** Polls the open orders, one request at a time. */
async function pollOpenOrders(): Promise<void> {
  const open = recentOrders.peek().filter((order) => OPEN_STATUSES.has(order.status));
  if (polling || open.length === 0) return;
  polling = true;
  try {
    for (const order of open) await updateOrder(order.order_id);
  } finally {
    polling = false;
  }
}

async function updateOrder(id: string): Promise<void> {
  try {
    const updated = await call<OrderDetail>("GET", `/api/v1/orders/${encodeURIComponent(id)}`);
    const previous = recentOrders.peek().find((order) => order.order_id === id);
    recentOrders.value = recentOrders.peek().map((order) => (order.order_id === id ? updated : order));
    if (previous?.status !== updated.status) refresh("/api/v1/orders");
  } catch (error) {
    // The order is not in the database yet, or the API is unavailable. The next poll retries.
    if (!(error instanceof ApiError)) throw error;
  }
}
