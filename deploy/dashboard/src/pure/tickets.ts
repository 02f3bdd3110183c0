/** What a person typed into the order form, as the API takes it, or the sentence that says what is wrong with it. */

export interface Draft {
  readonly symbol: string;
  readonly side: string;
  readonly quantity: string;
  readonly orderType: string;
  readonly limitPrice: string;
  readonly stopPrice: string;
  readonly timeInForce: string;
}

/** Amounts are text: the API reads them exactly. */
export interface Ticket {
  readonly symbol: string;
  readonly side: string;
  readonly quantity: string;
  readonly order_type: string;
  readonly limit_price?: string;
  readonly stop_price?: string;
  readonly time_in_force: string;
}

export interface Mistake {
  readonly field: keyof Draft;
  readonly message: string;
}

const AMOUNT = /^\d{1,12}(\.\d{1,9})?$/;

/** The ticket, or the first mistake. Whether risk will have it is not for the form to say. */
export function ticketOf(draft: Draft): Ticket | Mistake {
  const symbol = draft.symbol.trim().toUpperCase();
  if (!/^[!-~]{1,32}$/.test(symbol)) return { field: "symbol", message: "Name one symbol, for example AAPL." };
  const quantity = draft.quantity.trim().replaceAll(",", "");
  if (!AMOUNT.test(quantity) || Number(quantity) <= 0) {
    return { field: "quantity", message: "The quantity must be a number above 0." };
  }
  const terms = { symbol, side: draft.side, quantity, order_type: draft.orderType, time_in_force: draft.timeInForce };
  const prices: { limit_price?: string; stop_price?: string } = {};
  for (const [field, name] of PRICES) {
    if (!needs(draft.orderType, field)) continue;
    const found = draft[field].trim().replaceAll(",", "");
    if (!AMOUNT.test(found) || Number(found) <= 0) {
      return { field, message: `This type of order needs a ${name.replace("_", " ")} above 0.` };
    }
    prices[name] = found;
  }
  return { ...terms, ...prices };
}

const PRICES = [
  ["stopPrice", "stop_price"],
  ["limitPrice", "limit_price"],
] as const;

/** Whether an order of this type has this price. */
export function needs(orderType: string, field: "limitPrice" | "stopPrice"): boolean {
  return orderType.includes(field === "limitPrice" ? "LIMIT" : "STOP");
}

export function isMistake(found: Ticket | Mistake): found is Mistake {
  return "message" in found;
}
