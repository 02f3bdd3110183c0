/** The zone of all displayed times: UTC, the exchange's or the browser's. The browser stores the choice. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";

import { setTimeZone, timeZoneLabel } from "../pure/format.ts";

const STORAGE_KEY = "time-zone";
const EXCHANGE_ZONE = "America/New_York";

/** The selected zone. Components that show times render again when it changes. */
export const timeZone = signal("UTC");

function select(zone: string): void {
  setTimeZone(zone);
  timeZone.value = zone;
}

const stored = localStorage.getItem(STORAGE_KEY);
if (stored !== null && zones().includes(stored)) select(stored);

/** The zones on offer, each once. */
function zones(): string[] {
  return [...new Set(["UTC", EXCHANGE_ZONE, new Intl.DateTimeFormat().resolvedOptions().timeZone])];
}

export function TimeZoneSelect(): JSX.Element {
  return (
    <label class="time-zone">
      <span class="visually-hidden">Time zone</span>
      <select
        value={timeZone.value}
        title="Time zone of all times"
        onChange={(event) => {
          localStorage.setItem(STORAGE_KEY, event.currentTarget.value);
          select(event.currentTarget.value);
        }}
      >
        {zones().map((zone) => (
          <option key={zone} value={zone}>
            {timeZoneLabel(zone)}
          </option>
        ))}
      </select>
    </label>
  );
}
