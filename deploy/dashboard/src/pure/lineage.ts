/** One-line summaries of the records between an order and the bars that caused it. */
import { executionLabel } from "./orders.ts";

export interface LogPosition {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

export interface LineageNode {
  readonly kind: string;
  readonly id: string;
  readonly timestamp: string | null;
  readonly place: LogPosition | null;
  readonly record: Readonly<Record<string, unknown>> | null;
  readonly causes: readonly LineageNode[];
}

const TITLES: Readonly<Record<string, string>> = {
  OrderProposal: "Proposal",
  FeatureRow: "Features",
  OrderRefusal: "Risk rejection",
  RiskFence: "Kill switch",
  OrderCancel: "Cancel",
  SentimentScore: "Sentiment score",
  NewsItem: "News",
  LlmAnswer: "LLM response",
  StrategyWeights: "Strategy weights",
};

export function nodeTitle(node: LineageNode): string {
  return TITLES[node.kind] ?? node.kind;
}

/** Summarizes the record of a node in one line. */
export function nodeSummary(node: LineageNode): string {
  const record = node.record;
  if (record === null) return "record not found";
  const text = (name: string): string => formatValue(record[name]);
  switch (node.kind) {
    case "Order":
      return `${text("side")} ${text("quantity")} ${text("symbol")} ${text("order_type")}${limitPrice(record)}, ${checksPassed(record)}`;
    case "OrderProposal":
      return `${text("strategy")} proposes ${text("side")} ${text("quantity")} ${text("symbol")}: ${text("sizing")}`;
    case "Signal":
      return `${text("strategy")}: direction ${text("direction")}, strength ${text("strength")}, confidence ${text("confidence")}`;
    case "FeatureRow":
      return formatFields(record["values"]);
    case "Bar":
      return `open ${text("open")}, high ${text("high")}, low ${text("low")}, close ${text("close")}, volume ${text("volume")}`;
    case "Execution":
      return record["exec_type"] === "TRADE"
        ? `${text("side")} ${text("quantity")} ${text("symbol")} at ${text("price")}, fee ${text("fee")}`
        : `${executionLabel(text("exec_type"))} ${text("text")}`.trim();
    case "Command":
      return `${text("actor")} requested ${text("kind")} (${text("reason")}) ${formatFields(record["arguments"])}`.trim();
    case "OrderRefusal":
      return text("message");
    default:
      return formatFields(record);
  }
}

function limitPrice(record: Readonly<Record<string, unknown>>): string {
  return record["limit_price"] == null ? "" : ` at ${formatValue(record["limit_price"])}`;
}

function checksPassed(record: Readonly<Record<string, unknown>>): string {
  const checks = record["checks"];
  return Array.isArray(checks) ? `${checks.length} checks passed` : "no checks recorded";
}

/** Formats the simple fields of an object as "name value, name value". */
export function formatFields(fields: unknown): string {
  if (typeof fields !== "object" || fields === null) return "";
  return Object.entries(fields)
    .filter(([, value]) => value !== null && typeof value !== "object")
    .map(([name, value]) => `${name} ${formatValue(value)}`)
    .join(", ");
}

/** Formats a value as text: whole numbers in full, other numbers to eight significant digits. */
export function formatValue(value: unknown): string {
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(8)));
  return value == null ? "" : String(value);
}
