/** How numbers and times read on the screen. What is not known is an en dash, never a zero. */

export const UNKNOWN = "–";
const MINUS = "−";

function grouped(value: number, decimals: number): string {
  const text = Math.abs(value).toLocaleString("en-US", {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
  // What rounds to nothing has no sign.
  return value < 0 && /[1-9]/.test(text) ? MINUS + text : text;
}

/** Account currency, two decimals: 1234.5 is "1,234.50". */
export function money(value: number | null | undefined, decimals = 2): string {
  return value == null || !Number.isFinite(value) ? UNKNOWN : grouped(value, decimals);
}

/** With a sign also where it is a gain: the colour is not the only thing that tells. */
export function signed(value: number | null | undefined, decimals = 2): string {
  if (value == null || !Number.isFinite(value)) return UNKNOWN;
  const text = grouped(value, decimals);
  return value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

/** A price: two decimals, four below one. */
export function price(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return UNKNOWN;
  return grouped(value, value !== 0 && Math.abs(value) < 1 ? 4 : 2);
}

/** A quantity: whole where it is whole, else the digits that it has, nine at most. */
export function quantity(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return UNKNOWN;
  const text = Math.abs(value).toLocaleString("en-US", { maximumFractionDigits: 9 });
  return value < 0 ? MINUS + text : text;
}

/** A fraction as percent: 0.0123 is "1.23 %". */
export function percent(value: number | null | undefined, decimals = 2): string {
  return value == null || !Number.isFinite(value) ? UNKNOWN : `${grouped(100 * value, decimals)} %`;
}

export function signedPercent(value: number | null | undefined, decimals = 2): string {
  return value == null || !Number.isFinite(value) ? UNKNOWN : `${signed(100 * value, decimals)} %`;
}

export function ratio(value: number | null | undefined): string {
  return money(value, 2);
}

export function count(value: number | null | undefined): string {
  return value == null ? UNKNOWN : grouped(value, 0);
}

/** The time of day in UTC: "10:30:00". */
export function clock(moment: string | number | null | undefined): string {
  const at = asDate(moment);
  return at === null ? UNKNOWN : at.toISOString().slice(11, 19);
}

/** Date and time in UTC: "2024-01-15 10:30:00". */
export function stamp(moment: string | number | null | undefined): string {
  const at = asDate(moment);
  return at === null ? UNKNOWN : at.toISOString().slice(0, 19).replace("T", " ");
}

/** Only the time where it is today, else the date too: tables stay narrow and honest. */
export function brief(moment: string | number | null | undefined, now: number): string {
  const text = stamp(moment);
  return text.startsWith(new Date(now).toISOString().slice(0, 10)) ? text.slice(11) : text.slice(2);
}

function asDate(moment: string | number | null | undefined): Date | null {
  if (moment == null) return null;
  const at = new Date(moment);
  return Number.isNaN(at.getTime()) ? null : at;
}

/** How long something takes or took, in the largest unit that says enough: "0.4 s", "12 s", "3 min", "2 h", "4 d". */
export function span(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return UNKNOWN;
  const size = Math.abs(seconds);
  if (size < 10) return `${size.toFixed(1)} s`;
  if (size < 120) return `${Math.round(size)} s`;
  if (size < 7200) return `${Math.round(size / 60)} min`;
  if (size < 172_800) return `${Math.round(size / 3600)} h`;
  return `${Math.round(size / 86_400)} d`;
}

/** "up", "down" or "" for colouring a gain or a loss. */
export function tone(value: number | null | undefined): "up" | "down" | "" {
  if (value == null || !Number.isFinite(value) || Math.abs(value) < 0.005) return "";
  return value > 0 ? "up" : "down";
}

/** "max_daily_loss" is "Max daily loss". */
export function words(name: string): string {
  const text = name.replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}
