/** Display names and number formats of risk limits, measures and checks. */
import { money, NO_VALUE, percent, quantity, sentenceCase } from "./format.ts";

/** Names that differ from their setting in sentence case. */
const LIMIT_LABELS: Readonly<Record<string, string>> = {
  max_position: "Max position (units)",
  max_position_size: "Max position value",
  max_portfolio_leverage: "Max leverage",
  stale_price_s: "Max price age (s)",
  reserve_bps: "Market order reserve (bps)",
  price_collar_bps: "Price collar (bps)",
  duplicate_window_s: "Duplicate order window (s)",
  prevent_self_trade: "Self-trade prevention",
  max_orders_in_window: "Max orders per window",
  order_window_s: "Order rate window (s)",
  max_amends_in_window: "Max order changes per window",
  allow_short: "Short selling allowed",
  allow_reversal: "Reversal in one order allowed",
  max_volume_share: "Max share of average volume",
  volume_days: "Average volume period (days)",
  shortfall_confidence: "Expected shortfall confidence",
  shortfall_method: "Expected shortfall method",
  shortfall_days: "Expected shortfall period (days)",
  day_trade_equity_min: "Day trade rule: min equity",
  wash_sale_days: "Wash sale period (days)",
  circuit_breaker_threshold: "Circuit breaker: daily loss",
  usage_interval_s: "Limit usage interval (s)",
  margin: "Margin account",
};

const MEASURE_LABELS: Readonly<Record<string, string>> = {
  day_fall: "Daily loss (%)",
  position_size: "Position value",
  portfolio_leverage: "Leverage",
  margin_initial: "Initial margin",
  margin_maintenance: "Maintenance margin",
  reject_rate: "Reject rate",
  loss_streak: "Losing trades in a row",
  staleness: "Price age (s)",
  lag: "Feed lag (s)",
};

const CHECK_LABELS: Readonly<Record<string, string>> = {
  known_price: "Market data",
  stale_price: "Price age",
  duplicate: "Duplicate order",
  reconciling: "Broker reconciliation",
  self_trade: "Self-trade",
  max_position: "Max position",
  max_position_size: "Max position value",
  max_portfolio_leverage: "Max leverage",
  margin_initial: "Initial margin",
};

const FRACTION_LIMITS = new Set([
  "max_concentration",
  "max_sector_share",
  "max_group_share",
  "max_volume_share",
  "max_drawdown",
  "shortfall_confidence",
  "circuit_breaker_threshold",
]);
const FRACTION_MEASURES = new Set(["day_fall", "drawdown", "reject_rate"]);
const COUNT_MEASURES = new Set(["open_orders", "day_trades", "loss_streak"]);
const RATIO_MEASURES = new Set(["portfolio_leverage", "volatility_jump", "staleness", "lag"]);

export function limitLabel(name: string): string {
  return LIMIT_LABELS[name] ?? sentenceCase(name);
}

/** The label of a measure. `day_fall` is a fraction of equity, `daily_loss` an amount. */
export function measureLabel(name: string): string {
  return MEASURE_LABELS[name] ?? sentenceCase(name);
}

/** Whether a measure is a halt by the exchange, which has no threshold and which nobody can release here. */
export function isExchangeHalt(measure: string): boolean {
  return measure === "exchange_halt";
}

export function checkLabel(name: string): string {
  return CHECK_LABELS[name] ?? sentenceCase(name);
}

/** Formats the value of a measure: a fraction as percent, a count as a whole number, all else as money. */
export function measureValue(name: string, value: number | null): string {
  if (value === null) return NO_VALUE;
  if (FRACTION_MEASURES.has(name)) return percent(value);
  if (COUNT_MEASURES.has(name)) return quantity(value);
  return RATIO_MEASURES.has(name) ? quantity(Math.round(value * 1e4) / 1e4) : money(value);
}

/** Formats the value of a limit. An unset limit of the kind "max" rejects every order. */
export function limitValue(name: string, value: boolean | number | string | null): string {
  if (value === null) return isUnsetLimit(name, value) ? "not set: rejects all orders" : "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") return value;
  return FRACTION_LIMITS.has(name) ? percent(value) : quantity(value);
}

export function isUnsetLimit(name: string, value: boolean | number | string | null): boolean {
  return value === null && name.startsWith("max_");
}

/** One risk check with its value: "Price age: 0 (limit 300)", "Kill switch: ACTIVE (required: ACTIVE)". */
export function checkText(result: { check: string; found: string; limit: string }): string {
  const { found, limit } = result;
  const bound = limit === "unlimited" ? "no limit" : limit === "not set" || /^[-\d]/.test(limit) ? `limit ${limit}` : `required: ${limit}`;
  return `${checkLabel(result.check)}: ${found} (${bound})`;
}

/** The outcome of a command in the audit log. */
export function outcomeText(outcome: string, symbol: string): string {
  const rejection = /^rejected (.*)$/s.exec(outcome)?.[1];
  return rejection === undefined ? outcome : `rejected: ${rejectionText(rejection, symbol)}`;
}

/** Replaces the check name at the start of a rejection message by its label: "Cash: AAPL order needs …". */
export function rejectionText(message: string, symbol: string): string {
  const [, check, rest] = /^([a-z][a-z_]*): (.*)$/s.exec(message) ?? [];
  if (check === undefined || rest === undefined) return message;
  if (check === "known_price") return `No market data for ${symbol}. Check the symbol.`;
  return `${checkLabel(check)}: ${rest}`;
}

/** What a request for approval releases or takes over, from its arguments. */
export function releaseText(request: Readonly<Record<string, string>>): string {
  const value = (name: string): string => request[name] ?? "";
  switch (request["kind"]) {
    case "SET_BREAKER":
      return `${measureLabel(value("measure"))}${value("key") === "" ? "" : ` of ${value("key")}`}`;
    case "ACCEPT_POSITION":
      return `Position of ${value("symbol")}: ${value("platform_quantity")} → ${value("broker_quantity")} at ${value("price")}`;
    case "ADJUSTMENT":
      return `Cash adjustment: ${value("amount")}`;
    case "RESUME_STRATEGY":
      return `Resume the strategy ${value("strategy")}`;
    case "FLATTEN_STRATEGY":
      return `Flatten the strategy ${value("strategy")}`;
    default:
      return "Kill switch";
  }
}
