/**
 * The user's session. Tokens are stored in this tab only (sessionStorage): they survive a reload and are lost when the
 * tab closes. A refresh token is valid once, so refresh requests never overlap.
 */
import { computed, signal } from "@preact/signals";

import type { TokenPair, User } from "./types.ts";

const STORAGE_KEY = "trading-session";
/** The session is refreshed when its access token expires within this time. */
const REFRESH_BEFORE_MS = 60_000;
const REQUEST_TIMEOUT_MS = 35_000;

interface Session {
  access: string;
  refresh: string;
  expiresAt: number;
  mustChange: boolean;
}

/** The API returned an error, or did not respond (`status` 0). `message` is one sentence for the user. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** The problem's type (RFC 9457). */
    readonly type = "about:blank",
  ) {
    super(message);
  }

  /** The password is right, and the account requires a code as well. */
  get needsSecondFactor(): boolean {
    return this.type === "urn:problem:second-factor-required";
  }

  /** The API is unavailable. The same request may succeed later. */
  get isTransient(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

const session = signal<Session | null>(restoreSession());
export const user = signal<User | null>(null);
/** A message for the login screen, or "". */
export const loginNotice = signal("");

export const loggedIn = computed(() => session.value !== null);
export const mustChangePassword = computed(() => session.value?.mustChange ?? false);

/** Whether the user has a permission of the API: READ VALIDATE TRADE CANCEL BREAKER AUDIT USERS. */
export function hasPermission(permission: string): boolean {
  return user.value?.permissions.includes(permission) ?? false;
}

/** `code` is a code of the authenticator or a recovery code, or "". */
export async function logIn(username: string, password: string, code: string): Promise<void> {
  const body = { username, password, ...(code === "" ? {} : { code }) };
  storeSession(await post<TokenPair>("/api/v1/auth/login", body));
  loginNotice.value = "";
  await loadUser();
}

export async function changePassword(current: string, next: string): Promise<void> {
  const body = { current_password: current, new_password: next };
  storeSession(await post<TokenPair>("/api/v1/auth/password", body, await accessToken()));
  await loadUser();
}

/** Ends the session in this tab first, even when the API cannot be reached. */
export async function logOut(): Promise<void> {
  const access = session.value?.access ?? null;
  clearSession("");
  if (access === null) return;
  try {
    await post<null>("/api/v1/auth/logout", {}, access);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    loginNotice.value = `This tab is logged out, but the session could not be revoked on the server: ${error.message}`;
  }
}

/** Loads `user`, also for a session restored after a reload. */
export async function loadUser(): Promise<void> {
  user.value = await sendRequest<User>("GET", "/api/v1/auth/me", undefined, await accessToken());
}

function clearSession(notice: string): void {
  session.value = null;
  user.value = null;
  loginNotice.value = notice;
  sessionStorage.removeItem(STORAGE_KEY);
}

let pendingRefresh: Promise<string> | null = null;

/** Returns a valid access token, refreshing the session when needed. Throws ApiError. */
export async function accessToken(): Promise<string> {
  const current = session.value;
  if (current === null) throw new ApiError(401, "You are not logged in.");
  if (Date.now() < current.expiresAt - REFRESH_BEFORE_MS) return current.access;
  return refreshSession();
}

/** Exchanges the refresh token and returns the new access token. Concurrent calls share one request. */
export function refreshSession(): Promise<string> {
  pendingRefresh ??= exchangeRefreshToken().finally(() => {
    pendingRefresh = null;
  });
  return pendingRefresh;
}

async function exchangeRefreshToken(): Promise<string> {
  const current = session.value;
  if (current === null) throw new ApiError(401, "You are not logged in.");
  try {
    const pair = await post<TokenPair>("/api/v1/auth/refresh", { refresh_token: current.refresh });
    storeSession(pair);
    return pair.access_token;
  } catch (error) {
    // A rejected token ends the session. An unavailable API does not.
    if (error instanceof ApiError && error.status === 401) clearSession("Your session has ended. Log in again.");
    throw error;
  }
}

function storeSession(pair: TokenPair): void {
  const next = {
    access: pair.access_token,
    refresh: pair.refresh_token,
    expiresAt: Date.parse(pair.expires_at),
    mustChange: pair.must_change_password,
  };
  session.value = next;
  sessionStorage.setItem(STORAGE_KEY, JSON.stringify(next));
}

function restoreSession(): Session | null {
  const text = sessionStorage.getItem(STORAGE_KEY);
  if (text === null) return null;
  try {
    return JSON.parse(text) as Session;
  } catch {
    return null; // written by another version
  }
}

function post<T>(path: string, body: unknown, access?: string): Promise<T> {
  return sendRequest<T>("POST", path, body, access);
}

/** Sends one request. Throws ApiError with the API's message, or with a local message when there is no response. */
export async function sendRequest<T>(
  method: string,
  path: string,
  body?: unknown,
  access?: string,
  extraHeaders: Record<string, string> = {},
  timeoutMs = REQUEST_TIMEOUT_MS,
): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json", ...extraHeaders };
  if (access !== undefined) headers["Authorization"] = `Bearer ${access}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch {
    throw new ApiError(0, "The dashboard server is not responding.");
  }
  if (response.status === 204) return null as T;
  const text = await response.text();
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw new ApiError(response.status, `The server returned status ${response.status} without details.`);
  }
  // An unhealthy platform returns 503 from `/health` with a valid body.
  if (!response.ok && !(path === "/health" && response.status === 503 && isHealth(content))) {
    throw new ApiError(response.status, errorDetail(content, response.status), problemType(content));
  }
  return content as T;
}

function isHealth(content: unknown): boolean {
  return typeof content === "object" && content !== null && "dataflows" in content;
}

function problemType(content: unknown): string {
  const isProblem = typeof content === "object" && content !== null && "type" in content;
  return isProblem && typeof content.type === "string" ? content.type : "about:blank";
}

function errorDetail(content: unknown, status: number): string {
  if (typeof content === "object" && content !== null && "detail" in content && typeof content.detail === "string") {
    return content.detail;
  }
  return `The server returned status ${status}.`;
}

/** A random idempotency key. `crypto.randomUUID` is not available over plain HTTP from another machine. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
