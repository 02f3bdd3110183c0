/** The warnings above every view, most important first. */
import { countOf, dateTime, NO_VALUE, sentenceCase, withZone } from "./format.ts";

export interface OpenAlert {
  readonly key: string;
  readonly name: string;
  readonly severity: string;
  readonly summary: string;
  readonly opened_at: string;
}

export interface FeedState {
  readonly state: "live" | "finished" | "idle" | "closed" | "down";
  readonly event_time: string | null;
  readonly last_slice_at: string | null;
}

export interface ProcessState {
  readonly name: string;
  readonly status: string;
  readonly restarts: number;
  readonly reason: string | null;
  readonly crash_loop: boolean;
}

export interface CheckState {
  readonly name: string;
  readonly result: "passed" | "differences" | "error" | "none";
  readonly finished_at: string | null;
  readonly duration_s: number | null;
  readonly counts: Readonly<Record<string, number>>;
  readonly message: string;
  readonly overdue_s: number;
}

export interface SystemState {
  readonly feed: FeedState;
  readonly processes: readonly ProcessState[];
  readonly checks: readonly CheckState[];
}

export interface Warning {
  readonly id: string;
  readonly tone: "bad" | "warn";
  readonly text: string;
}

const SEVERITIES = ["critical", "warning", "info"];

/** The alerts, worst severity first; of equal ones the oldest first, because it is most likely the cause of the others. */
export function worstFirst<A extends OpenAlert>(alerts: readonly A[]): A[] {
  const rank = (alert: OpenAlert): number => {
    const index = SEVERITIES.indexOf(alert.severity);
    return index === -1 ? 0 : index; // an unknown severity must not hide
  };
  return [...alerts].sort((one, other) => rank(one) - rank(other) || one.opened_at.localeCompare(other.opened_at));
}

/** One line for the worst alert, the end of the feed, each service that is not restarted and each failed check. */
export function warnings(alerts: readonly OpenAlert[], system: SystemState | null): Warning[] {
  const sorted = worstFirst(alerts);
  const worst = sorted[0];
  const lines: Warning[] = worst === undefined ? [] : [alertLine(worst, sorted.length - 1)];
  if (system === null) return lines;
  if (system.feed.state === "finished") lines.push({ id: "feed-finished", tone: "warn", text: feedFinishedText(system.feed) });
  for (const process of system.processes.filter((one) => one.crash_loop && worst?.key !== `crash_loop/${one.name}`)) {
    lines.push({ id: `crash-${process.name}`, tone: "bad", text: crashLoopText(process) });
  }
  for (const check of system.checks.filter((one) => isFailed(one) && worst?.key !== `check_failure/${one.name}`)) {
    lines.push({ id: `check-${check.name}`, tone: "bad", text: `${checkTitle(check)}: ${checkResultText(check)}.` });
  }
  return lines;
}

function alertLine(alert: OpenAlert, others: number): Warning {
  const text = alert.summary.charAt(0).toUpperCase() + alert.summary.slice(1);
  const more = others === 0 ? "" : ` ${countOf(others, "more alert")} open.`;
  return {
    id: "worst-alert",
    tone: alert.severity === "critical" ? "bad" : "warn",
    text: `${sentenceCase(alert.severity)}: ${text.replace(/\.$/, "")}, since ${withZone(dateTime(alert.opened_at))}.${more}`,
  };
}

export function feedFinishedText(feed: FeedState): string {
  const at = dateTime(feed.event_time);
  const last = at === NO_VALUE ? "" : ` at ${withZone(at)}`;
  return `Feed finished${last}: no new prices arrive, and open orders are not processed any more.`;
}

export function crashLoopText(process: ProcessState): string {
  const reason = (process.reason ?? "").replace(/^crash loop: /, "").replace(/\.$/, "");
  return `${process.name} is in a crash loop and is not restarted${reason === "" ? "" : `: ${reason}`}. After the repair, run "python cli.py service start ${process.name}".`;
}

/** "Check verify"; archive create compares nothing, so it is no check. */
export function checkTitle(check: CheckState): string {
  return check.name === "archive" ? "Nightly job archive" : `Check ${check.name}`;
}

export function isFailed(check: CheckState): boolean {
  return check.result === "differences" || check.result === "error";
}

/** "passed", "2 differences: positions of AAPL differ", "not completed: no connection". */
export function checkResultText(check: CheckState): string {
  const message = check.message === "" ? "" : `: ${check.message.replace(/\.$/, "")}`;
  switch (check.result) {
    case "passed":
      return "passed";
    case "differences":
      return `${countOf(check.counts["findings"] ?? 0, "difference")}${message}`;
    case "error":
      return `not completed${message}`;
    case "none":
      return "no run yet";
  }
}
