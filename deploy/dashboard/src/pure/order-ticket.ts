/** Converts the text in the order form into a request to the API, or reports the first invalid field. */

export interface OrderDraft {
  readonly symbol: string;
  readonly side: string;
  readonly quantity: string;
  readonly orderType: string;
  readonly limitPrice: string;
  readonly stopPrice: string;
  readonly trail: string;
  /** Unit of `trail`: "percent" of the best price, or "amount" in currency. */
  readonly trailUnit: string;
  readonly timeInForce: string;
  /** The text of a `datetime-local` input, "2024-01-15T10:30", read as UTC. */
  readonly expiresAt: string;
  readonly reduceOnly: boolean;
  readonly takeProfit: string;
  readonly stopLoss: string;
  readonly stopLossLimit: string;
  readonly group: string;
  /** `cause_id` of the order that must fill first. */
  readonly parent: string;
}

export const EMPTY_DRAFT: OrderDraft = {
  symbol: "",
  side: "BUY",
  quantity: "",
  orderType: "MARKET",
  limitPrice: "",
  stopPrice: "",
  trail: "",
  trailUnit: "percent",
  timeInForce: "DAY",
  expiresAt: "",
  reduceOnly: false,
  takeProfit: "",
  stopLoss: "",
  stopLossLimit: "",
  group: "",
  parent: "",
};

/** The request body. Amounts are text, which the API reads as exact decimals. */
export interface OrderTicket {
  readonly symbol: string;
  readonly side: string;
  readonly quantity: string;
  readonly order_type: string;
  readonly time_in_force: string;
  readonly limit_price?: string;
  readonly stop_price?: string;
  readonly trail_amount?: string;
  readonly trail_percent?: string;
  readonly expires_at?: string;
  readonly reduce_only?: boolean;
  readonly take_profit_price?: string;
  readonly stop_loss_price?: string;
  readonly stop_loss_limit_price?: string;
  readonly group_id?: string;
  readonly parent_id?: string;
}

export interface FieldError {
  readonly field: keyof OrderDraft;
  readonly message: string;
}

export const ORDER_TYPES = ["MARKET", "LIMIT", "STOP", "STOP_LIMIT", "TRAILING_STOP"];

/** The price fields of the form, and the order types that require each. */
export type PriceField = "limitPrice" | "stopPrice" | "trail";
const ORDER_TYPES_WITH: Readonly<Record<PriceField, readonly string[]>> = {
  stopPrice: ["STOP", "STOP_LIMIT"],
  limitPrice: ["LIMIT", "STOP_LIMIT"],
  trail: ["TRAILING_STOP"],
};

export function requiresPrice(orderType: string, field: PriceField): boolean {
  return ORDER_TYPES_WITH[field].includes(orderType);
}

/** The times in force that risk accepts for an order type. Stop orders cannot be immediate or for an auction. */
export function allowedTimesInForce(orderType: string): readonly string[] {
  const resting = ["DAY", "GTC", "GTD"];
  return orderType === "MARKET" || orderType === "LIMIT" ? [...resting, "IOC", "FOK", "OPG", "CLS"] : resting;
}

const AMOUNT = /^\d{1,12}(\.\d{1,9})?$/;
const EXIT_FIELDS = [
  ["takeProfit", "take_profit_price", "take-profit price"],
  ["stopLoss", "stop_loss_price", "stop-loss price"],
  ["stopLossLimit", "stop_loss_limit_price", "stop-loss limit price"],
] as const;

/** A positive amount in the API's format, or null for invalid text. */
export function parseAmount(text: string): string | null {
  const amount = text.trim().replaceAll(",", "");
  return AMOUNT.test(amount) && Number(amount) > 0 ? amount : null;
}

/** Returns the request body or the first invalid field. Risk limits are not checked here. */
export function parseTicket(draft: OrderDraft): OrderTicket | FieldError {
  const symbol = draft.symbol.trim().toUpperCase();
  if (!/^[!-~]{1,32}$/.test(symbol)) return { field: "symbol", message: "Enter one symbol, for example AAPL." };
  const quantity = parseAmount(draft.quantity);
  if (quantity === null) return { field: "quantity", message: "Enter a quantity above 0." };
  const terms = { symbol, side: draft.side, quantity, order_type: draft.orderType, time_in_force: draft.timeInForce };
  const prices = parsePrices(draft);
  if (isFieldError(prices)) return prices;
  const options = parseOptions(draft);
  return isFieldError(options) ? options : { ...terms, ...prices, ...options };
}

function parsePrices(draft: OrderDraft): Partial<OrderTicket> | FieldError {
  const prices: Partial<Record<"limit_price" | "stop_price" | "trail_amount" | "trail_percent", string>> = {};
  const names = {
    stopPrice: ["stop_price", "stop price"],
    limitPrice: ["limit_price", "limit price"],
    trail: [draft.trailUnit === "percent" ? "trail_percent" : "trail_amount", "trailing distance"],
  } as const;
  for (const field of ["stopPrice", "limitPrice", "trail"] as const) {
    if (!requiresPrice(draft.orderType, field)) continue;
    const [name, label] = names[field];
    const amount = parseAmount(draft[field]);
    if (amount === null) return { field, message: `Enter a ${label} above 0.` };
    prices[name] = amount;
  }
  if (prices.trail_percent !== undefined && Number(prices.trail_percent) >= 100) {
    return { field: "trail", message: "Enter a trailing distance below 100 percent." };
  }
  return prices;
}

function parseOptions(draft: OrderDraft): Partial<OrderTicket> | FieldError {
  const options: Partial<Record<"take_profit_price" | "stop_loss_price" | "stop_loss_limit_price" | "expires_at", string>> = {};
  if (draft.timeInForce === "GTD") {
    const expiry = new Date(`${draft.expiresAt}Z`);
    if (Number.isNaN(expiry.getTime())) return { field: "expiresAt", message: "Enter the date and time at which the order expires." };
    options.expires_at = expiry.toISOString();
  }
  for (const [field, name, label] of EXIT_FIELDS) {
    if (draft[field].trim() === "") continue;
    const amount = parseAmount(draft[field]);
    if (amount === null) return { field, message: `Enter a ${label} above 0, or leave it empty.` };
    options[name] = amount;
  }
  if (options.stop_loss_limit_price !== undefined && options.stop_loss_price === undefined) {
    return { field: "stopLoss", message: "A stop-loss limit price needs a stop-loss price." };
  }
  const group = draft.group.trim();
  if (!/^[!-~]{0,64}$/.test(group)) return { field: "group", message: "Enter a group name without spaces, 64 characters at most." };
  return {
    ...options,
    ...(draft.reduceOnly ? { reduce_only: true } : {}),
    ...(group === "" ? {} : { group_id: group }),
    ...(draft.parent === "" ? {} : { parent_id: draft.parent }),
  };
}

export function isFieldError(result: object): result is FieldError {
  return "message" in result;
}

/** The terms of a working order that a change can affect. */
export interface OrderTerms {
  readonly order_type: string;
  readonly quantity: number;
  readonly limit_price: number | null;
  readonly stop_price: number | null;
  readonly trail_amount: number | null;
  readonly trail_percent: number | null;
}

export const EDITABLE_FIELDS = [
  ["quantity", "Total quantity, including filled"],
  ["stop_price", "Stop price"],
  ["limit_price", "Limit price"],
  ["trail_amount", "Trailing distance (price)"],
  ["trail_percent", "Trailing distance (%)"],
] as const;
export type EditableField = (typeof EDITABLE_FIELDS)[number][0];

/** The editable terms that this order has, as the initial text of the form. */
export function editableTerms(order: OrderTerms): Partial<Record<EditableField, string>> {
  const present = EDITABLE_FIELDS.map(([name]) => [name, order[name]] as const).filter(([, value]) => value !== null);
  return Object.fromEntries(present.map(([name, value]) => [name, plainNumber(value)]));
}

/** Returns the terms that differ from the order, in the API's format, or an error message. */
export function parseChanges(order: OrderTerms, input: Partial<Record<EditableField, string>>): Partial<Record<EditableField, string>> | string {
  const changes: Partial<Record<EditableField, string>> = {};
  for (const [name, label] of EDITABLE_FIELDS) {
    const text = input[name];
    if (text === undefined || order[name] === null) continue;
    const amount = parseAmount(text);
    if (amount === null) return `${label}: enter a number above 0.`;
    if (Number(amount) !== order[name]) changes[name] = amount;
  }
  return Object.keys(changes).length === 0 ? "Change at least one value." : changes;
}

/** Formats a number without an exponent, so that `parseAmount` accepts it. */
function plainNumber(value: number | null): string {
  return value === null ? "" : value.toLocaleString("en-US", { useGrouping: false, maximumFractionDigits: 9 });
}
