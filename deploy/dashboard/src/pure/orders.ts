/** What an order's terms read like in one cell. */
import { price, quantity, stamp } from "./format.ts";
import type { Terms } from "./tickets.ts";

export interface Ties {
  readonly time_in_force: string;
  readonly expires_at: string | null;
  readonly reduce_only: boolean;
  readonly group_id: string;
  readonly parent_id: string;
  readonly replaces: string;
}

/** "stop 140.00, limit 139.00", "trail 2 %"; a dash where the type has none. */
export function prices(order: Omit<Terms, "quantity">): string {
  const parts = [
    order.stop_price === null ? "" : `stop ${price(order.stop_price)}`,
    order.limit_price === null ? "" : order.stop_price === null ? price(order.limit_price) : `limit ${price(order.limit_price)}`,
    order.trail_amount === null ? "" : `trail ${price(order.trail_amount)}`,
    order.trail_percent === null ? "" : `trail ${quantity(order.trail_percent)} %`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "–" : parts.join(", ");
}

/** "LIMIT", "TRAILING STOP". */
export function kind(orderType: string): string {
  return orderType.replaceAll("_", " ");
}

/** What else holds of an order: nothing for most. */
export function ties(order: Ties): string[] {
  return [
    order.expires_at === null ? "" : `until ${stamp(order.expires_at)}`,
    order.reduce_only ? "reduce only" : "",
    order.parent_id === "" ? "" : `after ${order.parent_id}`,
    order.group_id === "" ? "" : `group ${order.group_id}`,
    order.replaces === "" ? "" : `replaces ${order.replaces}`,
  ].filter((part) => part !== "");
}
