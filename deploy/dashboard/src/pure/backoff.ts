/** How long to wait before the next try to connect, in ms: doubling from 0.5 s to 15 s, and not all browsers at once. */
export function pauseMs(failures: number, random: () => number = Math.random): number {
  const longest = Math.min(15_000, 500 * 2 ** Math.min(failures, 10));
  return Math.round(longest * (0.75 + 0.25 * random()));
}
