/** The order form. An order that nobody has answered for is sent again under the same key: it is never made twice. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";

import { call, refresh } from "../net/api.ts";
import { bars } from "../net/live.ts";
import { ApiError } from "../net/session.ts";
import type { Forecast, OrderDetail, Submitted } from "../net/types.ts";
import { CancelButton, OPEN, Status } from "../parts/orders.tsx";
import { Panel } from "../parts/panel.tsx";
import { WhyButton } from "../parts/why.tsx";
import { money, price, quantity } from "../pure/format.ts";
import { isMistake, needs, ticketOf, type Draft, type Mistake, type Ticket } from "../pure/tickets.ts";

const EMPTY: Draft = { symbol: "", side: "BUY", quantity: "", orderType: "MARKET", limitPrice: "", stopPrice: "", timeInForce: "DAY" };
const TYPES = ["MARKET", "LIMIT", "STOP", "STOP_LIMIT"];
const IN_FORCE = ["DAY", "GTC", "IOC", "FOK"];
const PRICES = [
  ["stopPrice", "stop_price", "Stop price"],
  ["limitPrice", "limit_price", "Limit price"],
] as const;
const ASK_EVERY_MS = 400;

/** Orders of this tab, newest first. */
const sent = signal<readonly OrderDetail[]>([]);

export function EntryForm(props: { symbols: readonly string[] }): JSX.Element {
  const [draft, setDraft] = useState<Draft>(EMPTY);
  const [mistake, setMistake] = useState<Mistake | null>(null);
  const [error, setError] = useState("");
  const [forecast, setForecast] = useState<Forecast | null>(null);
  const [busy, setBusy] = useState(false);
  // Stays as long as the order may or may not have arrived.
  const [key, setKey] = useState(newKey);

  const change = (part: Partial<Draft>): void => {
    setDraft({ ...draft, ...part });
    setMistake(null);
    setForecast(null);
    setError("");
    setKey(newKey());
  };
  const attempt = async (act: (ticket: Ticket) => Promise<void>): Promise<void> => {
    const ticket = ticketOf(draft);
    setError("");
    setForecast(null);
    if (isMistake(ticket)) {
      setMistake(ticket);
      return;
    }
    setBusy(true);
    try {
      await act(ticket);
    } catch (found) {
      if (!(found instanceof ApiError)) throw found;
      setError(found.passing ? `${found.message} Whether the order arrived is not known: send it again, it is not made twice.` : found.message);
      if (!found.passing) setKey(newKey());
    } finally {
      setBusy(false);
    }
  };
  const submit = (event: Event): void => {
    event.preventDefault();
    void attempt(async (ticket) => {
      const answer = await call<Submitted>("POST", "/api/v1/orders", ticket, { "Idempotency-Key": key });
      setKey(newKey());
      follow(answer, ticket);
    });
  };
  const ask = (): void => {
    void attempt(async (ticket) => setForecast(await call<Forecast>("POST", "/api/v1/risk/validate", ticket)));
  };
  const last = bars.value.get(draft.symbol.trim().toUpperCase());
  const wrong = (field: keyof Draft): JSX.Element | null =>
    mistake?.field === field ? (
      <span class="failing" role="alert">
        {mistake.message}
      </span>
    ) : null;

  return (
    <Panel title="New order" class="entry">
      <form onSubmit={submit} noValidate>
        <label>
          Symbol
          <input
            name="symbol"
            list="symbols"
            autoComplete="off"
            autoCapitalize="characters"
            value={draft.symbol}
            aria-invalid={mistake?.field === "symbol"}
            onInput={(event) => change({ symbol: event.currentTarget.value })}
          />
          {wrong("symbol")}
        </label>
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
        <label>
          Quantity
          <input
            name="quantity"
            inputMode="decimal"
            autoComplete="off"
            value={draft.quantity}
            aria-invalid={mistake?.field === "quantity"}
            onInput={(event) => change({ quantity: event.currentTarget.value })}
          />
          {wrong("quantity")}
        </label>
        <div class="two">
          <label>
            Type
            <select name="order_type" value={draft.orderType} onChange={(event) => change({ orderType: event.currentTarget.value })}>
              {TYPES.map((one) => (
                <option key={one} value={one}>
                  {one.replace("_", " ")}
                </option>
              ))}
            </select>
          </label>
          <label>
            In force
            <select
              name="time_in_force"
              value={draft.timeInForce}
              onChange={(event) => change({ timeInForce: event.currentTarget.value })}
            >
              {IN_FORCE.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
        </div>
        {PRICES.filter(([field]) => needs(draft.orderType, field)).map(([field, name, label]) => (
          <label key={field}>
            {label}
            <input
              name={name}
              inputMode="decimal"
              autoComplete="off"
              value={draft[field]}
              aria-invalid={mistake?.field === field}
              onInput={(event) => change({ [field]: event.currentTarget.value })}
            />
            {wrong(field)}
          </label>
        ))}
        <p class="note">{last === undefined ? "Last price: –" : `Last price: ${price(last.price)}, about ${about(draft, last.price)}`}</p>
        {error !== "" && (
          <p class="failing" role="alert">
            {error}
          </p>
        )}
        <div class="buttons">
          <button type="button" disabled={busy} onClick={ask}>
            Ask risk
          </button>
          <button type="submit" class={draft.side === "BUY" ? "buy" : "sell"} disabled={busy}>
            {draft.side === "BUY" ? "Buy" : "Sell"} {draft.symbol.trim().toUpperCase()}
          </button>
        </div>
      </form>
      {forecast !== null && <Answer forecast={forecast} />}
      <Sent />
    </Panel>
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

function Sent(): JSX.Element | null {
  const orders = sent.value;
  useEffect(() => {
    const timer = setInterval(() => void look(), ASK_EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  if (orders.length === 0) return null;
  return (
    <div class="sent" aria-live="polite">
      <h3>Sent from here</h3>
      <ul>
        {orders.map((one) => (
          <li key={one.order_id} data-order={one.order_id} data-status={one.status}>
            <span class={one.side === "BUY" ? "buy" : "sell"}>
              {one.side} {quantity(one.quantity)} {one.symbol}
            </span>{" "}
            {one.limit_price !== null && `at ${price(one.limit_price)} `}
            <Status order={one} />
            {one.avg_fill_price !== null && ` at ${price(one.avg_fill_price)}`}
            <span class="buttons">
              {OPEN.has(one.status) && <CancelButton id={one.order_id} />}
              <WhyButton id={one.order_id} />
            </span>
          </li>
        ))}
      </ul>
    </div>
  );
}

let looking = false;

/** Ask about the newest that is not decided; one request at a time. */
async function look(): Promise<void> {
  const open = sent.peek().filter((one) => OPEN.has(one.status));
  if (looking || open.length === 0) return;
  looking = true;
  try {
    for (const one of open) await update(one.order_id);
  } finally {
    looking = false;
  }
}

async function update(id: string): Promise<void> {
  try {
    const found = await call<OrderDetail>("GET", `/api/v1/orders/${encodeURIComponent(id)}`);
    const before = sent.peek().find((one) => one.order_id === id);
    sent.value = sent.peek().map((one) => (one.order_id === id ? found : one));
    if (before?.status !== found.status) refresh("/api/v1/orders");
  } catch (error) {
    // Not in Postgres yet, or the API is away: the order stays as it was shown, and is asked about again.
    if (!(error instanceof ApiError)) throw error;
  }
}

function follow(answer: Submitted, ticket: Ticket): void {
  const order: OrderDetail = {
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
    limit_price: ticket.limit_price === undefined ? null : Number(ticket.limit_price),
    time_in_force: ticket.time_in_force,
    fees: 0,
    cause_id: "",
    reason: null,
    checks: [],
  };
  sent.value = [order, ...sent.peek()].slice(0, 8);
}

/** `crypto.randomUUID` exists only where the page came over TLS or from this machine. */
function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
