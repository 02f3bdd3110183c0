/** Authenticated requests, and resources that are polled while a component shows them. */
import { signal, type ReadonlySignal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { accessToken, ApiError, loggedIn, refreshSession, sendRequest } from "./session.ts";

/** Throws ApiError. Refreshes the session and retries once when the API rejects the access token. */
export async function call<T>(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
  timeoutMs?: number,
): Promise<T> {
  try {
    return await sendRequest<T>(method, path, body, await accessToken(), headers, timeoutMs);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401 || !loggedIn.value) throw error;
    return sendRequest<T>(method, path, body, await refreshSession(), headers, timeoutMs);
  }
}

/** The state of a polled resource. When a later request fails, `data` stays and `error` is set. */
export interface ResourceState<T> {
  readonly data: T | null;
  readonly error: string | null;
  /** When `data` was received, ms since 1970. */
  readonly loadedAt: number | null;
}

/** Event on `window`: the API responds again after a failure. Streams then reconnect without waiting. */
export const API_RECONNECTED = "api-reconnected";
let apiUnreachable = false;

interface Resource {
  readonly state: Signal<ResourceState<unknown>>;
  readonly load: () => Promise<void>;
  users: number;
  timer: ReturnType<typeof setTimeout> | null;
  intervalMs: number;
  loading: boolean;
  reloadRequested: boolean;
}

const resources = new Map<string, Resource>();

function resourceAt(path: string): Resource {
  const existing = resources.get(path);
  if (existing !== undefined) return existing;
  const state = signal<ResourceState<unknown>>({ data: null, error: null, loadedAt: null });
  const resource: Resource = {
    state,
    users: 0,
    timer: null,
    intervalMs: Infinity,
    loading: false,
    reloadRequested: false,
    load: async () => {
      if (resource.loading) {
        resource.reloadRequested = true;
        return;
      }
      resource.loading = true;
      if (resource.timer !== null) clearTimeout(resource.timer);
      try {
        state.value = { data: await call("GET", path), error: null, loadedAt: Date.now() };
        if (apiUnreachable) {
          apiUnreachable = false;
          window.dispatchEvent(new Event(API_RECONNECTED));
        }
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        state.value = { ...state.value, error: error.message };
        apiUnreachable ||= error.isTransient;
      } finally {
        resource.loading = false;
        const reload = resource.reloadRequested;
        resource.reloadRequested = false;
        if (resource.users > 0) schedule(resource, reload ? 0 : resource.intervalMs);
      }
    },
  };
  resources.set(path, resource);
  return resource;
}

function schedule(resource: Resource, ms: number): void {
  if (resource.timer !== null) clearTimeout(resource.timer);
  resource.timer = null;
  if (!Number.isFinite(ms)) return;
  resource.timer = setTimeout(() => {
    // A hidden tab does not poll. It loads within a second of becoming visible.
    if (document.hidden) schedule(resource, 1000);
    else void resource.load();
  }, ms);
}

/** The response of GET `path`, loaded now and every `intervalMs` while the component is mounted. */
export function useResource<T>(path: string, intervalMs = Infinity): ReadonlySignal<ResourceState<T>> {
  const resource = resourceAt(path);
  useEffect(() => {
    resources.set(path, resource); // the previous user may have removed it
    resource.users += 1;
    resource.intervalMs = Math.min(resource.users === 1 ? Infinity : resource.intervalMs, intervalMs);
    void resource.load();
    return () => {
      resource.users -= 1;
      if (resource.users === 0) {
        if (resource.timer !== null) clearTimeout(resource.timer);
        resource.timer = null;
        // Filters produce many paths, so an unused resource is removed.
        if (resources.get(path) === resource) resources.delete(path);
      }
    };
  }, [path, intervalMs]);
  return resource.state as ReadonlySignal<ResourceState<T>>;
}

/** Reloads the mounted resources whose path starts with `prefix`; "" reloads all. */
export function refresh(prefix = ""): void {
  for (const [path, resource] of resources) {
    if (resource.users > 0 && path.startsWith(prefix)) void resource.load();
  }
}
