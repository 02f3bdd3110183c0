/** Short messages about completed or failed actions. They disappear after a few seconds. */
import { signal } from "@preact/signals";
import type { JSX } from "preact";

interface Toast {
  readonly id: number;
  readonly text: string;
  readonly isError: boolean;
}

const toasts = signal<readonly Toast[]>([]);
const VISIBLE_MS = 6000;
const ERROR_VISIBLE_MS = 12_000;
const TOASTS_MAX = 4;
let lastId = 0;

export function showToast(text: string, isError = false): void {
  lastId += 1;
  const id = lastId;
  toasts.value = [...toasts.value, { id, text, isError }].slice(-TOASTS_MAX);
  setTimeout(
    () => {
      toasts.value = toasts.value.filter((toast) => toast.id !== id);
    },
    isError ? ERROR_VISIBLE_MS : VISIBLE_MS,
  );
}

export function Toasts(): JSX.Element {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((toast) => (
        <p key={toast.id} class={toast.isError ? "bad" : ""}>
          {toast.text}
        </p>
      ))}
    </div>
  );
}
