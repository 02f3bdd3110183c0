/** Formats numbers and times for display. An unknown value is an en dash, never a zero. */

export const NO_VALUE = "–";
const MINUS = "−";

function groupDigits(value: number, decimals: number): string {
  const text = Math.abs(value).toLocaleString("en-US", {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
  // A value that rounds to zero has no sign.
  return value < 0 && /[1-9]/.test(text) ? MINUS + text : text;
}

/** An amount in account currency, with two decimals: 1234.5 is "1,234.50". */
export function money(value: number | null | undefined, decimals = 2): string {
  return value == null || !Number.isFinite(value) ? NO_VALUE : groupDigits(value, decimals);
}

/** An amount with its sign, so that colour is not the only mark of a gain: 1234.5 is "+1,234.50". */
export function signedMoney(value: number | null | undefined, decimals = 2): string {
  if (value == null || !Number.isFinite(value)) return NO_VALUE;
  const text = groupDigits(value, decimals);
  return value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

/** A price: two decimals, or four below 1. */
export function price(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return NO_VALUE;
  return groupDigits(value, value !== 0 && Math.abs(value) < 1 ? 4 : 2);
}

/** A quantity with the decimals it has, nine at most. */
export function quantity(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return NO_VALUE;
  const text = Math.abs(value).toLocaleString("en-US", { maximumFractionDigits: 9 });
  return value < 0 ? MINUS + text : text;
}

/** A fraction as a percentage: 0.0123 is "1.23 %". */
export function percent(value: number | null | undefined, decimals = 2): string {
  return value == null || !Number.isFinite(value) ? NO_VALUE : `${groupDigits(100 * value, decimals)} %`;
}

export function signedPercent(value: number | null | undefined, decimals = 2): string {
  return value == null || !Number.isFinite(value) ? NO_VALUE : `${signedMoney(100 * value, decimals)} %`;
}

export function ratio(value: number | null | undefined): string {
  return money(value, 2);
}

export function count(value: number | null | undefined): string {
  return value == null ? NO_VALUE : groupDigits(value, 0);
}

/** A number with its noun: "1 fill", "1,200 fills", "2 entries". */
export function countOf(value: number, singular: string, plural = `${singular}s`): string {
  return `${count(value)} ${value === 1 ? singular : plural}`;
}

/** The zone of all displayed times. */
let clock = { zone: "UTC", format: zoneFormat("UTC") };

function zoneFormat(zone: string): Intl.DateTimeFormat {
  const two = "2-digit";
  return new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    hourCycle: "h23",
    year: "numeric",
    month: two,
    day: two,
    hour: two,
    minute: two,
    second: two,
  });
}

/** Sets the zone of all displayed times, for example "UTC" or "America/New_York". Throws RangeError for an unknown zone. */
export function setTimeZone(zone: string): void {
  clock = { zone, format: zoneFormat(zone) };
}

/** The zone in short: "UTC", "New York". */
export function timeZoneLabel(zone = clock.zone): string {
  return (zone.split("/").pop() ?? zone).replaceAll("_", " ");
}

/** The time of day: "10:30:00". */
export function timeOfDay(time: string | number | null | undefined): string {
  const text = dateTime(time);
  return text === NO_VALUE ? text : text.slice(-8);
}

/** Date and time: "2024-01-15 10:30:00". */
export function dateTime(time: string | number | null | undefined): string {
  const date = parseDate(time);
  if (date === null) return NO_VALUE;
  const parts = Object.fromEntries(clock.format.formatToParts(date).map((part) => [part.type, part.value]));
  return `${parts["year"]?.padStart(4, "0")}-${parts["month"]}-${parts["day"]} ${parts["hour"]}:${parts["minute"]}:${parts["second"]}`;
}

/** The time of day, with the date in full unless the date is today. This keeps table columns narrow. */
export function shortTime(time: string | number | null | undefined, now: number): string {
  const text = dateTime(time);
  return text.slice(0, 10) === dateTime(now).slice(0, 10) ? text.slice(11) : text;
}

/** A time with its zone: "2024-01-15 10:30:00 UTC"; a dash without a time. */
export function withZone(text: string): string {
  return text === NO_VALUE ? text : `${text} ${timeZoneLabel()}`;
}

function parseDate(time: string | number | null | undefined): Date | null {
  if (time == null) return null;
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? null : date;
}

/** A duration in its largest suitable unit: "0.4 s", "12 s", "3 min", "2 h", "4 d". */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return NO_VALUE;
  const size = Math.abs(seconds);
  if (size < 10) return `${size.toFixed(1)} s`;
  if (size < 120) return `${Math.round(size)} s`;
  if (size < 7200) return `${Math.round(size / 60)} min`;
  if (size < 172_800) return `${Math.round(size / 3600)} h`;
  return `${Math.round(size / 86_400)} d`;
}

/** The CSS class of a gain or loss: "up", "down", or "" for zero and unknown. */
export function gainTone(value: number | null | undefined): "up" | "down" | "" {
  if (value == null || !Number.isFinite(value) || Math.abs(value) < 0.005) return "";
  return value > 0 ? "up" : "down";
}

/** "SUBMIT_ORDER" is "Submit order". */
export function sentenceCase(name: string): string {
  const text = name.replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}
