/**
 * Who is logged in. Tokens live in this tab alone (sessionStorage): a reload keeps them, closing the tab forgets them. A
 * refresh token is good once, so only one request for the next pair is ever on its way.
 */
import { computed, signal } from "@preact/signals";

import type { Me, TokenPair } from "./types.ts";

const KEY = "trading-session";
/** A token is exchanged when less than this of its life is left. */
const EARLY_MS = 60_000;

interface Kept {
  access: string;
  refresh: string;
  expiresAt: number;
  mustChange: boolean;
}

/** The API refused, or did not answer (`status` 0). `message` is one sentence for the reader. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }

  /** It may work by itself in a moment: nobody has decided anything. */
  get passing(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

const kept = signal<Kept | null>(restored());
export const me = signal<Me | null>(null);
/** Why the log-in screen is shown, where there is something to say. */
export const notice = signal("");

export const loggedIn = computed(() => kept.value !== null);
export const mustChange = computed(() => kept.value?.mustChange ?? false);

/** Names as in the API's `Permission`: READ VALIDATE TRADE CANCEL BREAKER AUDIT USERS. */
export function may(permission: string): boolean {
  return me.value?.permissions.includes(permission) ?? false;
}

export async function logIn(username: string, password: string): Promise<void> {
  keep(await post<TokenPair>("/api/v1/auth/login", { username, password }));
  notice.value = "";
  await learnWho();
}

export async function changePassword(current: string, next: string): Promise<void> {
  const body = { current_password: current, new_password: next };
  keep(await post<TokenPair>("/api/v1/auth/password", body, await token()));
  await learnWho();
}

/** Ends the session here whatever the API says: who logs out must not stay on the screen. */
export async function logOut(): Promise<void> {
  const access = kept.value?.access ?? null;
  forget("");
  if (access === null) return;
  try {
    await post<null>("/api/v1/auth/logout", {}, access);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    notice.value = `You are logged out here, but: ${error.message}`;
  }
}

/** Fills `me` for a session that was kept over a reload. */
export async function learnWho(): Promise<void> {
  me.value = await send<Me>("GET", "/api/v1/auth/me", undefined, await token());
}

export function forget(why: string): void {
  kept.value = null;
  me.value = null;
  notice.value = why;
  sessionStorage.removeItem(KEY);
}

let exchanging: Promise<string> | null = null;

/** An access token that is good for a while, from a new pair where needed. Throws ApiError. */
export async function token(): Promise<string> {
  const session = kept.value;
  if (session === null) throw new ApiError(401, "You are not logged in.");
  if (Date.now() < session.expiresAt - EARLY_MS) return session.access;
  return renewed();
}

/** The next pair of tokens, now. */
export function renewed(): Promise<string> {
  exchanging ??= exchange().finally(() => {
    exchanging = null;
  });
  return exchanging;
}

async function exchange(): Promise<string> {
  const session = kept.value;
  if (session === null) throw new ApiError(401, "You are not logged in.");
  try {
    const pair = await post<TokenPair>("/api/v1/auth/refresh", { refresh_token: session.refresh });
    keep(pair);
    return pair.access_token;
  } catch (error) {
    // Only a refusal ends the session; an API that is away may come back.
    if (error instanceof ApiError && error.status === 401) forget("Your session has ended. Log in again.");
    throw error;
  }
}

function keep(pair: TokenPair): void {
  const session = {
    access: pair.access_token,
    refresh: pair.refresh_token,
    expiresAt: Date.parse(pair.expires_at),
    mustChange: pair.must_change_password,
  };
  kept.value = session;
  sessionStorage.setItem(KEY, JSON.stringify(session));
}

function restored(): Kept | null {
  const text = sessionStorage.getItem(KEY);
  if (text === null) return null;
  try {
    return JSON.parse(text) as Kept;
  } catch {
    return null; // written by another version
  }
}

function post<T>(path: string, body: unknown, access?: string): Promise<T> {
  return send<T>("POST", path, body, access);
}

/** One request. Throws ApiError with the API's own sentence, or with ours where nobody answered. */
export async function send<T>(
  method: string,
  path: string,
  body?: unknown,
  access?: string,
  headers: Record<string, string> = {},
): Promise<T> {
  const sent: Record<string, string> = { Accept: "application/json", ...headers };
  if (access !== undefined) sent["Authorization"] = `Bearer ${access}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: sent,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(35_000),
    });
  } catch {
    throw new ApiError(0, "The dashboard's server does not answer.");
  }
  if (response.status === 204) return null as T;
  const text = await response.text();
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    throw new ApiError(response.status, `The server answered ${response.status} without saying more.`);
  }
  // `/health` says 503 with a body that is the answer.
  if (!response.ok && !(path === "/health" && response.status === 503 && isHealth(found))) {
    throw new ApiError(response.status, detail(found, response.status));
  }
  return found as T;
}

function isHealth(found: unknown): boolean {
  return typeof found === "object" && found !== null && "dataflows" in found;
}

function detail(found: unknown, status: number): string {
  if (typeof found === "object" && found !== null && "detail" in found && typeof found.detail === "string") {
    return found.detail;
  }
  return `The server answered ${status}.`;
}
