/** Formats a strategy signal. */
import { signedMoney } from "./format.ts";

interface Signal {
  readonly strategy: string;
  readonly direction: number;
  readonly strength: number;
  readonly parts: Readonly<Record<string, number>>;
}

/** "Long 0.50", "Short 1.00" or "Flat". */
export function directionText(signal: Signal): string {
  if (signal.direction === 0) return "Flat";
  return `${signal.direction > 0 ? "Long" : "Short"} ${signal.strength.toFixed(2)}`;
}

/** The input values of a signal. For the ensemble: the contribution of each strategy, largest first. */
export function signalInputs(signal: Signal): string[] {
  const parts = Object.entries(signal.parts);
  if (signal.strategy !== "ensemble") return parts.map(([name, value]) => `${name} ${Number(value.toPrecision(6))}`);
  return parts.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).map(([name, value]) => `${name} ${signedMoney(value)}`);
}
