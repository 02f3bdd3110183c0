/** Run by `npm test`: compiled with the strict settings, then node's own test runner. */
import assert from "node:assert/strict";
import test from "node:test";

import { pauseMs } from "../src/pure/backoff.ts";
import { add, candlesOf, marks, type Candle } from "../src/pure/candles.ts";
import * as format from "../src/pure/format.ts";
import { heard, isQuiet, NO_PACE } from "../src/pure/freshness.ts";
import { plain, summary, type LineageNode } from "../src/pure/lineage.ts";
import { prices, ties } from "../src/pure/orders.ts";
import { agrees, nameOf, rowsOf, sumOf } from "../src/pure/strategies.ts";
import { changeable, changesOf, EMPTY, isMistake, ticketOf, timesInForce, TYPES, type Draft, type Terms } from "../src/pure/tickets.ts";
import { held, partsOf } from "../src/pure/views.ts";

const bar = (time: number, close: number, volume = 1): Candle => ({
  time,
  open: close - 1,
  high: close + 2,
  low: close - 2,
  close,
  volume,
});

test("what is not known is a dash and never a number", () => {
  for (const show of [format.money, format.signed, format.price, format.quantity, format.percent, format.span]) {
    assert.equal(show(null), "–");
    assert.equal(show(undefined), "–");
    assert.equal(show(Number.NaN), "–");
  }
  assert.equal(format.clock(null), "–");
  assert.equal(format.clock("not a time"), "–");
});

test("a gain and a loss differ in sign, not only in colour, and a rounded nothing has none", () => {
  assert.equal(format.signed(1234.5), "+1,234.50");
  assert.equal(format.signed(-1234.5), "−1,234.50");
  assert.equal(format.signed(-0.001), "0.00");
  assert.equal(format.money(-0.001), "0.00");
  assert.equal(format.signedPercent(0.0123), "+1.23 %");
  assert.deepEqual([1, -1, 0, 0.001, null].map(format.tone), ["up", "down", "", "", ""]);
});

test("prices and quantities keep the digits that matter", () => {
  assert.equal(format.price(150.2), "150.20");
  assert.equal(format.price(0.01234), "0.0123");
  assert.equal(format.quantity(100), "100");
  assert.equal(format.quantity(-0.125), "−0.125");
  assert.equal(format.money(1e6), "1,000,000.00");
});

test("times are UTC, and say the date where it is not today", () => {
  const now = Date.parse("2024-01-15T12:00:00Z");
  assert.equal(format.stamp("2024-01-15T10:30:00.250Z"), "2024-01-15 10:30:00");
  assert.equal(format.brief("2024-01-15T10:30:00Z", now), "10:30:00");
  assert.equal(format.brief("2024-01-14T10:30:00Z", now), "24-01-14 10:30:00");
  assert.deepEqual([0.44, 12.4, 300, 10_800, 400_000].map(format.span), ["0.4 s", "12 s", "5 min", "3 h", "5 d"]);
});

test("waiting doubles to a bound and never all at the same moment", () => {
  const longest = [0, 1, 2, 3, 4, 5, 50].map((failures) => pauseMs(failures, () => 1));
  assert.deepEqual(longest, [500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
  assert.equal(pauseMs(2, () => 0), 1500);
});

test("a stream is quiet by its own pace", () => {
  let pace = NO_PACE;
  assert.equal(isQuiet(pace, 1e9), false);
  for (let at = 0; at <= 60_000; at += 1000) pace = heard(heard(pace, at), at + 10);
  assert.equal(isQuiet(pace, 60_000 + 9000), false);
  assert.equal(isQuiet(pace, 60_000 + 11_000), true);
  let slow = NO_PACE;
  for (let at = 0; at <= 600_000; at += 60_000) slow = heard(slow, at);
  assert.equal(isQuiet(slow, 600_000 + 120_000), false);
  assert.equal(isQuiet(slow, 600_000 + 250_000), true);
});

test("candles of a minute are the first open, the extremes, the last close and the sum of volumes", () => {
  const bars = [bar(60, 10), bar(61, 14), bar(119, 8, 5), bar(120, 9)];
  assert.deepEqual(candlesOf(bars, 60), [
    { time: 60, open: 9, high: 16, low: 6, close: 8, volume: 7 },
    { time: 120, open: 8, high: 11, low: 7, close: 9, volume: 1 },
  ]);
  assert.deepEqual(candlesOf(bars, 0), bars);
});

test("a repeated bar replaces itself and an old one changes nothing", () => {
  const candles = candlesOf([bar(60, 10), bar(61, 11)], 0);
  assert.deepEqual(add(candles, bar(61, 12), 0), bar(61, 12));
  assert.equal(add(candles, bar(60, 99), 0), null);
  assert.deepEqual(candles, [bar(60, 10), bar(61, 12)]);
});

test("fills stand at the candle that they were in, one mark a side", () => {
  const fill = (id: string, time: number, side: string, quantity: number, price: number) => ({ id, time, side, quantity, price });
  const fills = [fill("3", 125, "SELL", 5, 11), fill("1", 61, "BUY", 10, 10), fill("2", 119, "BUY", 30, 12), fill("0", 10, "BUY", 1, 1)];
  assert.deepEqual(marks(fills, [60, 120, 180]), [
    { time: 60, side: "BUY", text: "B 40 @ 11.50" },
    { time: 120, side: "SELL", text: "S 5 @ 11.00" },
  ]);
  assert.deepEqual(marks(fills, []), []);
});

test("each record of a lineage says what it is in one line", () => {
  const node = (kind: string, record: Record<string, unknown> | null): LineageNode => ({
    kind,
    id: "x",
    timestamp: null,
    place: null,
    record,
    causes: [],
  });
  const order = { side: "BUY", quantity: 10, symbol: "A", order_type: "LIMIT", limit_price: 9.5, checks: [1, 2] };
  assert.equal(summary(node("Order", order)), "BUY 10 A LIMIT at 9.5, 2 checks passed");
  assert.equal(summary(node("FeatureRow", { values: { rsi_14: 58.2099999999, n: null } })), "rsi_14 58.21");
  assert.equal(summary(node("Bar", null)), "not found in the books");
  assert.equal(summary(node("OrderRefusal", { message: "cash: too much" })), "cash: too much");
  assert.equal(plain(1 / 3), "0.33333333");
});

test("a form becomes a ticket with exact amounts, or one sentence at the field that is wrong", () => {
  const draft: Draft = { ...EMPTY, symbol: " aapl ", quantity: "1,000.5" };
  const market = { symbol: "AAPL", side: "BUY", quantity: "1000.5", order_type: "MARKET", time_in_force: "DAY" };
  assert.deepEqual(ticketOf(draft), market);
  assert.deepEqual(ticketOf({ ...draft, orderType: "LIMIT", limitPrice: "9.50" }), { ...market, order_type: "LIMIT", limit_price: "9.50" });
  const stop = { ...draft, orderType: "STOP_LIMIT", limitPrice: "9.50", stopPrice: "9.40" };
  assert.deepEqual(ticketOf(stop), { ...market, order_type: "STOP_LIMIT", stop_price: "9.40", limit_price: "9.50" });
  assert.deepEqual(ticketOf({ ...stop, orderType: "STOP" }), { ...market, order_type: "STOP", stop_price: "9.40" });
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
    [{ takeProfit: "dear" }, "takeProfit"],
    [{ stopLoss: "0" }, "stopLoss"],
    [{ stopLossLimit: "9" }, "stopLoss"],
    [{ group: "two words" }, "group"],
  ] as const) {
    const found = ticketOf({ ...draft, ...change });
    assert.ok(isMistake(found), JSON.stringify(change));
    assert.equal(found.field, field);
  }
});

test("what a type does not have is left out of the ticket though it was typed before", () => {
  const typed: Draft = { ...EMPTY, symbol: "A", quantity: "1", limitPrice: "9", stopPrice: "8", trail: "2.5", expiresAt: "2024-01-15T10:30" };
  const terms = (draft: Draft): string[] => Object.keys(ticketOf(draft)).filter((name) => !["symbol", "side", "quantity", "order_type", "time_in_force"].includes(name));
  assert.deepEqual(
    TYPES.map((orderType) => terms({ ...typed, orderType })),
    [[], ["limit_price"], ["stop_price"], ["stop_price", "limit_price"], ["trail_percent"]],
  );
  assert.deepEqual(terms({ ...typed, orderType: "TRAILING_STOP", trailBy: "amount", trail: "250" }), ["trail_amount"]);
  assert.deepEqual(timesInForce("TRAILING_STOP"), ["DAY", "GTC", "GTD"]);
  assert.deepEqual(timesInForce("LIMIT"), ["DAY", "GTC", "GTD", "IOC", "FOK", "OPG", "CLS"]);
});

test("a bracket, a day, a group and another order's fill go along where they are given", () => {
  const draft: Draft = { ...EMPTY, symbol: "A", quantity: "1", timeInForce: "GTD", expiresAt: "2024-01-15T10:30" };
  const tied = { ...draft, takeProfit: "12", stopLoss: "8", stopLossLimit: "7.9", reduceOnly: true, group: " g1 ", parent: "cmd-7f" };
  assert.deepEqual(ticketOf(tied), {
    ...{ symbol: "A", side: "BUY", quantity: "1", order_type: "MARKET", time_in_force: "GTD", expires_at: "2024-01-15T10:30:00.000Z" },
    ...{ take_profit_price: "12", stop_loss_price: "8", stop_loss_limit_price: "7.9" },
    ...{ reduce_only: true, group_id: "g1", parent_id: "cmd-7f" },
  });
});

test("only what was changed about an order is asked for", () => {
  const order: Terms = { order_type: "STOP_LIMIT", quantity: 1e-7, limit_price: 9.5, stop_price: 1000, trail_amount: null, trail_percent: null };
  const typed = changeable(order);
  assert.deepEqual(typed, { quantity: "0.0000001", stop_price: "1000", limit_price: "9.5" });
  assert.equal(changesOf(order, typed), "Nothing is changed yet.");
  assert.deepEqual(changesOf(order, { ...typed, limit_price: "9.40" }), { limit_price: "9.40" });
  assert.equal(changesOf(order, { ...typed, stop_price: "-1" }), "Stop price: give a number above 0.");
});

test("an order's terms read in one cell", () => {
  const none = { order_type: "MARKET", limit_price: null, stop_price: null, trail_amount: null, trail_percent: null };
  assert.equal(prices(none), "–");
  assert.equal(prices({ ...none, limit_price: 9.5 }), "9.50");
  assert.equal(prices({ ...none, limit_price: 9.5, stop_price: 10 }), "stop 10.00, limit 9.50");
  assert.equal(prices({ ...none, trail_percent: 2.5 }), "trail 2.5 %");
  const free = { time_in_force: "DAY", expires_at: null, reduce_only: false, group_id: "", parent_id: "", replaces: "" };
  assert.deepEqual(ties(free), []);
  assert.deepEqual(ties({ ...free, reduce_only: true, parent_id: "cmd-1" }), ["reduce only", "after cmd-1"]);
});

test("the rows of the strategies sum to the last one, and that is held against the ledger", () => {
  const share = (strategy: string, realized: number, unrealized: number, fees: number) => ({
    strategy,
    ...{ realized_pnl: realized, unrealized_pnl: unrealized, fees, cash_flows: 0, total_pnl: realized + unrealized - fees },
  });
  const did = (strategy: string, fills: number, weight: number | null) => ({
    ...{ strategy, fills, traded_notional: 10 * fills, closed_lots: fills, won: 1, weight, hit_rate: 0.5, outcomes: 4 },
  });
  const rows = rowsOf([share("slow", 5, -1, 0.5), share("manual", -2, 0, 0)], [did("slow", 3, 0.75), did("fast", 1, 0.25)]);
  assert.deepEqual(
    rows.map((row) => [nameOf(row.strategy), row.share?.total_pnl ?? null, row.doings?.fills ?? null]),
    [["fast", null, 1], ["by hand", -2, null], ["slow", 3.5, 3]],
  );
  const all = sumOf(rows);
  assert.deepEqual(all.share, { realized_pnl: 3, unrealized_pnl: -1, fees: 0.5, cash_flows: 0, total_pnl: 1.5 });
  assert.deepEqual([all.doings?.fills, all.doings?.won, all.weight, all.hitRate, all.outcomes], [4, 2, 1, null, 8]);
  assert.deepEqual([agrees(all, 1.504), agrees(all, 1.51), agrees(all, null), agrees(sumOf([]), 0)], [true, false, null, null]);
});

test("a view says which way, and an ensemble's parts what each strategy gave it", () => {
  const view = { strategy: "ema_cross", direction: 1, strength: 0.5, parts: { ema_12: 150.123456, ema_26: 0.00001234 } };
  assert.deepEqual([1, -1, 0].map((direction) => held({ ...view, direction })), ["long 0.50", "short 0.50", "out"]);
  assert.deepEqual(partsOf(view), ["ema_12 150.123", "ema_26 0.00001234"]);
  assert.deepEqual(partsOf({ ...view, strategy: "ensemble", parts: { a: 0.1, b: -0.4 } }), ["b −0.40", "a +0.10"]);
});
