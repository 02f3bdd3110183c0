/** Delay before the next connection attempt in ms. It doubles from 0.5 s up to 15 s and varies, so that browsers spread out. */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  const longest = Math.min(15_000, 500 * 2 ** Math.min(failures, 10));
  return Math.round(longest * (0.75 + 0.25 * random()));
}
