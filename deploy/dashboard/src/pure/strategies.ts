/** What each strategy came to, from what is known of its share of the P&L and of its orders and signals. */

export interface Share {
  readonly strategy: string;
  readonly realized_pnl: number;
  readonly unrealized_pnl: number;
  readonly fees: number;
  readonly cash_flows: number;
  readonly total_pnl: number;
}

export interface Doings {
  readonly strategy: string;
  readonly fills: number;
  readonly traded_notional: number;
  readonly closed_lots: number;
  readonly won: number;
  readonly weight: number | null;
  readonly hit_rate: number | null;
  readonly outcomes: number;
}

/** `share` null: no part of the P&L is known to be its own. */
export interface Row {
  readonly strategy: string;
  readonly share: Omit<Share, "strategy"> | null;
  readonly doings: Omit<Doings, "strategy" | "hit_rate" | "weight" | "outcomes"> | null;
  readonly weight: number | null;
  readonly hitRate: number | null;
  readonly outcomes: number;
}

/** The name of the row of sums. */
export const ALL = "all";

/** One row a strategy, by name. */
export function rowsOf(shares: readonly Share[], doings: readonly Doings[]): Row[] {
  const names = [...new Set([...shares, ...doings].map((one) => one.strategy))].sort();
  return names.map((strategy) => {
    const did = doings.find((one) => one.strategy === strategy);
    return {
      strategy,
      share: shares.find((one) => one.strategy === strategy) ?? null,
      doings: did ?? null,
      weight: did?.weight ?? null,
      hitRate: did?.hit_rate ?? null,
      outcomes: did?.outcomes ?? 0,
    };
  });
}

/** The sum of all rows; rates of several are none. */
export function sumOf(rows: readonly Row[]): Row {
  const shares = rows.flatMap((row) => row.share ?? []);
  const doings = rows.flatMap((row) => row.doings ?? []);
  const sum = <T>(of: readonly T[], what: (one: T) => number): number => of.reduce((total, one) => total + what(one), 0);
  const weights = rows.flatMap((row) => row.weight ?? []);
  return {
    strategy: ALL,
    share:
      shares.length === 0
        ? null
        : {
            realized_pnl: sum(shares, (one) => one.realized_pnl),
            unrealized_pnl: sum(shares, (one) => one.unrealized_pnl),
            fees: sum(shares, (one) => one.fees),
            cash_flows: sum(shares, (one) => one.cash_flows),
            total_pnl: sum(shares, (one) => one.total_pnl),
          },
    doings: {
      fills: sum(doings, (one) => one.fills),
      traded_notional: sum(doings, (one) => one.traded_notional),
      closed_lots: sum(doings, (one) => one.closed_lots),
      won: sum(doings, (one) => one.won),
    },
    weight: weights.length === 0 ? null : sum(weights, (one) => one),
    hitRate: null,
    outcomes: sum(rows, (one) => one.outcomes),
  };
}

/** How a strategy is called on the screen. */
export function nameOf(strategy: string): string {
  const names: Readonly<Record<string, string>> = { manual: "by hand", account: "interest", unattributed: "nobody's" };
  return names[strategy] ?? strategy;
}

/** Whether the sum of the rows is the ledger's figure, to the cent; null while one of them is not known. */
export function agrees(all: Row, ledger: number | null): boolean | null {
  return all.share === null || ledger === null ? null : Math.abs(all.share.total_pnl - ledger) < 0.005;
}
