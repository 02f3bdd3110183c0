/** The order form. An order that nobody has answered for is sent again under the same key: it is never made twice. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";

import { call, useResource } from "../net/api.ts";
import { bars } from "../net/live.ts";
import { ApiError } from "../net/session.ts";
import type { Forecast, OrderDetail, OrderPage, Submitted } from "../net/types.ts";
import { Choice, More, Text, type Form } from "../parts/fields.tsx";
import { OPEN } from "../parts/orders.tsx";
import { Panel } from "../parts/panel.tsx";
import { followed, Sent } from "../parts/sent.tsx";
import { money, price, quantity } from "../pure/format.ts";
import { kind, prices } from "../pure/orders.ts";
import { EMPTY, isMistake, needs, ticketOf, timesInForce, TYPES, type Draft, type Mistake, type Ticket } from "../pure/tickets.ts";

const IN_FORCE: Readonly<Record<string, string>> = {
  DAY: "Day",
  GTC: "Till cancelled (GTC)",
  GTD: "Till a date (GTD)",
  IOC: "At once or not (IOC)",
  FOK: "All at once or not (FOK)",
  OPG: "At the open (OPG)",
  CLS: "At the close (CLS)",
};

export function EntryForm(props: { symbols: readonly string[] }): JSX.Element {
  const [draft, setDraft] = useState<Draft>(EMPTY);
  const [mistake, setMistake] = useState<Mistake | null>(null);
  const [error, setError] = useState("");
  // What risk said of the ticket that stands in the form: a change of the form takes it back.
  const [told, setTold] = useState<Forecast | null>(null);
  const [busy, setBusy] = useState(false);
  // Stays as long as the order may or may not have arrived.
  const [key, setKey] = useState(newKey);

  const change = (part: Partial<Draft>): void => {
    const next = { ...draft, ...part };
    setDraft(timesInForce(next.orderType).includes(next.timeInForce) ? next : { ...next, timeInForce: "DAY" });
    setMistake(null);
    setTold(null);
    setError("");
    setKey(newKey());
  };
  const attempt = async (act: (ticket: Ticket) => Promise<void>): Promise<void> => {
    const ticket = ticketOf(draft);
    setError("");
    if (isMistake(ticket)) {
      setMistake(ticket);
      return;
    }
    setBusy(true);
    try {
      await act(ticket);
    } catch (found) {
      if (!(found instanceof ApiError)) throw found;
      setError(found.message);
      setTold(null);
    } finally {
      setBusy(false);
    }
  };
  const ask = async (ticket: Ticket): Promise<Forecast> => {
    const forecast = await call<Forecast>("POST", "/api/v1/risk/validate", ticket);
    setTold(forecast);
    return forecast;
  };
  const send = async (ticket: Ticket): Promise<void> => {
    try {
      const answer = await call<Submitted>("POST", "/api/v1/orders", ticket, { "Idempotency-Key": key });
      setKey(newKey());
      setTold(null);
      followed(submitted(answer, ticket));
    } catch (found) {
      if (!(found instanceof ApiError) || !found.passing) {
        setKey(newKey());
        throw found;
      }
      setError(`${found.message} Whether the order arrived is not known: send it again, it is not made twice.`);
    }
  };
  // Who sends what risk would refuse once more wants it nevertheless: risk decides anew, at the prices of its tick.
  const against = told !== null && !told.approved;
  const submit = (event: Event): void => {
    event.preventDefault();
    void attempt(async (ticket) => {
      if (against || (await ask(ticket)).approved) await send(ticket);
    });
  };
  const last = bars.value.get(draft.symbol.trim().toUpperCase());
  const form: Form = { draft, mistake, change };

  return (
    <Panel title="New order" class="entry">
      <form onSubmit={submit} noValidate>
        <Text form={form} field="symbol" label="Symbol" name="symbol" list="symbols" />
        <datalist id="symbols">
          {props.symbols.map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
        <fieldset>
          <legend>Side</legend>
          {["BUY", "SELL"].map((one) => (
            <label key={one} class={`side ${one.toLowerCase()}`}>
              <input type="radio" name="side" value={one} checked={draft.side === one} onChange={() => change({ side: one })} />
              {one}
            </label>
          ))}
        </fieldset>
        <Text form={form} field="quantity" label="Quantity" name="quantity" amount />
        <Choice form={form} field="orderType" label="Type" name="order_type" options={TYPES.map((one) => [one, kind(one)])} />
        <Prices form={form} />
        <Choice
          form={form}
          field="timeInForce"
          label="In force"
          name="time_in_force"
          options={timesInForce(draft.orderType).map((one) => [one, IN_FORCE[one] ?? one])}
        />
        {draft.timeInForce === "GTD" && <Text form={form} field="expiresAt" label="Until (UTC)" name="expires_at" type="datetime-local" />}
        <label class="check">
          <input
            type="checkbox"
            name="reduce_only"
            checked={draft.reduceOnly}
            onChange={(event) => change({ reduceOnly: event.currentTarget.checked })}
          />
          Only reduce what is held
        </label>
        <Exits form={form} />
        <Ties form={form} />
        <p class="note">{last === undefined ? "Last price: –" : `Last price: ${price(last.price)}, about ${about(draft, last.price)}`}</p>
        {error !== "" && (
          <p class="failing" role="alert">
            {error}
          </p>
        )}
        {told !== null && <Answer forecast={told} />}
        <div class="buttons">
          <button type="button" disabled={busy} onClick={() => void attempt(async (ticket) => void (await ask(ticket)))}>
            Ask risk
          </button>
          <button type="submit" class={draft.side === "BUY" ? "buy" : "sell"} disabled={busy}>
            {draft.side === "BUY" ? "Buy" : "Sell"} {draft.symbol.trim().toUpperCase()} {against && "nevertheless"}
          </button>
        </div>
      </form>
      <Sent />
    </Panel>
  );
}

/** The prices that the type has. */
function Prices(props: { form: Form }): JSX.Element {
  const { form } = props;
  const type = form.draft.orderType;
  return (
    <>
      {needs(type, "stopPrice") && <Text form={form} field="stopPrice" label="Stop price" name="stop_price" amount />}
      {needs(type, "limitPrice") && <Text form={form} field="limitPrice" label="Limit price" name="limit_price" amount />}
      {needs(type, "trail") && (
        <div class="two">
          <Text form={form} field="trail" label="Distance" name="trail" amount />
          <Choice
            form={form}
            field="trailBy"
            label="Given in"
            name="trail_by"
            options={[
              ["percent", "percent"],
              ["amount", "price"],
            ]}
          />
        </div>
      )}
    </>
  );
}

/** The exits of a bracket. */
function Exits(props: { form: Form }): JSX.Element {
  const { form } = props;
  const { takeProfit, stopLoss, stopLossLimit } = form.draft;
  return (
    <More title="Bracket: exits after the fill" set={takeProfit + stopLoss + stopLossLimit !== ""}>
      {() => (
        <div>
          <Text form={form} field="takeProfit" label="Take profit at" name="take_profit_price" amount />
          <Text form={form} field="stopLoss" label="Stop loss at" name="stop_loss_price" amount />
          {stopLoss + stopLossLimit !== "" && (
            <Text form={form} field="stopLossLimit" label="With a limit of (none: at the market)" name="stop_loss_limit_price" amount />
          )}
          <p class="note">They wait for the fill; then one cancels the other.</p>
        </div>
      )}
    </More>
  );
}

/** What an order has to do with others. */
function Ties(props: { form: Form }): JSX.Element {
  const { group, parent } = props.form.draft;
  return (
    <More title="Tied to other orders" set={group + parent !== ""}>
      {() => <Tied form={props.form} />}
    </More>
  );
}

function Tied(props: { form: Form }): JSX.Element {
  const { form } = props;
  const known = useResource<OrderPage>("/api/v1/orders?limit=100", 5000).value;
  const working = (known.data?.orders ?? []).filter((one) => OPEN.has(one.status) || one.cause_id === form.draft.parent);
  const told = (one: OrderPage["orders"][number]): string =>
    `${one.side} ${quantity(one.quantity)} ${one.symbol} ${prices(one) === "–" ? kind(one.order_type) : prices(one)}`;
  return (
    <div>
      <Text form={form} field="group" label="Group: one cancels the others (OCO)" name="group_id" list="groups" />
      <datalist id="groups">
        {[...new Set(working.map((one) => one.group_id))]
          .filter((one) => one !== "")
          .map((one) => (
            <option key={one} value={one} />
          ))}
      </datalist>
      <Choice
        form={form}
        field="parent"
        label="Works after the fill of (OTO)"
        name="parent_id"
        options={[["", "no other order"], ...working.map((one) => [one.cause_id, told(one)] as const)]}
      />
    </div>
  );
}

function about(draft: Draft, last: number): string {
  const size = Number(draft.quantity.replaceAll(",", ""));
  return money(Number.isFinite(size) && size > 0 ? size * last : null);
}

/** Risk's forecast: every check that it came to. */
function Answer(props: { forecast: Forecast }): JSX.Element {
  const { approved, message, checks } = props.forecast;
  return (
    <div class="forecast" role="status">
      <p class={approved ? "up" : "failing"}>{approved ? "Risk would approve it now." : `Risk would refuse it: ${message ?? ""}`}</p>
      <details>
        <summary>{checks.length} checks</summary>
        <ul>
          {checks.map((one) => (
            <li key={one.check}>
              {one.check}: {one.found} (limit {one.limit})
            </li>
          ))}
        </ul>
      </details>
    </div>
  );
}

/** The order as far as it is known before risk has decided. */
function submitted(answer: Submitted, ticket: Ticket): OrderDetail {
  const number = (text: string | undefined): number | null => (text === undefined ? null : Number(text));
  return {
    order_id: answer.order_id,
    symbol: ticket.symbol,
    side: ticket.side,
    quantity: Number(ticket.quantity),
    filled_quantity: 0,
    avg_fill_price: null,
    status: answer.status,
    submitted_at: answer.submitted_at,
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
    checks: [],
  };
}

/** `crypto.randomUUID` exists only where the page came over TLS or from this machine. */
function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
