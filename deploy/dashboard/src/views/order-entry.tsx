/** The order form. A retry after a lost response reuses its idempotency key, so that the order is placed only once. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";

import { call, useResource } from "../net/api.ts";
import { bars } from "../net/live.ts";
import { ApiError, newKey } from "../net/session.ts";
import type { Order, OrderCheck, OrderDetail, OrderPage, OrderReceipt } from "../net/types.ts";
import { OptionalFields, SelectField, TextField, type OrderForm } from "../parts/fields.tsx";
import { ErrorText } from "../parts/form.tsx";
import { OPEN_STATUSES } from "../parts/order-actions.tsx";
import { Panel } from "../parts/panel.tsx";
import { RecentOrders, trackOrder } from "../parts/recent-orders.tsx";
import { countOf, money, price, quantity } from "../pure/format.ts";
import {
  allowedTimesInForce,
  EMPTY_DRAFT,
  isFieldError,
  ORDER_TYPES,
  parseTicket,
  requiresPrice,
  type FieldError,
  type OrderDraft,
  type OrderTicket,
} from "../pure/order-ticket.ts";
import { orderText, orderTypeLabel } from "../pure/orders.ts";
import { checkText, rejectionText } from "../pure/risk.ts";

const TIME_IN_FORCE_LABELS: Readonly<Record<string, string>> = {
  DAY: "Day",
  GTC: "Good till cancelled (GTC)",
  GTD: "Good till date (GTD)",
  IOC: "Immediate or cancel (IOC)",
  FOK: "Fill or kill (FOK)",
  OPG: "At the open (OPG)",
  CLS: "At the close (CLS)",
};

export function OrderEntry(props: { symbols: readonly string[] }): JSX.Element {
  const [draft, setDraft] = useState<OrderDraft>(EMPTY_DRAFT);
  const [fieldError, setFieldError] = useState<FieldError | null>(null);
  const [error, setError] = useState("");
  // The risk check of the order in the form. Any change of the form clears it.
  const [check, setCheck] = useState<OrderCheck | null>(null);
  const [busy, setBusy] = useState(false);
  // Renewed once the API has accepted or rejected the order.
  const [idempotencyKey, setIdempotencyKey] = useState(newKey);

  const onChange = (change: Partial<OrderDraft>): void => {
    const next = { ...draft, ...change };
    setDraft(allowedTimesInForce(next.orderType).includes(next.timeInForce) ? next : { ...next, timeInForce: "DAY" });
    setFieldError(null);
    setCheck(null);
    setError("");
    setIdempotencyKey(newKey());
  };
  /** Validates the form, then runs `action`. Shows its error. */
  const run = async (action: (ticket: OrderTicket) => Promise<void>): Promise<void> => {
    const ticket = parseTicket(draft);
    setError("");
    if (isFieldError(ticket)) {
      setFieldError(ticket);
      return;
    }
    setBusy(true);
    try {
      await action(ticket);
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      setError(failure.message);
      setCheck(null);
    } finally {
      setBusy(false);
    }
  };
  const checkOrder = async (ticket: OrderTicket): Promise<OrderCheck> => {
    const result = await call<OrderCheck>("POST", "/api/v1/risk/validate", ticket);
    setCheck(result);
    return result;
  };
  const sendOrder = async (ticket: OrderTicket): Promise<void> => {
    try {
      const receipt = await call<OrderReceipt>("POST", "/api/v1/orders", ticket, { "Idempotency-Key": idempotencyKey });
      setIdempotencyKey(newKey());
      setCheck(null);
      trackOrder(submittedOrder(receipt, ticket));
    } catch (failure) {
      if (!(failure instanceof ApiError) || !failure.isTransient) {
        setIdempotencyKey(newKey());
        throw failure;
      }
      setError(`${failure.message} The order may have been received. Send it again: it will not be placed twice.`);
    }
  };
  // The second press sends an order that failed the check. Risk then checks it again, at current prices.
  const checkFailed = check !== null && !check.approved;
  const submit = (event: Event): void => {
    event.preventDefault();
    void run(async (ticket) => {
      if (checkFailed || (await checkOrder(ticket)).approved) await sendOrder(ticket);
    });
  };
  const symbol = draft.symbol.trim().toUpperCase();
  const last = bars.value.get(symbol);
  const form: OrderForm = { draft, fieldError, onChange };

  return (
    <Panel title="New order" class="order-entry">
      <form onSubmit={submit} noValidate>
        <TextField form={form} field="symbol" label="Symbol" name="symbol" list="symbols" />
        <datalist id="symbols">
          {props.symbols.map((name) => (
            <option key={name} value={name} />
          ))}
        </datalist>
        <fieldset>
          <legend>Side</legend>
          {["BUY", "SELL"].map((side) => (
            <label key={side} class={`side ${side.toLowerCase()}`}>
              <input type="radio" name="side" value={side} checked={draft.side === side} onChange={() => onChange({ side })} />
              {side}
            </label>
          ))}
        </fieldset>
        <TextField form={form} field="quantity" label="Quantity" name="quantity" numeric />
        <SelectField
          form={form}
          field="orderType"
          label="Order type"
          name="order_type"
          options={ORDER_TYPES.map((type) => [type, orderTypeLabel(type)])}
        />
        <PriceFields form={form} />
        <SelectField
          form={form}
          field="timeInForce"
          label="Time in force"
          name="time_in_force"
          options={allowedTimesInForce(draft.orderType).map((name) => [name, TIME_IN_FORCE_LABELS[name] ?? name])}
        />
        {draft.timeInForce === "GTD" && <TextField form={form} field="expiresAt" label="Expires (UTC)" name="expires_at" type="datetime-local" />}
        <label class="checkbox" title="The order can only reduce an existing position">
          <input
            type="checkbox"
            name="reduce_only"
            checked={draft.reduceOnly}
            onChange={(event) => onChange({ reduceOnly: event.currentTarget.checked })}
          />
          Reduce-only
        </label>
        <BracketFields form={form} />
        <LinkFields form={form} />
        <p class="note">
          Last price: {price(last?.price)}
          <br />
          Order value: {orderValue(draft, last?.price)}
        </p>
        <ErrorText text={error} />
        {check !== null && <CheckResults check={check} symbol={symbol} />}
        <div class="buttons">
          <button type="button" disabled={busy} onClick={() => void run(async (ticket) => void (await checkOrder(ticket)))}>
            Check order
          </button>
          <button type="submit" class={draft.side === "BUY" ? "buy" : "sell"} disabled={busy}>
            {checkFailed ? "Send anyway" : `${draft.side === "BUY" ? "Buy" : "Sell"} ${symbol}`}
          </button>
        </div>
      </form>
      <RecentOrders />
    </Panel>
  );
}

/** The prices of the selected order type. */
function PriceFields(props: { form: OrderForm }): JSX.Element {
  const { form } = props;
  const type = form.draft.orderType;
  return (
    <>
      {requiresPrice(type, "stopPrice") && <TextField form={form} field="stopPrice" label="Stop price" name="stop_price" numeric />}
      {requiresPrice(type, "limitPrice") && <TextField form={form} field="limitPrice" label="Limit price" name="limit_price" numeric />}
      {requiresPrice(type, "trail") && (
        <div class="two-columns">
          <TextField form={form} field="trail" label="Trailing distance" name="trail" numeric />
          <SelectField
            form={form}
            field="trailUnit"
            label="Unit"
            name="trail_unit"
            options={[
              ["percent", "Percent"],
              ["amount", "Price"],
            ]}
          />
        </div>
      )}
    </>
  );
}

/** The exit orders of a bracket. */
function BracketFields(props: { form: OrderForm }): JSX.Element {
  const { form } = props;
  const { takeProfit, stopLoss, stopLossLimit } = form.draft;
  return (
    <OptionalFields title="Take profit and stop loss (bracket)" hasValue={takeProfit + stopLoss + stopLossLimit !== ""}>
      {() => (
        <div>
          <TextField form={form} field="takeProfit" label="Take-profit price" name="take_profit_price" numeric />
          <TextField form={form} field="stopLoss" label="Stop-loss price" name="stop_loss_price" numeric />
          {stopLoss + stopLossLimit !== "" && (
            <TextField form={form} field="stopLossLimit" label="Stop-loss limit price (empty: market)" name="stop_loss_limit_price" numeric />
          )}
          <p class="note">Both exits become active after the fill. A fill of one cancels the other.</p>
        </div>
      )}
    </OptionalFields>
  );
}

/** Links to other orders: one-cancels-other (OCO) and one-triggers-other (OTO). */
function LinkFields(props: { form: OrderForm }): JSX.Element {
  const { group, parent } = props.form.draft;
  return (
    <OptionalFields title="Linked orders (OCO, OTO)" hasValue={group + parent !== ""}>
      {() => <LinkedOrders form={props.form} />}
    </OptionalFields>
  );
}

function LinkedOrders(props: { form: OrderForm }): JSX.Element {
  const { form } = props;
  const orders = useResource<OrderPage>("/api/v1/orders?limit=100", 5000).value;
  const open = (orders.data?.orders ?? []).filter((order) => OPEN_STATUSES.has(order.status) || order.cause_id === form.draft.parent);
  return (
    <div>
      <TextField form={form} field="group" label="OCO group: a fill cancels the others" name="group_id" list="groups" />
      <datalist id="groups">
        {[...new Set(open.map((order) => order.group_id))]
          .filter((name) => name !== "")
          .map((name) => (
            <option key={name} value={name} />
          ))}
      </datalist>
      <SelectField
        form={form}
        field="parent"
        label="Activate after fill of (OTO)"
        name="parent_id"
        options={[["", "None"], ...open.map((order) => [order.cause_id, orderSummary(order)] as const)]}
      />
    </div>
  );
}

function orderSummary(order: Order): string {
  return `${order.side} ${quantity(order.quantity)} ${order.symbol} ${orderText(order)}`;
}

/** The quantity in the form at the last price. */
function orderValue(draft: OrderDraft, last: number | undefined): string {
  const size = Number(draft.quantity.replaceAll(",", ""));
  return money(last !== undefined && Number.isFinite(size) && size > 0 ? size * last : null);
}

/** The result of the risk check, with every check up to the first that failed. */
function CheckResults(props: { check: OrderCheck; symbol: string }): JSX.Element {
  const { approved, message, checks } = props.check;
  return (
    <div class="check-result" role="status">
      {approved ? (
        <p class="up">Passes all risk checks.</p>
      ) : (
        <p class="error">Fails the risk checks. {rejectionText(message ?? "", props.symbol)}</p>
      )}
      <details>
        <summary>{countOf(checks.length, "check")}</summary>
        <ul>
          {checks.map((result) => (
            <li key={result.check}>{checkText(result)}</li>
          ))}
        </ul>
      </details>
    </div>
  );
}

/** The order as known before risk has decided. */
function submittedOrder(receipt: OrderReceipt, ticket: OrderTicket): OrderDetail {
  const number = (text: string | undefined): number | null => (text === undefined ? null : Number(text));
  return {
    order_id: receipt.order_id,
    symbol: ticket.symbol,
    side: ticket.side,
    quantity: Number(ticket.quantity),
    filled_quantity: 0,
    avg_fill_price: null,
    status: receipt.status,
    submitted_at: receipt.submitted_at,
    filled_at: null,
    order_type: ticket.order_type,
    limit_price: number(ticket.limit_price),
    stop_price: number(ticket.stop_price),
    trail_amount: number(ticket.trail_amount),
    trail_percent: number(ticket.trail_percent),
    time_in_force: ticket.time_in_force,
    expires_at: ticket.expires_at ?? null,
    reduce_only: ticket.reduce_only ?? false,
    group_id: ticket.group_id ?? "",
    parent_id: ticket.parent_id ?? "",
    replaces: "",
    fees: 0,
    cause_id: "",
    reason: null,
    waiting_for: null,
    checks: [],
  };
}
