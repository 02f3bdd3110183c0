/** How a strategy's view reads. */
import { signed } from "./format.ts";

export interface Opinion {
  readonly strategy: string;
  readonly direction: number;
  readonly strength: number;
  readonly parts: Readonly<Record<string, number>>;
}

/** "long 0.50", "short 1.00", "out". */
export function held(view: Opinion): string {
  if (view.direction === 0) return "out";
  return `${view.direction > 0 ? "long" : "short"} ${view.strength.toFixed(2)}`;
}

/** The values that a view rests on; of the ensemble what each strategy contributed, the largest first. */
export function partsOf(view: Opinion): string[] {
  const parts = Object.entries(view.parts);
  if (view.strategy !== "ensemble") return parts.map(([name, value]) => `${name} ${Number(value.toPrecision(6))}`);
  return parts.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).map(([name, value]) => `${name} ${signed(value)}`);
}
