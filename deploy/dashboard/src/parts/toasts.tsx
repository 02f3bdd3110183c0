/** Short words on what was done, read aloud by screen readers; they go by themselves. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";

interface Toast {
  readonly id: number;
  readonly text: string;
  readonly bad: boolean;
}

const toasts = signal<readonly Toast[]>([]);
const STAYS_MS = 6000;
let last = 0;

export function say(text: string, bad = false): void {
  last += 1;
  const id = last;
  toasts.value = [...toasts.value, { id, text, bad }].slice(-4);
  setTimeout(
    () => {
      toasts.value = toasts.value.filter((one) => one.id !== id);
    },
    bad ? 2 * STAYS_MS : STAYS_MS,
  );
}

export function Toasts(): JSX.Element {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((one) => (
        <p key={one.id} class={one.bad ? "bad" : ""}>
          {one.text}
        </p>
      ))}
    </div>
  );
}
