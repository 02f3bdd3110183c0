/** Unit tests of `src/pure`. `npm test` compiles them and runs them with the Node.js test runner. */
import assert from "node:assert/strict";
import test from "node:test";

import { backoffMs } from "../src/pure/backoff.ts";
import { addBar, buildCandles, fillMarkers, withoutOverlap, type Candle } from "../src/pure/candles.ts";
import { warnings, worstFirst, type CheckState, type OpenAlert, type SystemState } from "../src/pure/banner.ts";
import { overrideText, parseSetting, previewRows, requestText, settingLabel, settingText } from "../src/pure/configuration.ts";
import { hiddenColumns } from "../src/pure/columns.ts";
import { exitCounts, exitNotes, exitTitle, type ExitPlan, type PlannedCancel, type PlannedOrder } from "../src/pure/exits.ts";
import * as format from "../src/pure/format.ts";
import { isStale, NO_MESSAGES, recordMessage } from "../src/pure/freshness.ts";
import { formatValue, nodeSummary, type LineageNode } from "../src/pure/lineage.ts";
import {
  allowedTimesInForce,
  editableTerms,
  EMPTY_DRAFT,
  isFieldError,
  ORDER_TYPES,
  parseChanges,
  parseTicket,
  type OrderDraft,
  type OrderTerms,
} from "../src/pure/order-ticket.ts";
import { conditions, orderText, priceTerms } from "../src/pure/orders.ts";
import { checkLabel, checkText, isExchangeHalt, limitLabel, limitValue, measureLabel, measureValue, outcomeText, rejectionText, releaseText } from "../src/pure/risk.ts";
import { directionText, signalInputs } from "../src/pure/signals.ts";
import { matchesLedger, strategyLabel, strategyRows, totalRow } from "../src/pure/strategies.ts";
import { actionText, explainedId, sourcePosition, stateLabel, universeText } from "../src/pure/trading-strategies.ts";

const bar = (time: number, close: number, volume = 1): Candle => ({
  time,
  open: close - 1,
  high: close + 2,
  low: close - 2,
  close,
  volume,
});

test("an unknown value is shown as a dash", () => {
  for (const render of [format.money, format.signedMoney, format.price, format.quantity, format.percent, format.duration]) {
    assert.equal(render(null), "–");
    assert.equal(render(undefined), "–");
    assert.equal(render(Number.NaN), "–");
  }
  assert.equal(format.timeOfDay(null), "–");
  assert.equal(format.timeOfDay("not a time"), "–");
});

test("gains and losses have a sign, and a value that rounds to zero has none", () => {
  assert.equal(format.signedMoney(1234.5), "+1,234.50");
  assert.equal(format.signedMoney(-1234.5), "−1,234.50");
  assert.equal(format.signedMoney(-0.001), "0.00");
  assert.equal(format.money(-0.001), "0.00");
  assert.equal(format.signedPercent(0.0123), "+1.23 %");
  assert.deepEqual([1, -1, 0, 0.001, null].map(format.gainTone), ["up", "down", "", "", ""]);
});

test("prices and quantities keep their significant digits", () => {
  assert.equal(format.price(150.2), "150.20");
  assert.equal(format.price(0.01234), "0.0123");
  assert.equal(format.quantity(100), "100");
  assert.equal(format.quantity(-0.125), "−0.125");
  assert.equal(format.money(1e6), "1,000,000.00");
});

test("times are in UTC and include the date unless it is today", () => {
  const now = Date.parse("2024-01-15T12:00:00Z");
  assert.equal(format.dateTime("2024-01-15T10:30:00.250Z"), "2024-01-15 10:30:00");
  assert.equal(format.shortTime("2024-01-15T10:30:00Z", now), "10:30:00");
  assert.equal(format.shortTime("2024-01-14T10:30:00Z", now), "2024-01-14 10:30:00");
  assert.deepEqual([0.44, 12.4, 300, 10_800, 400_000].map(format.duration), ["0.4 s", "12 s", "5 min", "3 h", "5 d"]);
});

test("times follow the selected zone and are labelled with it", () => {
  try {
    format.setTimeZone("America/New_York");
    assert.equal(format.dateTime("2024-01-15T03:30:00Z"), "2024-01-14 22:30:00");
    assert.equal(format.dateTime("2024-07-15T00:30:00Z"), "2024-07-14 20:30:00"); // summer time
    assert.equal(format.timeOfDay("2024-01-15T05:00:00Z"), "00:00:00");
    // Today is the day in that zone, where it is still the 14th.
    assert.equal(format.shortTime("2024-01-15T03:30:00Z", Date.parse("2024-01-15T04:00:00Z")), "22:30:00");
    assert.equal(format.withZone(format.timeOfDay("2024-01-15T05:00:00Z")), "00:00:00 New York");
    assert.equal(format.withZone(format.dateTime(null)), "–");
    assert.throws(() => format.setTimeZone("Mars/Olympus"), RangeError);
    assert.equal(format.timeZoneLabel(), "New York", "an unknown zone changes nothing");
  } finally {
    format.setTimeZone("UTC");
  }
});

test("the columns with the highest drop leave a table first, and some never do", () => {
  const columns = [{ title: "Symbol" }, { title: "Time", drop: 1 }, { title: "Fees", drop: 3 }, { title: "Fee", drop: 3 }, { title: "Status" }];
  const titles = (count: number): string[] => [...hiddenColumns(columns, count)].map((column) => column.title);
  assert.deepEqual(titles(0), []);
  assert.deepEqual(titles(1), ["Fee"]);
  assert.deepEqual(titles(2), ["Fee", "Fees"]);
  assert.deepEqual(titles(9), ["Fee", "Fees", "Time"]);
});

const alert = (key: string, severity: string, openedAt = "2024-01-15T10:30:00Z"): OpenAlert => ({
  key,
  name: key.split("/")[0] ?? key,
  severity,
  summary: `${key} fires`,
  opened_at: openedAt,
});

const system = (changes: Partial<SystemState> = {}): SystemState => ({
  feed: { state: "live", event_time: "2013-10-09T19:59:00Z", last_slice_at: "2024-01-15T10:30:00Z" },
  processes: [{ name: "risk", status: "healthy", restarts: 0, reason: null, crash_loop: false }],
  checks: [check()],
  ...changes,
});

function check(changes: Partial<CheckState> = {}): CheckState {
  return { name: "verify", result: "passed", finished_at: "2024-01-15T10:30:00Z", duration_s: 3, counts: { checks: 9, findings: 0 }, message: "", overdue_s: 0, ...changes };
}

test("the worst open alert comes first, and of equal ones the oldest", () => {
  const alerts = [alert("disk_space", "warning"), alert("b", "critical", "2024-01-15T11:00:00Z"), alert("a", "critical", "2024-01-15T10:00:00Z"), alert("odd", "fatal", "2024-01-15T12:00:00Z")];
  assert.deepEqual(worstFirst(alerts).map((one) => one.key), ["a", "b", "odd", "disk_space"]);
  const [line] = warnings(alerts, null);
  assert.deepEqual(line, { id: "worst-alert", tone: "bad", text: "Critical: A fires, since 2024-01-15 10:00:00 UTC. 3 more alerts open." });
  assert.equal(warnings([alert("disk_space", "warning")], null)[0]?.text, "Warning: Disk_space fires, since 2024-01-15 10:30:00 UTC.");
  assert.deepEqual(warnings([], system()), []);
});

test("the banner names the end of the feed, services in a crash loop and failed checks, each once", () => {
  const failing = system({
    feed: { state: "finished", event_time: "2013-10-09T19:59:00Z", last_slice_at: null },
    processes: [{ name: "risk", status: "failed", restarts: 6, reason: "crash loop: exited with status 1", crash_loop: true }],
    checks: [check({ result: "differences", counts: { checks: 9, findings: 2 }, message: "positions of AAPL differ" }), check({ name: "replay_check", result: "error", counts: {}, message: "no connection." })],
  });
  const lines = warnings([], failing);
  assert.deepEqual(lines.map((line) => line.id), ["feed-finished", "crash-risk", "check-verify", "check-replay_check"]);
  assert.match(lines[0]?.text ?? "", /^Feed finished at 2013-10-09 19:59:00 UTC: /);
  assert.match(lines[1]?.text ?? "", /^risk is in a crash loop and is not restarted: exited with status 1\. After the repair, run "python cli\.py service start risk"/);
  assert.equal(lines[2]?.text, "Check verify: 2 differences: positions of AAPL differ.");
  assert.equal(lines[3]?.text, "Check replay_check: not completed: no connection.");
  const uncut = check({ name: "archive", result: "error", counts: { archived: 5, deleted: 0 }, message: "the recovery store of risk is missing" });
  assert.equal(warnings([], system({ checks: [uncut] })).at(-1)?.text, "Nightly job archive: not completed: the recovery store of risk is missing.");
  assert.deepEqual(warnings([alert("crash_loop/risk", "critical")], failing).map((line) => line.id), ["worst-alert", "feed-finished", "check-verify", "check-replay_check"]);
});

test("a confirmation says what it sends and cancels, and what stays open", () => {
  const order = (symbol: string, message: string | null = null): PlannedOrder => ({ symbol, side: "SELL", quantity: 5, quantity_text: "5", reference_price: 10, notional: 50, approved: message === null, message });
  const cancel: PlannedCancel = { order_id: "ord-1", symbol: "AAPL", side: "BUY", remaining: 2, order_type: "LIMIT", price: 9, notional: 18 };
  const plan: ExitPlan = { action: "FLATTEN_ALL", symbol: null, cancels: [cancel], orders: [order("AAPL"), order("TSLA", "kill_switch: halted")], cancel_notional: 18, order_notional: 100, left_out: 0 };
  assert.equal(exitCounts(plan), "Send 2 orders, cancel 1 order");
  assert.match(exitNotes(plan)[0] ?? "", /^Risk would reject 1 order now\. These positions stay open: TSLA\.$/);
  assert.equal(exitNotes({ ...plan, orders: [order("AAPL")] }).length, 1, "only the note about strategies");
  const cancelAll: ExitPlan = { ...plan, action: "CANCEL_ALL", orders: [], left_out: 1 };
  assert.equal(exitCounts(cancelAll), "Cancel 1 order");
  assert.deepEqual(exitNotes(cancelAll).slice(0, 2), ["Not included: 1 entry beyond the first 500. Repeat the action afterwards.", "Positions stay open."]);
  assert.equal(exitCounts({ ...cancelAll, cancels: [] }), "");
  assert.deepEqual([exitTitle("CLOSE", "AAPL"), exitTitle("FLATTEN_ALL", null), exitTitle("CANCEL_ALL", null), exitTitle("CANCEL_ALL", "AAPL")], ["Close AAPL", "Flatten all", "Cancel all orders", "Cancel all orders for AAPL"]);
});

test("the reconnect delay doubles up to a maximum and varies", () => {
  const longest = [0, 1, 2, 3, 4, 5, 50].map((failures) => backoffMs(failures, () => 1));
  assert.deepEqual(longest, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
  assert.equal(backoffMs(2, () => 0), 1500);
});

test("a stream is stale when its usual messages stop", () => {
  let rate = NO_MESSAGES;
  assert.equal(isStale(rate, 1e9), false);
  for (let at = 0; at <= 60_000; at += 1000) rate = recordMessage(recordMessage(rate, at), at + 10);
  assert.equal(isStale(rate, 60_000 + 9000), false);
  assert.equal(isStale(rate, 60_000 + 11_000), true);
  let slow = NO_MESSAGES;
  for (let at = 0; at <= 600_000; at += 60_000) slow = recordMessage(slow, at);
  assert.equal(isStale(slow, 600_000 + 120_000), false);
  assert.equal(isStale(slow, 600_000 + 250_000), true);
});

test("a one-minute candle aggregates open, high, low, close and volume of its bars", () => {
  const bars = [bar(60, 10), bar(61, 14), bar(119, 8, 5), bar(120, 9)];
  assert.deepEqual(buildCandles(bars, 60), [
    { time: 60, open: 9, high: 16, low: 6, close: 8, volume: 7 },
    { time: 120, open: 8, high: 11, low: 7, close: 9, volume: 1 },
  ]);
  assert.deepEqual(buildCandles(bars, 0), bars);
});

test("a repeated bar replaces the previous one and an older bar is ignored", () => {
  const candles = buildCandles([bar(60, 10), bar(61, 11)], 0);
  assert.deepEqual(addBar(candles, bar(61, 12), 0), bar(61, 12));
  assert.equal(addBar(candles, bar(60, 99), 0), null);
  assert.deepEqual(candles, [bar(60, 10), bar(61, 12)]);
});

test("fills of one candle and side share one marker", () => {
  const fill = (id: string, time: number, side: string, quantity: number, price: number) => ({ id, time, side, quantity, price });
  const fills = [fill("3", 125, "SELL", 5, 11), fill("1", 61, "BUY", 10, 10), fill("2", 119, "BUY", 30, 12), fill("0", 10, "BUY", 1, 1)];
  assert.deepEqual(fillMarkers(fills, [60, 120, 180]), [
    { time: 60, side: "BUY", text: "B 40 @ 11.50" },
    { time: 120, side: "SELL", text: "S 5 @ 11.00" },
  ]);
  assert.deepEqual(fillMarkers(fills, []), []);
});

test("a fill's text is left out where it would cover that of a later fill of the same side", () => {
  const markers = [
    { time: 0, side: "BUY", text: "B 1 @ 10.00" },
    { time: 60, side: "SELL", text: "S 1 @ 10.00" },
    { time: 120, side: "BUY", text: "B 2 @ 10.00" },
    { time: 180, side: "SELL", text: "S 2 @ 10.00" },
  ];
  const texts = (candleWidth: number): string[] => withoutOverlap(markers, [0, 60, 120, 180], candleWidth).map((marker) => marker.text);
  assert.deepEqual(texts(40), ["B 1 @ 10.00", "S 1 @ 10.00", "B 2 @ 10.00", "S 2 @ 10.00"]);
  assert.deepEqual(texts(8), ["", "", "B 2 @ 10.00", "S 2 @ 10.00"]);
});

test("each lineage record has a one-line summary", () => {
  const node = (kind: string, record: Record<string, unknown> | null): LineageNode => ({
    kind,
    id: "x",
    timestamp: null,
    place: null,
    record,
    causes: [],
  });
  const order = { side: "BUY", quantity: 10, symbol: "A", order_type: "LIMIT", limit_price: 9.5, checks: [1, 2] };
  assert.equal(nodeSummary(node("Order", order)), "BUY 10 A LIMIT at 9.5, 2 checks passed");
  assert.equal(nodeSummary(node("FeatureRow", { values: { rsi_14: 58.2099999999, n: null } })), "rsi_14 58.21");
  assert.equal(nodeSummary(node("Bar", null)), "record not found");
  assert.equal(nodeSummary(node("OrderRefusal", { message: "cash: too much" })), "cash: too much");
  assert.equal(formatValue(1 / 3), "0.33333333");
});

test("the order form becomes a request with exact amounts, or an error at the invalid field", () => {
  const draft: OrderDraft = { ...EMPTY_DRAFT, symbol: " aapl ", quantity: "1,000.5" };
  const market = { symbol: "AAPL", side: "BUY", quantity: "1000.5", order_type: "MARKET", time_in_force: "DAY" };
  assert.deepEqual(parseTicket(draft), market);
  assert.deepEqual(parseTicket({ ...draft, orderType: "LIMIT", limitPrice: "9.50" }), { ...market, order_type: "LIMIT", limit_price: "9.50" });
  const stop = { ...draft, orderType: "STOP_LIMIT", limitPrice: "9.50", stopPrice: "9.40" };
  assert.deepEqual(parseTicket(stop), { ...market, order_type: "STOP_LIMIT", stop_price: "9.40", limit_price: "9.50" });
  assert.deepEqual(parseTicket({ ...stop, orderType: "STOP" }), { ...market, order_type: "STOP", stop_price: "9.40" });
  for (const [change, field] of [
    [{ symbol: "" }, "symbol"],
    [{ symbol: "A B" }, "symbol"],
    [{ quantity: "0" }, "quantity"],
    [{ quantity: "-5" }, "quantity"],
    [{ quantity: "1e9" }, "quantity"],
    [{ orderType: "LIMIT" }, "limitPrice"],
    [{ orderType: "STOP_LIMIT", limitPrice: "1" }, "stopPrice"],
    [{ orderType: "TRAILING_STOP" }, "trail"],
    [{ orderType: "TRAILING_STOP", trail: "100" }, "trail"],
    [{ timeInForce: "GTD" }, "expiresAt"],
    [{ takeProfit: "high" }, "takeProfit"],
    [{ stopLoss: "0" }, "stopLoss"],
    [{ stopLossLimit: "9" }, "stopLoss"],
    [{ group: "two words" }, "group"],
  ] as const) {
    const result = parseTicket({ ...draft, ...change });
    assert.ok(isFieldError(result), JSON.stringify(change));
    assert.equal(result.field, field);
  }
});

test("a price that the order type does not use is left out of the request", () => {
  const filled: OrderDraft = { ...EMPTY_DRAFT, symbol: "A", quantity: "1", limitPrice: "9", stopPrice: "8", trail: "2.5", expiresAt: "2024-01-15T10:30" };
  const terms = (draft: OrderDraft): string[] => Object.keys(parseTicket(draft)).filter((name) => !["symbol", "side", "quantity", "order_type", "time_in_force"].includes(name));
  assert.deepEqual(
    ORDER_TYPES.map((orderType) => terms({ ...filled, orderType })),
    [[], ["limit_price"], ["stop_price"], ["stop_price", "limit_price"], ["trail_percent"]],
  );
  assert.deepEqual(terms({ ...filled, orderType: "TRAILING_STOP", trailUnit: "amount", trail: "250" }), ["trail_amount"]);
  assert.deepEqual(allowedTimesInForce("TRAILING_STOP"), ["DAY", "GTC", "GTD"]);
  assert.deepEqual(allowedTimesInForce("LIMIT"), ["DAY", "GTC", "GTD", "IOC", "FOK", "OPG", "CLS"]);
});

test("the request includes bracket exits, expiry, group and parent order", () => {
  const draft: OrderDraft = { ...EMPTY_DRAFT, symbol: "A", quantity: "1", timeInForce: "GTD", expiresAt: "2024-01-15T10:30" };
  const linked = { ...draft, takeProfit: "12", stopLoss: "8", stopLossLimit: "7.9", reduceOnly: true, group: " g1 ", parent: "cmd-7f" };
  assert.deepEqual(parseTicket(linked), {
    ...{ symbol: "A", side: "BUY", quantity: "1", order_type: "MARKET", time_in_force: "GTD", expires_at: "2024-01-15T10:30:00.000Z" },
    ...{ take_profit_price: "12", stop_loss_price: "8", stop_loss_limit_price: "7.9" },
    ...{ reduce_only: true, group_id: "g1", parent_id: "cmd-7f" },
  });
});

test("an order change contains only the terms that differ", () => {
  const order: OrderTerms = { order_type: "STOP_LIMIT", quantity: 1e-7, limit_price: 9.5, stop_price: 1000, trail_amount: null, trail_percent: null };
  const input = editableTerms(order);
  assert.deepEqual(input, { quantity: "0.0000001", stop_price: "1000", limit_price: "9.5" });
  assert.equal(parseChanges(order, input), "Change at least one value.");
  assert.deepEqual(parseChanges(order, { ...input, limit_price: "9.40" }), { limit_price: "9.40" });
  assert.equal(parseChanges(order, { ...input, stop_price: "-1" }), "Stop price: enter a number above 0.");
});

test("order terms fit in one table cell", () => {
  const none = { order_type: "MARKET", limit_price: null, stop_price: null, trail_amount: null, trail_percent: null };
  assert.equal(priceTerms(none), "–");
  assert.equal(priceTerms({ ...none, limit_price: 9.5 }), "9.50");
  assert.equal(priceTerms({ ...none, limit_price: 9.5, stop_price: 10 }), "stop 10.00, limit 9.50");
  assert.equal(priceTerms({ ...none, trail_percent: 2.5 }), "trail 2.5 %");
  assert.equal(orderText(none), "Market");
  assert.equal(orderText({ ...none, order_type: "LIMIT", limit_price: 9.5 }), "Limit: 9.50");
  const free = { time_in_force: "DAY", expires_at: null, reduce_only: false, group_id: "", parent_id: "", replaces: "" };
  assert.deepEqual(conditions(free), []);
  assert.deepEqual(conditions({ ...free, reduce_only: true, parent_id: "cmd-1" }), ["reduce-only", "after fill of cmd-1"]);
  assert.deepEqual(conditions({ ...free, emulated_stop: true }), ["emulated stop (works only while the platform runs)"]);
});

test("strategy rows add up to the total, which is compared with the ledger", () => {
  const pnl = (strategy: string, realized: number, unrealized: number, fees: number) => ({
    strategy,
    ...{ realized_pnl: realized, unrealized_pnl: unrealized, fees, cash_flows: 0, total_pnl: realized + unrealized - fees },
  });
  const activity = (strategy: string, fills: number, weight: number | null) => ({
    ...{ strategy, fills, traded_notional: 10 * fills, closed_lots: fills, won: 1, weight, hit_rate: 0.5, outcomes: 4 },
  });
  const rows = strategyRows([pnl("slow", 5, -1, 0.5), pnl("manual", -2, 0, 0)], [activity("slow", 3, 0.75), activity("fast", 1, 0.25)]);
  assert.deepEqual(
    rows.map((row) => [strategyLabel(row.strategy), row.pnl?.total_pnl ?? null, row.activity?.fills ?? null]),
    [["fast", null, 1], ["Manual orders", -2, null], ["slow", 3.5, 3]],
  );
  const total = totalRow(rows);
  assert.deepEqual(total.pnl, { realized_pnl: 3, unrealized_pnl: -1, fees: 0.5, cash_flows: 0, total_pnl: 1.5 });
  assert.deepEqual([total.activity?.fills, total.activity?.won, total.weight, total.hitRate, total.outcomes], [4, 2, 1, null, 8]);
  assert.deepEqual([matchesLedger(total, 1.504), matchesLedger(total, 1.51), matchesLedger(total, null), matchesLedger(totalRow([]), 0)], [true, false, null, null]);
});

test("a signal shows its direction and inputs, for the ensemble the contribution of each strategy", () => {
  const signal = { strategy: "ema_cross", direction: 1, strength: 0.5, parts: { ema_12: 150.123456, ema_26: 0.00001234 } };
  assert.deepEqual([1, -1, 0].map((direction) => directionText({ ...signal, direction })), ["Long 0.50", "Short 0.50", "Flat"]);
  assert.deepEqual(signalInputs(signal), ["ema_12 150.123", "ema_26 0.00001234"]);
  assert.deepEqual(signalInputs({ ...signal, strategy: "ensemble", parts: { a: 0.1, b: -0.4 } }), ["b −0.40", "a +0.10"]);
});

test("risk limits, measures and checks have labels and units", () => {
  assert.equal(limitLabel("stale_price_s"), "Max price age (s)");
  assert.equal(limitLabel("max_daily_loss"), "Max daily loss");
  assert.equal(limitValue("max_daily_loss", 10_000), "10,000");
  assert.equal(limitValue("circuit_breaker_threshold", 0.05), "5.00 %");
  assert.equal(limitValue("max_position", null), "not set: rejects all orders");
  assert.equal(limitValue("margin", null), "none");
  assert.equal(measureLabel("day_fall"), "Daily loss (%)");
  assert.deepEqual(["day_fall", "daily_loss", "loss_streak", "portfolio_leverage"].map((name) => measureValue(name, 0.05)), ["5.00 %", "0.05", "0.05", "0.05"]);
  assert.equal(measureValue("cash", null), "–");
  assert.deepEqual(["exchange_halt", "staleness"].map(isExchangeHalt), [true, false]);
  assert.equal(checkLabel("max_order_notional"), "Max order notional");
  assert.equal(checkText({ check: "stale_price", found: "0", limit: "300" }), "Price age: 0 (limit 300)");
  assert.equal(checkText({ check: "kill_switch", found: "ACTIVE", limit: "ACTIVE" }), "Kill switch: ACTIVE (required: ACTIVE)");
});

test("a rejection message starts with the label of its check", () => {
  assert.equal(rejectionText("cash: AAPL order needs 5.00, limit 1.00", "AAPL"), "Cash: AAPL order needs 5.00, limit 1.00");
  assert.equal(rejectionText("known_price: ZZZZ has no price", "ZZZZ"), "No market data for ZZZZ. Check the symbol.");
  assert.equal(rejectionText("cancelled by the user", "AAPL"), "cancelled by the user");
  assert.equal(outcomeText("rejected cash: AAPL order needs 5.00, limit 1.00", "AAPL"), "rejected: Cash: AAPL order needs 5.00, limit 1.00");
  assert.equal(outcomeText("HALTED", ""), "HALTED");
});

test("a request for approval names what it releases or takes over", () => {
  assert.equal(releaseText({ kind: "RELEASE" }), "Kill switch");
  assert.equal(releaseText({ kind: "SET_BREAKER", measure: "day_fall", scope: "PORTFOLIO", key: "", state: "ACTIVE" }), "Daily loss (%)");
  assert.equal(releaseText({ kind: "SET_BREAKER", measure: "loss_streak", scope: "STRATEGY", key: "pairs", state: "ACTIVE" }), "Losing trades in a row of pairs");
  const position = { kind: "ACCEPT_POSITION", symbol: "KO", platform_quantity: "10", broker_quantity: "12", price: "61.5" };
  assert.equal(releaseText(position), "Position of KO: 10 → 12 at 61.5");
  assert.equal(releaseText({ kind: "ADJUSTMENT", amount: "-4.2", reference: "reconciliation" }), "Cash adjustment: -4.2");
  assert.equal(releaseText({ kind: "RESUME_STRATEGY", strategy: "pairs" }), "Resume the strategy pairs");
  assert.equal(releaseText({ kind: "FLATTEN_STRATEGY", strategy: "pairs" }), "Flatten the strategy pairs");
});

test("an action of a strategy is shown with its terms, and explained by its order", () => {
  assert.equal(actionText({ arguments: { symbol: "KO", side: "BUY", quantity: "10", limit_price: "37.5" } }), "side BUY, quantity 10, limit price 37.5");
  assert.equal(actionText({ arguments: { text: "waiting for the open" } }), "waiting for the open");
  assert.equal(explainedId({ kind: "SUBMIT_ORDER", action_id: "act-pairs-7" }), "ord-act-pairs-7");
  assert.equal(explainedId({ kind: "TARGET_WEIGHT", action_id: "act-pairs-8" }), "act-pairs-8");
});

test("a strategy is shown with its state and the first symbols of its universe", () => {
  assert.deepEqual(stateLabel("WARMING_UP"), ["WARMING UP", "warn"]);
  assert.deepEqual(stateLabel("REMOVED"), ["REMOVED", "warn"]);
  assert.deepEqual(stateLabel("SUSPENDED"), ["SUSPENDED", "bad"]);
  assert.equal(universeText(["A", "B", "C", "D", "E", "F"]), "A, B, C, D and 2 more");
  assert.equal(universeText(["KO", "PEP"]), "KO, PEP");
  assert.equal(sourcePosition({ file: "pairs.py", line: 17 }), "pairs.py:17");
  assert.equal(sourcePosition({ file: "", line: 0 }), "");
});

test("the value of a setting is read back as it was shown", () => {
  for (const value of [500, -0.5, true, false, null, "unlimited", "fixed"]) assert.equal(parseSetting(settingText(value)), value);
  assert.equal(parseSetting(" 500 "), 500);
  assert.equal(parseSetting("yes"), true);
  assert.equal(parseSetting("0.10"), "0.10");
  assert.equal(parseSetting("12345678901234567890.5"), "12345678901234567890.5", "a double would lose digits");
});

test("a request names the limits, their values and the overrides that it ends", () => {
  const request = { set: { "risk_manager.max_order_notional": 5000 }, unset: ["feedback.horizon_bars"], before: { "risk_manager.max_order_notional": "unlimited" } };
  assert.equal(requestText(request), "Max order notional: unlimited → 5000; feedback.horizon_bars: back to the settings file");
  assert.equal(settingLabel("risk_manager.breakers.0"), "risk_manager.breakers.0");
});

test("the history shows what changed at run time since the configuration before", () => {
  const first = { "risk_manager.max_position": 5 };
  assert.equal(overrideText({ ...first, "risk_manager.max_order_notional": 7 }, first), "Max order notional: 7");
  assert.equal(overrideText({}, first), "Max position (units): back to the settings file");
  assert.equal(overrideText(first, first), "settings file");
});

test("a preview compares both sides, with every check that rejected an order on one of them", () => {
  const side = { orders: 3, fills: 2, rejections: {}, traded_quantity: 5, realized_pnl: -1.5, unrealized_pnl: 0, fees: 0, equity: 1000, max_drawdown: 0 };
  const rows = previewRows(side, { ...side, orders: 0, rejections: { max_order_notional: 3 } });
  assert.deepEqual(rows[0], { name: "Orders", recorded: "3", changed: "0" });
  assert.deepEqual(rows.find((row) => row.name.startsWith("Rejected")), { name: "Rejected: Max order notional", recorded: "0", changed: "3" });
});
