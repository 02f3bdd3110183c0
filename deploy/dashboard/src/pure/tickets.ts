/** What a person typed into the order form, as the API takes it, or the sentence that says what is wrong with it. */

export interface Draft {
  readonly symbol: string;
  readonly side: string;
  readonly quantity: string;
  readonly orderType: string;
  readonly limitPrice: string;
  readonly stopPrice: string;
  readonly trail: string;
  /** "percent" of the best price, or "amount" in its currency. */
  readonly trailBy: string;
  readonly timeInForce: string;
  /** As `datetime-local` gives it, "2024-01-15T10:30", read as UTC. */
  readonly expiresAt: string;
  readonly reduceOnly: boolean;
  readonly takeProfit: string;
  readonly stopLoss: string;
  readonly stopLossLimit: string;
  readonly group: string;
  /** The `cause_id` of the order whose fill is waited for. */
  readonly parent: string;
}

export const EMPTY: Draft = {
  symbol: "",
  side: "BUY",
  quantity: "",
  orderType: "MARKET",
  limitPrice: "",
  stopPrice: "",
  trail: "",
  trailBy: "percent",
  timeInForce: "DAY",
  expiresAt: "",
  reduceOnly: false,
  takeProfit: "",
  stopLoss: "",
  stopLossLimit: "",
  group: "",
  parent: "",
};

/** Amounts are text: the API reads them exactly. */
export interface Ticket {
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

export interface Mistake {
  readonly field: keyof Draft;
  readonly message: string;
}

export const TYPES = ["MARKET", "LIMIT", "STOP", "STOP_LIMIT", "TRAILING_STOP"];

/** The terms of an order that are prices or distances, and which types have them. */
export type PriceField = "limitPrice" | "stopPrice" | "trail";
const TYPES_OF: Readonly<Record<PriceField, readonly string[]>> = {
  stopPrice: ["STOP", "STOP_LIMIT"],
  limitPrice: ["LIMIT", "STOP_LIMIT"],
  trail: ["TRAILING_STOP"],
};

/** Whether an order of this type has this price. */
export function needs(orderType: string, field: PriceField): boolean {
  return TYPES_OF[field].includes(orderType);
}

/** The times in force that risk takes with this type. What rests until a trigger cannot be for one moment only. */
export function timesInForce(orderType: string): readonly string[] {
  const lasting = ["DAY", "GTC", "GTD"];
  return orderType === "MARKET" || orderType === "LIMIT" ? [...lasting, "IOC", "FOK", "OPG", "CLS"] : lasting;
}

const AMOUNT = /^\d{1,12}(\.\d{1,9})?$/;
const EXITS = [
  ["takeProfit", "take_profit_price", "take profit"],
  ["stopLoss", "stop_loss_price", "stop loss"],
  ["stopLossLimit", "stop_loss_limit_price", "stop loss limit"],
] as const;

/** A positive amount as the API takes it, null for anything else. */
export function amountOf(text: string): string | null {
  const found = text.trim().replaceAll(",", "");
  return AMOUNT.test(found) && Number(found) > 0 ? found : null;
}

/** The ticket, or the first mistake. Whether risk will have it is not for the form to say. */
export function ticketOf(draft: Draft): Ticket | Mistake {
  const symbol = draft.symbol.trim().toUpperCase();
  if (!/^[!-~]{1,32}$/.test(symbol)) return { field: "symbol", message: "Name one symbol, for example AAPL." };
  const quantity = amountOf(draft.quantity);
  if (quantity === null) return { field: "quantity", message: "The quantity must be a number above 0." };
  const terms = { symbol, side: draft.side, quantity, order_type: draft.orderType, time_in_force: draft.timeInForce };
  const prices = pricesOf(draft);
  if (isMistake(prices)) return prices;
  const rest = restOf(draft);
  return isMistake(rest) ? rest : { ...terms, ...prices, ...rest };
}

function pricesOf(draft: Draft): Partial<Ticket> | Mistake {
  const found: Partial<Record<"limit_price" | "stop_price" | "trail_amount" | "trail_percent", string>> = {};
  const names = {
    stopPrice: ["stop_price", "stop price"],
    limitPrice: ["limit_price", "limit price"],
    trail: [draft.trailBy === "percent" ? "trail_percent" : "trail_amount", "distance"],
  } as const;
  for (const field of ["stopPrice", "limitPrice", "trail"] as const) {
    if (!needs(draft.orderType, field)) continue;
    const [name, words] = names[field];
    const amount = amountOf(draft[field]);
    if (amount === null) return { field, message: `This type of order needs a ${words} above 0.` };
    found[name] = amount;
  }
  if (found.trail_percent !== undefined && Number(found.trail_percent) >= 100) {
    return { field: "trail", message: "A distance in percent must be below 100." };
  }
  return found;
}

function restOf(draft: Draft): Partial<Ticket> | Mistake {
  const found: Partial<Record<"take_profit_price" | "stop_loss_price" | "stop_loss_limit_price" | "expires_at", string>> = {};
  if (draft.timeInForce === "GTD") {
    const at = new Date(`${draft.expiresAt}Z`);
    if (Number.isNaN(at.getTime())) return { field: "expiresAt", message: "Until when is a GTD order good? Give day and time." };
    found.expires_at = at.toISOString();
  }
  for (const [field, name, words] of EXITS) {
    if (draft[field].trim() === "") continue;
    const amount = amountOf(draft[field]);
    if (amount === null) return { field, message: `The ${words} must be a price above 0, or nothing.` };
    found[name] = amount;
  }
  if (found.stop_loss_limit_price !== undefined && found.stop_loss_price === undefined) {
    return { field: "stopLoss", message: "A stop loss limit needs a stop loss." };
  }
  const group = draft.group.trim();
  if (!/^[!-~]{0,64}$/.test(group)) return { field: "group", message: "A group is one word of plain characters." };
  return {
    ...found,
    ...(draft.reduceOnly ? { reduce_only: true } : {}),
    ...(group === "" ? {} : { group_id: group }),
    ...(draft.parent === "" ? {} : { parent_id: draft.parent }),
  };
}

export function isMistake(found: object): found is Mistake {
  return "message" in found;
}

/** What can be changed about a working order, as the form shows it. */
export interface Terms {
  readonly order_type: string;
  readonly quantity: number;
  readonly limit_price: number | null;
  readonly stop_price: number | null;
  readonly trail_amount: number | null;
  readonly trail_percent: number | null;
}

export const CHANGEABLE = [
  ["quantity", "Quantity, filled units included"],
  ["stop_price", "Stop price"],
  ["limit_price", "Limit price"],
  ["trail_amount", "Distance"],
  ["trail_percent", "Distance in percent"],
] as const;
export type Changeable = (typeof CHANGEABLE)[number][0];

/** The terms that this order has and that may be changed, as texts to start from. */
export function changeable(order: Terms): Partial<Record<Changeable, string>> {
  const given = CHANGEABLE.map(([name]) => [name, order[name]] as const).filter(([, value]) => value !== null);
  return Object.fromEntries(given.map(([name, value]) => [name, plainNumber(value)]));
}

/** What differs from the order, as the API takes it, or the sentence that says what is wrong. */
export function changesOf(order: Terms, typed: Partial<Record<Changeable, string>>): Partial<Record<Changeable, string>> | string {
  const found: Partial<Record<Changeable, string>> = {};
  for (const [name, label] of CHANGEABLE) {
    const text = typed[name];
    if (text === undefined || order[name] === null) continue;
    const amount = amountOf(text);
    if (amount === null) return `${label}: give a number above 0.`;
    if (Number(amount) !== order[name]) found[name] = amount;
  }
  return Object.keys(found).length === 0 ? "Nothing is changed yet." : found;
}

/** Without an exponent: what is typed must be readable as an amount again. */
function plainNumber(value: number | null): string {
  return value === null ? "" : value.toLocaleString("en-US", { useGrouping: false, maximumFractionDigits: 9 });
}
