/** What a person typed into the order form, as the API takes it, or the sentence that says what is wrong with it. */

export interface Draft {
  readonly symbol: string;
  readonly side: string;
  readonly quantity: string;
  readonly orderType: string;
  readonly limitPrice: string;
  readonly timeInForce: string;
}

/** Amounts are text: the API reads them exactly. */
export interface Ticket {
  readonly symbol: string;
  readonly side: string;
  readonly quantity: string;
  readonly order_type: string;
  readonly limit_price?: string;
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
  if (draft.orderType !== "LIMIT") return terms;
  const limit = draft.limitPrice.trim().replaceAll(",", "");
  if (!AMOUNT.test(limit) || Number(limit) <= 0) {
    return { field: "limitPrice", message: "A limit order needs a limit price above 0." };
  }
  return { ...terms, limit_price: limit };
}

export function isMistake(found: Ticket | Mistake): found is Mistake {
  return "message" in found;
}
