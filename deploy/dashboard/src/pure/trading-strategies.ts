/** Texts of trading strategies and their actions. */
import type { StrategyAction, StrategyOverview } from "../net/types.ts";
import { sentenceCase } from "./format.ts";

/** Name and tone of a state. */
export function stateLabel(state: StrategyOverview["state"]): readonly [string, "good" | "bad" | "warn"] {
  if (state === "RUNNING") return ["RUNNING", "good"];
  if (state === "REMOVED") return ["REMOVED", "warn"];
  return state === "SUSPENDED" ? ["SUSPENDED", "bad"] : ["WARMING UP", "warn"];
}

/** The universe in at most `most` symbols. */
export function universeText(symbols: readonly string[], most = 4): string {
  if (symbols.length <= most) return symbols.join(", ");
  return `${symbols.slice(0, most).join(", ")} and ${symbols.length - most} more`;
}

/** What an action did: its terms, without those that have a column of their own. */
export function actionText(action: Pick<StrategyAction, "arguments">): string {
  return Object.entries(action.arguments)
    .filter(([name, value]) => name !== "symbol" && value !== "")
    .map(([name, value]) => (name === "text" || name === "message" ? value : `${name.replaceAll("_", " ")} ${value}`))
    .join(", ");
}

export function actionLabel(kind: string): string {
  return sentenceCase(kind);
}

/** The id that explains an action: that of its order, else its own. */
export function explainedId(action: Pick<StrategyAction, "kind" | "action_id">): string {
  return action.kind === "SUBMIT_ORDER" ? `ord-${action.action_id}` : action.action_id;
}

/** File and line of the exception that suspended a strategy; "" for a loss stop, which has none. */
export function sourcePosition(suspension: { readonly file: string; readonly line: number }): string {
  return suspension.file === "" ? "" : `${suspension.file}:${suspension.line}`;
}
