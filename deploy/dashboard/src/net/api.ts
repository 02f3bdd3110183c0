/** Requests of whoever is logged in, and resources that are asked for again and again while somebody looks at them. */
import { signal, type ReadonlySignal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { ApiError, loggedIn, renewed, send, token } from "./session.ts";

/** Throws ApiError. A token that the API does not take any more is exchanged once. */
export async function call<T>(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<T> {
  try {
    return await send<T>(method, path, body, await token(), headers);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401 || !loggedIn.value) throw error;
    return send<T>(method, path, body, await renewed(), headers);
  }
}

/** What is known of a resource: `data` stays on the screen when a later request fails, with `error` beside it. */
export interface Known<T> {
  readonly data: T | null;
  readonly error: string | null;
  /** When `data` came, ms since 1970. */
  readonly at: number | null;
}

/** Told of on `window` when requests are answered again after one that was not: streams need not wait out their pause. */
export const BACK = "api-back";
let away = false;

interface Resource {
  readonly known: Signal<Known<unknown>>;
  readonly ask: () => Promise<void>;
  users: number;
  timer: ReturnType<typeof setTimeout> | null;
  everyMs: number;
  asking: boolean;
  again: boolean;
}

const resources = new Map<string, Resource>();

function resource(path: string): Resource {
  const found = resources.get(path);
  if (found !== undefined) return found;
  const known = signal<Known<unknown>>({ data: null, error: null, at: null });
  const made: Resource = {
    known,
    users: 0,
    timer: null,
    everyMs: Infinity,
    asking: false,
    again: false,
    ask: async () => {
      if (made.asking) {
        made.again = true;
        return;
      }
      made.asking = true;
      if (made.timer !== null) clearTimeout(made.timer);
      try {
        known.value = { data: await call("GET", path), error: null, at: Date.now() };
        if (away) {
          away = false;
          window.dispatchEvent(new Event(BACK));
        }
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        known.value = { ...known.value, error: error.message };
        away ||= error.passing;
      } finally {
        made.asking = false;
        const soon = made.again;
        made.again = false;
        if (made.users > 0) schedule(made, soon ? 0 : made.everyMs);
      }
    },
  };
  resources.set(path, made);
  return made;
}

function schedule(one: Resource, ms: number): void {
  if (one.timer !== null) clearTimeout(one.timer);
  one.timer = null;
  if (!Number.isFinite(ms)) return;
  one.timer = setTimeout(() => {
    // A tab that nobody sees asks for nothing; it asks at once when it is seen again.
    if (document.hidden) schedule(one, 1000);
    else void one.ask();
  }, ms);
}

/** The answer of GET `path`, asked for now and every `everyMs` while the component is shown. */
export function useResource<T>(path: string, everyMs = Infinity): ReadonlySignal<Known<T>> {
  const one = resource(path);
  useEffect(() => {
    resources.set(path, one); // whoever looked before may just have gone
    one.users += 1;
    one.everyMs = Math.min(one.users === 1 ? Infinity : one.everyMs, everyMs);
    void one.ask();
    return () => {
      one.users -= 1;
      if (one.users === 0) {
        if (one.timer !== null) clearTimeout(one.timer);
        one.timer = null;
        // Kept only while somebody looks: filters make paths without end.
        if (resources.get(path) === one) resources.delete(path);
      }
    };
  }, [path, everyMs]);
  return one.known as ReadonlySignal<Known<T>>;
}

/** Ask again for what is shown and whose path begins so; "" is everything. */
export function refresh(prefix = ""): void {
  for (const [path, one] of resources) {
    if (one.users > 0 && path.startsWith(prefix)) void one.ask();
  }
}
