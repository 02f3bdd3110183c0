/** Texts and values of settings, of requests to change them, and of previews. */
import { count, money, quantity } from "./format.ts";
import { limitLabel, checkLabel } from "./risk.ts";

export type SettingValue = boolean | number | string | null;

/** What two sides of a preview have in common. Money is in account currency. */
export interface PreviewSide {
  readonly orders: number;
  readonly rejections: Readonly<Record<string, number>>;
  readonly fills: number;
  readonly traded_quantity: number;
  readonly realized_pnl: number;
  readonly unrealized_pnl: number;
  readonly fees: number;
  readonly equity: number;
  readonly max_drawdown: number;
}

export interface PreviewRow {
  readonly name: string;
  readonly recorded: string;
  readonly changed: string;
}

const LIMITS = "risk_manager.";

/** The name of a setting: the label of a risk limit, else the dotted name. */
export function settingLabel(setting: string): string {
  const limit = setting.startsWith(LIMITS) ? setting.slice(LIMITS.length) : "";
  return limit === "" || limit.includes(".") ? setting : limitLabel(limit);
}

/** Reads the text of an input as the value of a setting: a number, `true`, `false`, `none` for null, or text. */
export function parseSetting(text: string): SettingValue {
  const trimmed = text.trim();
  if (/^-?\d+(\.\d+)?$/.test(trimmed)) {
    // A number that a double cannot hold is sent as text, which preserves its digits.
    return String(Number(trimmed)) === trimmed ? Number(trimmed) : trimmed;
  }
  if (trimmed === "true" || trimmed === "yes") return true;
  if (trimmed === "false" || trimmed === "no") return false;
  return trimmed === "none" || trimmed === "null" ? null : trimmed;
}

/** The value of a setting as `parseSetting` reads it back. */
export function settingText(value: unknown): string {
  if (value === null || value === undefined) return "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** What a request changes: "Max order notional: unlimited → 5000; Price collar (bps): back to the file". */
export function requestText(request: {
  readonly set: Readonly<Record<string, unknown>>;
  readonly unset: readonly string[];
  readonly before: Readonly<Record<string, unknown>>;
}): string {
  const changes = Object.entries(request.set).map(
    ([name, value]) => `${settingLabel(name)}: ${settingText(request.before[name])} → ${settingText(value)}`,
  );
  return [...changes, ...request.unset.map((name) => `${settingLabel(name)}: back to the settings file`)].join("; ");
}

/** What changed at run time between a configuration and the one before it. */
export function overrideText(overrides: Readonly<Record<string, unknown>>, before: Readonly<Record<string, unknown>>): string {
  const set = Object.entries(overrides).filter(([name, value]) => settingText(before[name]) !== settingText(value) || !(name in before));
  const ended = Object.keys(before).filter((name) => !(name in overrides));
  const texts = [
    ...set.map(([name, value]) => `${settingLabel(name)}: ${settingText(value)}`),
    ...ended.map((name) => `${settingLabel(name)}: back to the settings file`),
  ];
  return texts.join("; ") || "settings file";
}

/** The rows of a preview. */
export function previewRows(recorded: PreviewSide, changed: PreviewSide): PreviewRow[] {
  const row = (name: string, text: (side: PreviewSide) => string): PreviewRow => ({ name, recorded: text(recorded), changed: text(changed) });
  const checks = [...new Set([...Object.keys(recorded.rejections), ...Object.keys(changed.rejections)])].sort();
  return [
    row("Orders", (side) => count(side.orders)),
    row("Fills", (side) => count(side.fills)),
    row("Traded quantity", (side) => quantity(side.traded_quantity)),
    ...checks.map((check) => row(`Rejected: ${checkLabel(check)}`, (side) => count(side.rejections[check] ?? 0))),
    row("Realized P&L", (side) => money(side.realized_pnl)),
    row("Unrealized P&L", (side) => money(side.unrealized_pnl)),
    row("Fees", (side) => money(side.fees)),
    row("Equity", (side) => money(side.equity)),
    row("Max drawdown", (side) => money(side.max_drawdown)),
  ];
}
