/**
 * Whether a stream that is connected has gone quiet. A bar a second and a bar a minute are both normal, so what counts
 * is the pace of the stream itself.
 */
export interface Pace {
  /** When the last message came, ms since 1970; null before the first. */
  readonly at: number | null;
  /** The usual gap between bursts of messages, ms; null before the second. */
  readonly gapMs: number | null;
}

export const NO_PACE: Pace = { at: null, gapMs: null };
const SAME_BURST_MS = 50;
const QUIET_MIN_MS = 10_000;

/** After a message at `now`. Messages of one burst count as one. */
export function heard(pace: Pace, now: number): Pace {
  if (pace.at === null) return { at: now, gapMs: null };
  const gap = now - pace.at;
  if (gap < SAME_BURST_MS) return pace;
  return { at: now, gapMs: pace.gapMs === null ? gap : 0.8 * pace.gapMs + 0.2 * gap };
}

/** Quiet for four usual gaps and at least ten seconds. */
export function isQuiet(pace: Pace, now: number): boolean {
  if (pace.at === null || pace.gapMs === null) return false;
  return now - pace.at > Math.max(QUIET_MIN_MS, 4 * pace.gapMs);
}
