/** Combines each strategy's P&L with its orders and signals into one table. */

export interface StrategyPnl {
  readonly strategy: string;
  readonly realized_pnl: number;
  readonly unrealized_pnl: number;
  readonly fees: number;
  readonly cash_flows: number;
  readonly total_pnl: number;
}

export interface StrategyActivity {
  readonly strategy: string;
  readonly fills: number;
  readonly traded_notional: number;
  readonly closed_lots: number;
  readonly won: number;
  readonly weight: number | null;
  readonly hit_rate: number | null;
  readonly outcomes: number;
}

/** `pnl` is null when no P&L is attributed to the strategy. */
export interface StrategyRow {
  readonly strategy: string;
  readonly pnl: Omit<StrategyPnl, "strategy"> | null;
  readonly activity: Omit<StrategyActivity, "strategy" | "hit_rate" | "weight" | "outcomes"> | null;
  readonly weight: number | null;
  readonly hitRate: number | null;
  readonly outcomes: number;
}

/** The name of the row of totals. */
export const TOTAL = "Total";

/** One row per strategy, sorted by name. */
export function strategyRows(pnls: readonly StrategyPnl[], activities: readonly StrategyActivity[]): StrategyRow[] {
  const names = [...new Set([...pnls, ...activities].map((entry) => entry.strategy))].sort();
  return names.map((strategy) => {
    const activity = activities.find((entry) => entry.strategy === strategy);
    return {
      strategy,
      pnl: pnls.find((entry) => entry.strategy === strategy) ?? null,
      activity: activity ?? null,
      weight: activity?.weight ?? null,
      hitRate: activity?.hit_rate ?? null,
      outcomes: activity?.outcomes ?? 0,
    };
  });
}

/** The sum of all rows. It has no hit rate. */
export function totalRow(rows: readonly StrategyRow[]): StrategyRow {
  const pnls = rows.flatMap((row) => row.pnl ?? []);
  const activities = rows.flatMap((row) => row.activity ?? []);
  const weights = rows.flatMap((row) => row.weight ?? []);
  return {
    strategy: TOTAL,
    pnl:
      pnls.length === 0
        ? null
        : {
            realized_pnl: sum(pnls, (entry) => entry.realized_pnl),
            unrealized_pnl: sum(pnls, (entry) => entry.unrealized_pnl),
            fees: sum(pnls, (entry) => entry.fees),
            cash_flows: sum(pnls, (entry) => entry.cash_flows),
            total_pnl: sum(pnls, (entry) => entry.total_pnl),
          },
    activity: {
      fills: sum(activities, (entry) => entry.fills),
      traded_notional: sum(activities, (entry) => entry.traded_notional),
      closed_lots: sum(activities, (entry) => entry.closed_lots),
      won: sum(activities, (entry) => entry.won),
    },
    weight: weights.length === 0 ? null : sum(weights, (weight) => weight),
    hitRate: null,
    outcomes: sum(rows, (row) => row.outcomes),
  };
}

function sum<T>(entries: readonly T[], value: (entry: T) => number): number {
  return entries.reduce((total, entry) => total + value(entry), 0);
}

/** The display name of a strategy. Three names on the wire are not strategies. */
export function strategyLabel(strategy: string): string {
  const labels: Readonly<Record<string, string>> = {
    manual: "Manual orders",
    account: "Account interest",
    unattributed: "Unattributed",
  };
  return labels[strategy] ?? strategy;
}

/** True when the total equals the ledger's P&L to the cent; null while either is unknown. */
export function matchesLedger(total: StrategyRow, ledgerPnl: number | null): boolean | null {
  return total.pnl === null || ledgerPnl === null ? null : Math.abs(total.pnl.total_pnl - ledgerPnl) < 0.005;
}
