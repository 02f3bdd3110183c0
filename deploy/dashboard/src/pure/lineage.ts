/** One line for each record on the way from an order back to the bars that caused it. */

export interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

export interface LineageNode {
  readonly kind: string;
  readonly id: string;
  readonly timestamp: string | null;
  readonly place: Place | null;
  readonly record: Readonly<Record<string, unknown>> | null;
  readonly causes: readonly LineageNode[];
}

const TITLES: Readonly<Record<string, string>> = {
  OrderProposal: "Proposal",
  FeatureRow: "Features",
  OrderRefusal: "Refusal",
  RiskFence: "Kill switch",
  OrderCancel: "Cancel",
};

export function title(node: LineageNode): string {
  return TITLES[node.kind] ?? node.kind;
}

/** What the record says, in the words of the trade. */
export function summary(node: LineageNode): string {
  const record = node.record;
  if (record === null) return "not found in the books";
  const text = (name: string): string => plain(record[name]);
  switch (node.kind) {
    case "Order":
      return `${text("side")} ${text("quantity")} ${text("symbol")} ${text("order_type")}${limit(record)}, ${checks(record)}`;
    case "OrderProposal":
      return `${text("strategy")} wants ${text("side")} ${text("quantity")} ${text("symbol")}: ${text("sizing")}`;
    case "Signal":
      return `${text("strategy")}: direction ${text("direction")}, strength ${text("strength")}, confidence ${text("confidence")}`;
    case "FeatureRow":
      return pairs(record["values"]);
    case "Bar":
      return `open ${text("open")}, high ${text("high")}, low ${text("low")}, close ${text("close")}, volume ${text("volume")}`;
    case "Execution":
      return record["exec_type"] === "TRADE"
        ? `${text("side")} ${text("quantity")} ${text("symbol")} at ${text("price")}, fee ${text("fee")}`
        : `${text("exec_type")} ${text("text")}`.trim();
    case "Command":
      return `${text("actor")} asked for ${text("kind")} (${text("reason")}) ${pairs(record["arguments"])}`.trim();
    case "OrderRefusal":
      return text("message");
    default:
      return pairs(record);
  }
}

function limit(record: Readonly<Record<string, unknown>>): string {
  return record["limit_price"] == null ? "" : ` at ${plain(record["limit_price"])}`;
}

function checks(record: Readonly<Record<string, unknown>>): string {
  const passed = record["checks"];
  return Array.isArray(passed) ? `${passed.length} checks passed` : "no checks recorded";
}

/** "name value, name value" of an object's fields. */
export function pairs(value: unknown): string {
  if (typeof value !== "object" || value === null) return "";
  return Object.entries(value)
    .filter(([, found]) => found !== null && typeof found !== "object")
    .map(([name, found]) => `${name} ${plain(found)}`)
    .join(", ");
}

/** A value as a reader wants it: numbers to six significant digits at least, whole ones whole. */
export function plain(value: unknown): string {
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(8)));
  return value == null ? "" : String(value);
}
