/** Formats the terms of an order for one table cell. */
import { dateTime, NO_VALUE, price, quantity, sentenceCase, withZone } from "./format.ts";
import type { OrderTerms } from "./order-ticket.ts";

export interface OrderConditions {
  readonly time_in_force: string;
  readonly expires_at: string | null;
  readonly reduce_only: boolean;
  readonly group_id: string;
  readonly parent_id: string;
  readonly replaces: string;
  readonly emulated_stop?: boolean;
}

/** "stop 140.00, limit 139.00" or "trail 2 %"; a dash for an order type without prices. */
export function priceTerms(order: Omit<OrderTerms, "quantity">): string {
  const terms = [
    order.stop_price === null ? "" : `stop ${price(order.stop_price)}`,
    order.limit_price === null ? "" : order.stop_price === null ? price(order.limit_price) : `limit ${price(order.limit_price)}`,
    order.trail_amount === null ? "" : `trail ${price(order.trail_amount)}`,
    order.trail_percent === null ? "" : `trail ${quantity(order.trail_percent)} %`,
  ].filter((term) => term !== "");
  return terms.length === 0 ? NO_VALUE : terms.join(", ");
}

/** "Limit", "Trailing stop". */
export function orderTypeLabel(orderType: string): string {
  return sentenceCase(orderType);
}

/** Order type and prices: "Market", "Stop limit: stop 290.00, limit 291.00". */
export function orderText(order: Omit<OrderTerms, "quantity">): string {
  const prices = priceTerms(order);
  return prices === NO_VALUE ? orderTypeLabel(order.order_type) : `${orderTypeLabel(order.order_type)}: ${prices}`;
}

/** The display name of an execution report: "Fill", "Accepted", "Cancelled". */
export function executionLabel(type: string): string {
  const labels: Readonly<Record<string, string>> = { TRADE: "Fill", NEW: "Accepted", CANCELED: "Cancelled" };
  return labels[type] ?? sentenceCase(type);
}

/** Special conditions of an order. Most orders have none. */
export function conditions(order: OrderConditions): string[] {
  return [
    order.expires_at === null ? "" : `good till ${withZone(dateTime(order.expires_at))}`,
    order.reduce_only ? "reduce-only" : "",
    order.parent_id === "" ? "" : `after fill of ${order.parent_id}`,
    order.group_id === "" ? "" : `OCO group ${order.group_id}`,
    order.replaces === "" ? "" : `replaces ${order.replaces}`,
    order.emulated_stop === true ? "emulated stop (works only while the platform runs)" : "",
  ].filter((condition) => condition !== "");
}
