/** Texts of the confirmations that close positions and cancel orders. */
import { countOf } from "./format.ts";

export type ExitAction = "CLOSE" | "FLATTEN_ALL" | "CANCEL_ALL";

export interface PlannedCancel {
  readonly order_id: string;
  readonly symbol: string;
  readonly side: string;
  readonly remaining: number;
  readonly order_type: string;
  readonly price: number | null;
  readonly notional: number | null;
}

export interface PlannedOrder {
  readonly symbol: string;
  readonly side: string;
  readonly quantity: number;
  readonly quantity_text: string;
  readonly reference_price: number | null;
  readonly notional: number | null;
  readonly approved: boolean;
  readonly message: string | null;
}

export interface ExitPlan {
  readonly action: ExitAction;
  readonly symbol: string | null;
  readonly cancels: readonly PlannedCancel[];
  readonly orders: readonly PlannedOrder[];
  readonly cancel_notional: number;
  readonly order_notional: number;
  readonly left_out: number;
}

/** "Close AAPL", "Flatten all", "Cancel all orders". */
export function exitTitle(action: ExitAction, symbol: string | null): string {
  switch (action) {
    case "CLOSE":
      return `Close ${symbol ?? ""}`;
    case "FLATTEN_ALL":
      return "Flatten all";
    case "CANCEL_ALL":
      return symbol === null ? "Cancel all orders" : `Cancel all orders for ${symbol}`;
  }
}

/** What the confirmation does: "Send 2 orders, cancel 3 orders"; "" for an empty plan. */
export function exitCounts(plan: ExitPlan): string {
  const parts = [
    plan.orders.length === 0 ? "" : `send ${countOf(plan.orders.length, "order")}`,
    plan.cancels.length === 0 ? "" : `cancel ${countOf(plan.cancels.length, "order")}`,
  ].filter((part) => part !== "");
  const text = parts.join(", ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What the user should know before the confirmation. */
export function exitNotes(plan: ExitPlan): string[] {
  const refused = plan.orders.filter((order) => !order.approved);
  return [
    refused.length === 0 ? "" : `Risk would reject ${countOf(refused.length, "order")} now. These positions stay open: ${refused.map((order) => order.symbol).join(", ")}.`,
    plan.left_out === 0 ? "" : `Not included: ${countOf(plan.left_out, "entry", "entries")} beyond the first 500. Repeat the action afterwards.`,
    plan.action === "CANCEL_ALL" ? "Positions stay open." : "",
    "Strategies continue and can send new orders. To stop them, halt trading or set a breaker to reduce-only.",
  ].filter((note) => note !== "");
}
