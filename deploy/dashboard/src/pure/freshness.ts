/**
 * Detects a stream that is connected but no longer delivers. One bar a second and one bar a minute are both normal, so
 * the limit depends on the usual gap between messages of that stream.
 */
export interface MessageRate {
  /** Time of the last message in ms since 1970; null before the first message. */
  readonly lastAt: number | null;
  /** Usual gap between bursts of messages in ms; null before the second burst. */
  readonly gapMs: number | null;
}

export const NO_MESSAGES: MessageRate = { lastAt: null, gapMs: null };
const SAME_BURST_MS = 50;
const STALE_MIN_MS = 10_000;

/** Returns the rate after a message at `now`. Messages of one burst count as one message. */
export function recordMessage(rate: MessageRate, now: number): MessageRate {
  if (rate.lastAt === null) return { lastAt: now, gapMs: null };
  const gap = now - rate.lastAt;
  if (gap < SAME_BURST_MS) return rate;
  return { lastAt: now, gapMs: rate.gapMs === null ? gap : 0.8 * rate.gapMs + 0.2 * gap };
}

/** True after four usual gaps, and at least ten seconds, without a message. */
export function isStale(rate: MessageRate, now: number): boolean {
  if (rate.lastAt === null || rate.gapMs === null) return false;
  return now - rate.lastAt > Math.max(STALE_MIN_MS, 4 * rate.gapMs);
}
